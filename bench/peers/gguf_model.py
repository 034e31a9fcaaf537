# SPDX-License-Identifier: Apache-2.0
"""Writes a GGUF of a published model's shape with random weights, in the mixtures that llama.cpp calls Q4_0 and Q4_K_M."""
import json
import pathlib

import gguf
import numpy as np
from gguf import GGMLQuantizationType as Type

ARCHITECTURES = {"OlmoeForCausalLM": gguf.MODEL_ARCH.OLMOE, "Qwen3MoeForCausalLM": gguf.MODEL_ARCH.QWEN3MOE,
                 "MixtralForCausalLM": gguf.MODEL_ARCH.LLAMA}
FILE_TYPES = {"Q4_0": gguf.LlamaFileType.MOSTLY_Q4_0, "Q4_K_M": gguf.LlamaFileType.MOSTLY_Q4_K_M}
# How far the factors of a block are from the deviation of its weights, for codes and inner scales drawn evenly.
DEVIATION = {Type.Q4_0: 4.6, Type.Q4_K: 250.0, Type.Q6_K: 1370.0, Type.Q8_0: 74.0, Type.Q5_K: 500.0}
# type -> (FP16 factors as (offset, multiple)) of a block
FACTORS = {Type.Q4_0: [(0, 1.0)], Type.Q8_0: [(0, 1.0)], Type.Q4_K: [(0, 1.0), (2, 7.5)], Type.Q5_K: [(0, 1.0), (2, 15.5)],
           Type.Q6_K: [(208, 1.0)]}
CHUNK_BLOCKS = 1 << 18
# Two codes a byte without the lowest, which would leave a mean, and a mean makes every token choose the same experts.
EVEN_CODES = np.array([(byte & 15 or 8) | (byte >> 4 or 8) << 4 for byte in range(256)], np.uint8)


def blocks(random: np.random.Generator, kind: Type, count: int, cols: int) -> np.ndarray:
    """`count` random blocks of weights with deviation 1 / sqrt(cols)."""
    size = gguf.GGML_QUANT_SIZES[kind][1]
    data = np.frombuffer(random.bytes(count * size), np.uint8).reshape(count, size).copy()
    if kind == Type.Q4_0:
        data = EVEN_CODES[data]
    for offset, multiple in FACTORS[kind]:
        factor = np.array([multiple / (cols ** 0.5 * DEVIATION[kind])], np.float16)
        data[:, offset:offset + 2] = factor.view(np.uint8)
    return data


