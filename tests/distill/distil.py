#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Distils a pruned model from the model it came from, in plain PyTorch: KL divergence of the next token over a text, the
masks held. See docs/distillation.md. Needs torch and safetensors; knows Qwen3-MoE, the bundled model's architecture.

usage: distil.py TEACHER STUDENT TEXT -o FOLDER --program MOESAIC [--steps N] [--batch N] [--window N] [--rate R]
       [--only PART...]
TEACHER and STUDENT are Hugging Face folders, STUDENT one written by `moesaic export`, with its masks.safetensors
if it is pruned. --only trains the tensors that have one of the parts in their names."""
import argparse
import json
import math
import pathlib
import shutil
import subprocess

import torch
import torch.nn.functional as functional
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]


def folder_read(folder: pathlib.Path) -> Weights:
    weights: Weights = {}
    for path in sorted(folder.glob("model*.safetensors")):
        weights |= {name: tensor.float() for name, tensor in load_file(path).items()}
    return weights


def norm(x: torch.Tensor, gain: torch.Tensor, epsilon: float) -> torch.Tensor:
    return gain * x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)


def rotate(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Rotary positions of x [batch, heads, tokens, head_dim], halves paired."""
    half = x.shape[-1] // 2
    angles = torch.outer(torch.arange(x.shape[-2]), theta ** (-torch.arange(half) / half))
    cosine, sine = angles.cos(), angles.sin()
    left, right = x[..., :half], x[..., half:]
    return torch.cat((left * cosine - right * sine, right * cosine + left * sine), -1)


class Model:
    """Logits of a Qwen3-MoE from its published tensors."""

    def __init__(self, config: dict, weights: Weights) -> None:
        self.config, self.weights = config, weights
        self.epsilon = config["rms_norm_eps"]
        self.theta = config["rope_parameters"]["rope_theta"] if "rope_parameters" in config else config["rope_theta"]

    def attention(self, x: torch.Tensor, stem: str) -> torch.Tensor:
        batch, tokens, _ = x.shape
        w, dim = self.weights, self.config["head_dim"]
        heads = {"q": self.config["num_attention_heads"], "k": self.config["num_key_value_heads"]}

        def split(part: str, count: int) -> torch.Tensor:
            return functional.linear(x, w[f"{stem}{part}_proj.weight"]).view(batch, tokens, count, dim)

        query, key = (rotate(norm(split(part, heads[part]), w[f"{stem}{part}_norm.weight"], self.epsilon)
                             .transpose(1, 2), self.theta) for part in "qk")
        value = split("v", heads["k"]).transpose(1, 2)
        repeats = heads["q"] // heads["k"]
        out = functional.scaled_dot_product_attention(query, key.repeat_interleave(repeats, 1),
                                                      value.repeat_interleave(repeats, 1), is_causal=True)
        return functional.linear(out.transpose(1, 2).reshape(batch, tokens, -1), w[stem + "o_proj.weight"])

    def experts(self, x: torch.Tensor, stem: str) -> torch.Tensor:
        w, rows = self.weights, x.reshape(-1, x.shape[-1])
        odds = functional.linear(rows, w[stem + "gate.weight"]).softmax(-1)
        share, chosen = odds.topk(self.config["num_experts_per_tok"])
        if self.config["norm_topk_prob"]:
            share = share / share.sum(-1, keepdim=True)
        out = torch.zeros_like(rows)
        for expert in range(odds.shape[-1]):
            token, slot = (chosen == expert).nonzero(as_tuple=True)
            if not token.numel():
                continue
            gate, up, down = (w[f"{stem}experts.{expert}.{part}_proj.weight"] for part in ("gate", "up", "down"))
            inner = functional.silu(functional.linear(rows[token], gate)) * functional.linear(rows[token], up)
            out = out.index_add(0, token, share[token, slot, None] * functional.linear(inner, down))
        return out.view_as(x)

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        """[batch, tokens] to [batch, tokens, vocab]."""
        w = self.weights
        x = w["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            stem = f"model.layers.{layer}."
            x = x + self.attention(norm(x, w[stem + "input_layernorm.weight"], self.epsilon), stem + "self_attn.")
            x = x + self.experts(norm(x, w[stem + "post_attention_layernorm.weight"], self.epsilon), stem + "mlp.")
        x = norm(x, w["model.norm.weight"], self.epsilon)
        return functional.linear(x, w.get("lm_head.weight", w["model.embed_tokens.weight"]))


def divergence(teacher: torch.Tensor, student: torch.Tensor) -> torch.Tensor:
    """KL(teacher to student) in nats, the mean over positions."""
    want, have = teacher.log_softmax(-1).flatten(0, 1), student.log_softmax(-1).flatten(0, 1)
    return functional.kl_div(have, want, reduction="batchmean", log_target=True)


def tokens_of(program: str, folder: pathlib.Path, text: pathlib.Path) -> torch.Tensor:
    line = json.dumps(text.read_text(encoding="utf-8")) + "\n"
    ran = subprocess.run([program, "tokenize", str(folder), "--no-special"], input=line, capture_output=True, text=True,
                         check=True)
    return torch.tensor(json.loads(ran.stdout))


def distil(options: argparse.Namespace, teacher: Model, student: Model, masks: Weights, ids: torch.Tensor) -> None:
    """Trains everything but the embedding, or what `only` names; what is pruned stays 0. Prints the KL before, on the way
    and after."""
    trained = {name: w.requires_grad_() for name, w in student.weights.items()
               if "embed_tokens" not in name and (not options.only or any(part in name for part in options.only))}
    optimizer = torch.optim.AdamW(trained.values(), lr=options.rate, betas=(0.9, 0.95), weight_decay=0)
    windows = ids[:len(ids) // options.window * options.window].view(-1, options.window)
    held, windows = windows[-options.batch:], windows[:-options.batch]

    def held_out() -> float:
        with torch.no_grad():
            return divergence(teacher.logits(held), student.logits(held)).item()

    print(f"KL on {held.numel()} held-out tokens before: {held_out():.4f}", flush=True)
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, (step + 1) / 20) * (0.55 + 0.45 * math.cos(math.pi * step / options.steps))
        batch = windows[torch.randint(len(windows), (options.batch,))]
        with torch.no_grad():
            wanted = teacher.logits(batch)
        loss = divergence(wanted, student.logits(batch))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for name, mask in masks.items():
                student.weights[name].mul_(mask)
        if step % 25 == 24:
            print(f"step {step + 1}: KL {loss.item():.4f}", flush=True)
    print(f"KL on {held.numel()} held-out tokens after: {held_out():.4f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("teacher", "student", "text"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("-o", "--output", type=pathlib.Path, required=True)
    parser.add_argument("--program", default="moesaic")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--window", type=int, default=256)
    parser.add_argument("--rate", type=float, default=1e-4)
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    torch.manual_seed(1)
    config = json.loads((options.student / "config.json").read_text())
    teacher, student = (Model(config, folder_read(folder)) for folder in (options.teacher, options.student))
    path = options.student / "masks.safetensors"
    masks = {name: mask.float() for name, mask in load_file(path).items()} if path.exists() else {}
    distil(options, teacher, student, masks, tokens_of(options.program, options.teacher, options.text))
    shutil.copytree(options.student, options.output)
    save_file({name: w.detach().bfloat16().contiguous() for name, w in student.weights.items()},
              options.output / "model.safetensors", metadata={"format": "pt"})


if __name__ == "__main__":
    main()
