#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compresses a checkpoint several times larger than the memory group that it runs in, and holds the peak of the group's
own counters against the bound that docs/compression.md states. Skipped (exit 77) where no memory group can be made.

usage: compress_bounded.py PROGRAM DATA_FOLDER [--layers N] [--experts N] [--limit MiB] [--method gptq|recover|awq|budget]"""
import argparse
import array
import json
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import time

SKIPPED = 77
MIB = 1 << 20
HIDDEN, INNER, HEADS, HEAD_DIM, TOP_K, VOCAB, TOKENS, WINDOW, THREADS = 256, 256, 4, 64, 2, 4096, 2048, 512, 2
# GPTQ with its Hessians, in a third of the time that refining takes.
PLAIN = {"experts": {"refine": 0}}
METHODS = {"gptq": PLAIN, "recover": PLAIN | {"recover": True}, "awq": {"experts": {"quant": "awq", "refine": 0}},
           "budget": PLAIN | {"budget": {"bits_per_weight": 4.0}}}
PROGRAM_BYTES = 12 * MIB  # the program itself, its libraries' data, tokenizer, text and ids


def noise(count: int, scale: float) -> bytes:
    """BF16 numbers around 0: the upper halves of floats."""
    floats = array.array("f", (random.gauss(0, scale) for _ in range(count))).tobytes()
    return b"".join(floats[i + 2:i + 4] for i in range(0, len(floats), 4))


def shard_write(path: pathlib.Path, tensors: dict[str, tuple[list[int], bytes]]) -> None:
    header, at = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, data in tensors.values():
            file.write(data)


def layer_tensors(layer: int, experts: int, block: bytes, ones: bytes) -> dict[str, tuple[list[int], bytes]]:
    """Every matrix is the same block of noise, begun at another place."""
    def cut(shape: list[int]) -> tuple[list[int], bytes]:
        count, first = 2 * shape[0] * shape[1], 2 * random.randrange(len(block) // 2)
        repeated = block[first:] + block * (count // len(block) + 1)
        return shape, repeated[:count]

    stem, q, kv = f"model.layers.{layer}.", HEADS * HEAD_DIM, 2 * HEAD_DIM
    tensors = {stem + "input_layernorm.weight": ([HIDDEN], ones),
               stem + "post_attention_layernorm.weight": ([HIDDEN], ones),
               stem + "self_attn.q_norm.weight": ([HEAD_DIM], ones[:2 * HEAD_DIM]),
               stem + "self_attn.k_norm.weight": ([HEAD_DIM], ones[:2 * HEAD_DIM]),
               stem + "self_attn.q_proj.weight": cut([q, HIDDEN]),
               stem + "self_attn.k_proj.weight": cut([kv, HIDDEN]),
               stem + "self_attn.v_proj.weight": cut([kv, HIDDEN]),
               stem + "self_attn.o_proj.weight": cut([HIDDEN, q]),
               stem + "mlp.gate.weight": cut([experts, HIDDEN])}
    for expert in range(experts):
        for name, shape in (("gate", [INNER, HIDDEN]), ("up", [INNER, HIDDEN]), ("down", [HIDDEN, INNER])):
            tensors[f"{stem}mlp.experts.{expert}.{name}_proj.weight"] = cut(shape)
    return tensors


def checkpoint_write(folder: pathlib.Path, data: pathlib.Path, layers: int, experts: int) -> int:
    """A Qwen3-MoE of random weights with the bundled tokenizer. Returns the bytes of its tensors' files."""
    source = data / "fable-moe"
    config = json.loads((source / "config.json").read_text())
    config |= {"num_hidden_layers": layers, "num_experts": experts, "num_local_experts": experts, "head_dim": HEAD_DIM,
               "hidden_size": HIDDEN, "moe_intermediate_size": INNER, "num_attention_heads": HEADS,
               "num_key_value_heads": 2, "num_experts_per_tok": TOP_K, "vocab_size": VOCAB}
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    block, ones, weight_map = noise(1 << 18, 0.05), struct.pack("<H", 0x3F80) * HIDDEN, {}
    shards = layers + 1
    for shard in range(shards):
        name = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        tensors = layer_tensors(shard, experts, block, ones) if shard < layers else {
            "model.embed_tokens.weight": ([VOCAB, HIDDEN], (block * 4)[:2 * VOCAB * HIDDEN]),
            "model.norm.weight": ([HIDDEN], ones)}
        shard_write(folder / name, tensors)
        weight_map |= dict.fromkeys(tensors, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))