class Model:
    """A configuration, and the tensors of its GGUF in order."""

    def __init__(self, config: dict, mixture: str) -> None:
        self.c = config
        self.architecture = config["architectures"][0]
        self.mixture = mixture
        self.heads = config["num_attention_heads"]
        self.kv_heads = config["num_key_value_heads"]
        self.head_dim = config.get("head_dim") or config["hidden_size"] // self.heads
        self.experts = config.get("num_experts") or config["num_local_experts"]
        self.inner = config.get("moe_intermediate_size") or config["intermediate_size"]

    def kind(self, role: str, layer: int = 0) -> Type:
        """As llama.cpp's llama_model_quantize chooses: finer types where it found them to matter."""
        layers = self.c["num_hidden_layers"]
        if role == "output":
            return Type.Q6_K
        if self.mixture == "Q4_0":
            return Type.Q4_0
        more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
        if self.experts == 8 and role in ("attn_k", "attn_v"):
            return Type.Q8_0
        if self.experts == 8 and role == "attn_output":
            return Type.Q5_K
        return Type.Q6_K if more and role in ("attn_v", "ffn_down") else Type.Q4_K

    def tensors(self) -> list[tuple[str, Type, tuple[int, ...]]]:
        hidden, vocab, wide = self.c["hidden_size"], self.c["vocab_size"], self.heads * self.head_dim
        narrow, experts, inner = self.kv_heads * self.head_dim, self.experts, self.inner
        out = [("token_embd", self.kind("token_embd"), (vocab, hidden))]
        for i in range(self.c["num_hidden_layers"]):
            norms = {"attn_norm": hidden, "ffn_norm": hidden}
            if "Qwen3" in self.architecture:
                norms |= {"attn_q_norm": self.head_dim, "attn_k_norm": self.head_dim}
            elif "Olmoe" in self.architecture:
                norms |= {"attn_q_norm": wide, "attn_k_norm": narrow}
            out += [(f"blk.{i}.{name}", Type.F32, (count,)) for name, count in norms.items()]
            out += [(f"blk.{i}.{role}", self.kind(role, i), shape) for role, shape in (
                ("attn_q", (wide, hidden)), ("attn_k", (narrow, hidden)), ("attn_v", (narrow, hidden)),
                ("attn_output", (hidden, wide)))]
            out.append((f"blk.{i}.ffn_gate_inp", Type.F32, (experts, hidden)))
            out += [(f"blk.{i}.ffn_{role}_exps", self.kind(f"ffn_{role}", i), shape) for role, shape in (
                ("gate", (experts, inner, hidden)), ("up", (experts, inner, hidden)), ("down", (experts, hidden, inner)))]
        return [*out, ("output_norm", Type.F32, (hidden,)), ("output", self.kind("output"), (vocab, hidden))]

    def bytes_a_token(self) -> float:
        """Of weights read to decode one token of one sequence."""
        share = self.c["num_experts_per_tok"] / self.experts
        return sum(tensor_bytes(kind, shape) * (share if "_exps" in name else 1) for name, kind, shape in self.tensors()
                   if name != "token_embd")

    def describe(self, writer: gguf.GGUFWriter) -> None:
        c = self.c
        writer.add_block_count(c["num_hidden_layers"])
        writer.add_context_length(c["max_position_embeddings"])
        writer.add_embedding_length(c["hidden_size"])
        writer.add_feed_forward_length(c["intermediate_size"])
        writer.add_expert_feed_forward_length(self.inner)
        writer.add_head_count(self.heads)
        writer.add_head_count_kv(self.kv_heads)
        writer.add_key_length(self.head_dim)
        writer.add_value_length(self.head_dim)
        writer.add_rope_dimension_count(self.head_dim)
        writer.add_rope_freq_base(c["rope_theta"])
        writer.add_layer_norm_rms_eps(c["rms_norm_eps"])
        writer.add_expert_count(self.experts)
        writer.add_expert_used_count(c["num_experts_per_tok"])
        writer.add_vocab_size(c["vocab_size"])
        writer.add_tokenizer_model("no_vocab")
        writer.add_file_type(FILE_TYPES[self.mixture])


def tensor_bytes(kind: Type, shape: tuple[int, ...]) -> int:
    block, size = gguf.GGML_QUANT_SIZES[kind]
    return int(np.prod(shape)) // block * size


def write_tensor(file, random: np.random.Generator, kind: Type, shape: tuple[int, ...]) -> None:
    cols = shape[-1]
    if kind == Type.F32:
        values = np.ones(shape) if len(shape) == 1 else random.normal(size=shape) / cols ** 0.5
        file.write(values.astype(np.float32).tobytes())
        return
    left = int(np.prod(shape)) // gguf.GGML_QUANT_SIZES[kind][0]
    while left:
        count = min(left, CHUNK_BLOCKS)
        file.write(blocks(random, kind, count, cols).tobytes())
        left -= count


def write(path: pathlib.Path, config_json: pathlib.Path, mixture: str) -> Model:
    """The model of `config_json` at `path`, written unless it is there."""
    model = Model(json.loads(config_json.read_text(encoding="utf-8")), mixture)
    if path.exists():
        return model
    random = np.random.default_rng(1)
    part = path.with_suffix(".part")
    writer = gguf.GGUFWriter(part, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[model.architecture]])
    model.describe(writer)
    for name, kind, shape in model.tensors():
        writer.add_tensor_info(f"{name}.weight", shape, np.dtype(np.float32), tensor_bytes(kind, shape), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    for name, kind, shape in model.tensors():
        writer.write_padding(file, file.tell())
        write_tensor(file, random, kind, shape)
    writer.write_padding(file, file.tell())
    writer.close()
    part.rename(path)
    return model
