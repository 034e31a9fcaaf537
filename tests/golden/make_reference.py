#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/data/reference from transformers (5.23) and torch: tiny random models whose configurations reach what the
larger reference checkpoints leave out. Run: python3 tests/golden/make_reference.py tests/data/reference

Writes NAME.safetensors (BF16 weights), cases.json (configuration, weights and prompt of every case) and
expected.safetensors (F32 logits of each case's last rows: one full recomputation of the whole prompt, eager attention).
"""
import json
import pathlib
import sys
import tempfile

import torch
import transformers
from safetensors.torch import save_file

ROWS = 16
VOCAB = 64
COMMON = dict(hidden_size=32, num_attention_heads=4, num_key_value_heads=2, num_hidden_layers=2, vocab_size=VOCAB,
              max_position_embeddings=4096, rms_norm_eps=1e-5, rope_theta=10000.0, tie_word_embeddings=False,
              hidden_act="silu", bos_token_id=1, eos_token_id=2, initializer_range=0.25)
LLAMA = dict(COMMON, model_type="llama", architectures=["LlamaForCausalLM"], head_dim=16, intermediate_size=48)
MIXTRAL = dict(COMMON, model_type="mixtral", architectures=["MixtralForCausalLM"], intermediate_size=24,
               num_local_experts=4, num_experts_per_tok=2)
QWEN2 = dict(COMMON, model_type="qwen2_moe", architectures=["Qwen2MoeForCausalLM"], intermediate_size=40,
             moe_intermediate_size=16, shared_expert_intermediate_size=24, num_experts=6, num_experts_per_tok=2,
             decoder_sparse_step=2, mlp_only_layers=[], norm_topk_prob=True, num_hidden_layers=4)
QWEN3 = dict(COMMON, model_type="qwen3_moe", architectures=["Qwen3MoeForCausalLM"], head_dim=24, intermediate_size=40,
             moe_intermediate_size=16, num_experts=5, num_experts_per_tok=3, decoder_sparse_step=1, mlp_only_layers=[0],
             norm_topk_prob=False, num_hidden_layers=3, tie_word_embeddings=True)
OLMOE = dict(COMMON, model_type="olmoe", architectures=["OlmoeForCausalLM"], intermediate_size=16, num_experts=6,
             num_experts_per_tok=2, norm_topk_prob=True)
WEIGHTS = {"llama": LLAMA, "llama_bias": dict(LLAMA, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
           "mixtral": MIXTRAL, "qwen2_moe": QWEN2, "qwen3_moe": QWEN3, "olmoe": OLMOE}

SHORT = [1.0, 1.02, 1.05, 1.1, 1.3, 1.6, 2.0, 2.4]
LONG = [1.0, 1.3, 2.0, 3.4, 6.0, 11.0, 20.0, 32.0]
LONGROPE = dict(rope_type="longrope", short_factor=SHORT, long_factor=LONG)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
# name: (weights, tokens, configuration beside that of the weights)
CASES = {
    "default": ("llama", 48, {}),
    "default_long": ("llama", 1500, {}),
    "linear": ("llama", 48, dict(rope_scaling=dict(type="linear", factor=4.0))),
    "dynamic_inside": ("llama", 48, dict(rope_scaling=dict(type="dynamic", factor=2.0))),
    "dynamic_beyond": ("llama", 48, dict(rope_scaling=dict(type="dynamic", factor=2.0), max_position_embeddings=16)),
    "llama3": ("llama", 48, dict(rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                                                   high_freq_factor=4.0, original_max_position_embeddings=64))),
    "yarn": ("llama", 48, dict(rope_scaling=YARN)),
    "yarn_untruncated": ("llama", 48, dict(rope_scaling=dict(YARN, truncate=False, beta_fast=16.0, beta_slow=2.0))),
    "yarn_mscale": ("llama", 48, dict(rope_scaling=dict(YARN, factor=16.0, mscale=1.0, mscale_all_dim=0.5))),
    "yarn_attention_factor": ("llama", 48, dict(rope_scaling=dict(YARN, attention_factor=0.8))),
    "yarn_partial": ("llama", 48, dict(rope_scaling=dict(YARN, partial_rotary_factor=0.5))),
    "longrope_short": ("llama", 30, dict(rope_scaling=LONGROPE, original_max_position_embeddings=32,
                                         max_position_embeddings=256)),
    "longrope_long": ("llama", 48, dict(rope_scaling=LONGROPE, original_max_position_embeddings=32,
                                        max_position_embeddings=256)),
    "longrope_attention_factor": ("llama", 48, dict(rope_scaling=dict(LONGROPE, attention_factor=1.5, factor=3.0),
                                                    original_max_position_embeddings=32)),
    "partial": ("llama", 48, dict(partial_rotary_factor=0.25)),
    "gelu": ("llama", 48, dict(hidden_act="gelu")),
    "gelu_tanh": ("llama", 48, dict(hidden_act="gelu_pytorch_tanh")),
    "bias": ("llama_bias", 48, {}),
    "window": ("mixtral", 80, dict(sliding_window=8)),
    "window_across_segments": ("mixtral", 1200, dict(sliding_window=700)),
    "window_of_upper_layers": ("qwen2_moe", 80, dict(use_sliding_window=True, sliding_window=8, max_window_layers=2)),
    "sparse_step": ("qwen2_moe", 48, dict(use_sliding_window=False)),
    "odd_heads": ("qwen3_moe", 48, {}),
    "clip": ("olmoe", 48, dict(clip_qkv=0.5)),
}


def to_native(config):
    """The configuration as transformers 5 takes it: the published rope keys move into rope_parameters."""
    rope = dict(config.get("rope_scaling") or {"rope_type": "default"})
    rope["rope_type"] = rope.pop("type", rope.get("rope_type"))
    rope["rope_theta"] = config["rope_theta"]
    if "partial_rotary_factor" in config:
        rope["partial_rotary_factor"] = config["partial_rotary_factor"]
    native = {k: v for k, v in config.items() if k not in ("rope_scaling", "rope_theta", "partial_rotary_factor")}
    kind = transformers.AutoConfig.for_model(native.pop("model_type"), **native, rope_parameters=rope)
    kind._attn_implementation = "eager"
    return kind


def patch_partial_rotation(on):
    """Llama's own class rotates whole heads; glm4_moe's functions are the published way to rotate a part of them."""
    from transformers.models.glm4_moe import modeling_glm4_moe as glm
    from transformers.models.llama import modeling_llama as llama
    if not hasattr(llama, "kept"):
        llama.kept = (llama.apply_rotary_pos_emb, llama.LlamaRotaryEmbedding.compute_default_rope_parameters)
    part = (glm.apply_rotary_pos_emb, glm.Glm4MoeRotaryEmbedding.compute_default_rope_parameters)
    rotate, default = part if on else llama.kept
    llama.apply_rotary_pos_emb = rotate
    llama.LlamaRotaryEmbedding.compute_default_rope_parameters = staticmethod(default)


def main():
    out = pathlib.Path(sys.argv[1])
    out.mkdir(parents=True, exist_ok=True)
    folders = {}
    for name, config in WEIGHTS.items():
        torch.manual_seed(len(name))
        model = transformers.AutoModelForCausalLM.from_config(to_native(config)).float()
        for key, value in model.named_parameters():
            if key.endswith("bias") or "norm" in key:
                value.data += 0.1 * torch.randn_like(value)
        folders[name] = tempfile.mkdtemp()
        model.to(torch.bfloat16).save_pretrained(folders[name])
        (out / f"{name}.safetensors").write_bytes((pathlib.Path(folders[name]) / "model.safetensors").read_bytes())
    cases, expected = {}, {}
    for name, (weights, tokens, override) in CASES.items():
        config = dict(WEIGHTS[weights], **override)
        partial = "partial_rotary_factor" in config or "partial_rotary_factor" in config.get("rope_scaling", {})
        patch_partial_rotation(partial)
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folders[weights], config=to_native(config), dtype=torch.float32, attn_implementation="eager").eval()
        ids = torch.randint(0, VOCAB, (tokens,), generator=torch.Generator().manual_seed(len(name)))
        with torch.no_grad():
            logits = model(ids[None], use_cache=False).logits[0]
        expected[name] = logits[-ROWS:].contiguous()
        cases[name] = dict(weights=f"{weights}.safetensors", config=dict(config, dtype="bfloat16"), ids=ids.tolist())
    save_file(expected, out / "expected.safetensors")
    (out / "expected.safetensors").chmod(0o644)
    lines = ",\n".join(f"{json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}" for k, v in cases.items())
    (out / "cases.json").write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    main()