class Group:
    """A memory group below our own, of cgroup v1 or v2: nothing beside it changes."""

    def __init__(self, limit: int) -> None:
        paths = dict(line.split(":", 2)[1:] for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines())
        first = "memory" in paths
        root = pathlib.Path("/sys/fs/cgroup/memory" if first else "/sys/fs/cgroup")
        self.folder = root / paths.get("memory", paths.get("", "/")).lstrip("/") / f"moesaic-{os.getpid()}"
        self.limit = "memory.limit_in_bytes" if first else "memory.max"
        self.peak = "memory.max_usage_in_bytes" if first else "memory.peak"
        self.private = "total_rss" if first else "anon"
        self.folder.mkdir()
        try:
            (self.folder / self.limit).write_text(str(limit))
            for name in ("memory.swap.max", "memory.memsw.limit_in_bytes"):
                if (self.folder / name).exists():
                    (self.folder / name).write_text(str(0 if name == "memory.swap.max" else limit))
        except OSError:
            self.remove()
            raise

    def join(self) -> None:
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    def private_bytes(self) -> int:
        stat = dict(line.split() for line in (self.folder / "memory.stat").read_text().splitlines())
        return int(stat[self.private])

    def peak_bytes(self) -> int:
        return int((self.folder / self.peak).read_text())

    def remove(self) -> None:
        self.folder.rmdir()


def bound_bytes(experts: int, layer_bytes: int, method: str) -> int:
    """The formula of docs/compression.md."""
    states = TOKENS * (8 * HIDDEN + 8 * TOP_K)
    window = WINDOW * 4 * (10 * HIDDEN + 2 * TOP_K * (INNER + HIDDEN) + experts)
    cols = max(HIDDEN, INNER, HEADS * HEAD_DIM)
    thread = 8 * (3 * cols * cols + 7 * HIDDEN * INNER) + 2 * 4 * cols * cols + 256 * 4 * (HIDDEN + INNER)
    if method == "recover":
        states += 4 * TOKENS * (3 * HIDDEN + HEADS * HEAD_DIM)
        thread += 8 * 3 * cols * cols + 28 * HIDDEN * INNER
    if method == "awq":
        thread += 12 * HIDDEN * INNER
    if method == "budget":
        thread += 2 * 4 * 512 * HIDDEN
    table = 42 * min(VOCAB * HIDDEN, 4 * MIB) + 2 * VOCAB * HIDDEN
    return PROGRAM_BYTES + states + window + max(THREADS * thread + layer_bytes, table)


def compress(group: Group, program: str, folder: pathlib.Path, data: pathlib.Path, output: pathlib.Path,
             method: str) -> int:
    """Runs the compressor in the group; returns the most private memory seen in it."""
    recipe = folder / "recipe.json"
    recipe.write_text(json.dumps(METHODS[method]))
    command = [program, "compress", str(folder), "-o", str(output), "--calib", str(data / "texts" / "calib.txt"),
               "--calib-tokens", str(TOKENS), "--recipe", str(recipe), "--threads", str(THREADS), "--no-report", "-q"]
    most = 0
    with subprocess.Popen(command, preexec_fn=group.join) as process:
        while process.poll() is None:
            most = max(most, group.private_bytes())
            time.sleep(0.005)
    if process.returncode:
        sys.exit(f"compress ended with {process.returncode} (-9: killed for memory)")
    return most


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--experts", type=int, default=64)
    parser.add_argument("--limit", type=int, default=80, help="MiB")
    parser.add_argument("--method", choices=METHODS, default="gptq")
    options = parser.parse_args()
    random.seed(1)
    with tempfile.TemporaryDirectory() as scratch:
        folder, output = pathlib.Path(scratch) / "model", pathlib.Path(scratch) / "out.moe"
        size = checkpoint_write(folder, options.data, options.layers, options.experts)
        limit = options.limit * MIB
        try:
            group = Group(limit)
        except OSError as why:
            print(f"skipped: no memory group can be made here: {why}")
            return SKIPPED
        try:
            private = compress(group, os.path.abspath(options.program), folder, options.data, output,
                               options.method)
            peak = group.peak_bytes()
        finally:
            group.remove()
        bound = bound_bytes(options.experts, output.stat().st_size // options.layers, options.method)
        subprocess.run([options.program, "inspect", str(output), "--verify", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
    print(f"checkpoint {size / MIB:.1f} MiB, limit {limit / MIB:.1f} MiB ({size / limit:.1f} times less); peak of the "
          f"group {peak / MIB:.1f} MiB, of it private {private / MIB:.1f} MiB; bound {bound / MIB:.1f} MiB")
    if private > bound:
        print("the bound of docs/compression.md is exceeded")
    return 1 if private > bound or peak > limit else 0


if __name__ == "__main__":
    sys.exit(main())
