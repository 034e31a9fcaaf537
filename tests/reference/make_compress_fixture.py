# SPDX-License-Identifier: Apache-2.0
"""Writes tests/data/compress/reference.bin: slices of real expert matrices, inputs, and what the NumPy references make
of them. Run once with a Qwen3-MoE checkpoint folder (BF16, 256 wide) and the output file:
    python3 make_compress_fixture.py MODEL_FOLDER reference.bin

Inputs are the checkpoint's own embedding rows after the layer's norm, rounded to FP16. Records of the file: name (24
bytes, zero padded), type (one of f e b: F32, FP16 bits, bytes), 3 zero bytes, rows and cols (u32, little-endian), data.
"""
import json
import pathlib
import struct
import sys

import numpy as np

import compress_reference as ref

ROWS, TOKENS = 12, 80
CASES = [("gate", 0, 2, 256, 64), ("down", 3, 0, 200, 64), ("up", 5, 10, 132, 128)]  # matrix, layer, expert, cols, group


def tensors(folder):
    """A function from the name of a BF16 tensor to its values."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]

    def get(name):
        blob = (folder / index[name]).read_bytes()
        header_bytes = int.from_bytes(blob[:8], "little")
        entry = json.loads(blob[8:8 + header_bytes])[name]
        begin, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        bits = np.frombuffer(blob[begin:end], "<u2").astype(np.uint32) << 16
        return bits.view(np.float32).reshape(entry["shape"])

    return get


def record(out, name, kind, data):
    data = np.ascontiguousarray(np.atleast_2d(data), {"f": np.float32, "e": np.float16, "b": np.int8}[kind])
    out.write(struct.pack("<24sc3xII", name.encode(), kind.encode(), *data.shape) + data.tobytes())


def inputs(get, layer, cols):
    rows = get("model.embed_tokens.weight")[7:7 + 31 * TOKENS:31]
    rows = rows / np.sqrt((rows ** 2).mean(axis=1, keepdims=True) + 1e-6)
    return (rows * get(f"model.layers.{layer}.post_attention_layernorm.weight"))[:, :cols].astype(np.float16)


def write_case(out, get, number, matrix, layer, expert, cols, group):
    w = get(f"model.layers.{layer}.mlp.experts.{expert}.{matrix}_proj.weight")[:ROWS, :cols].astype(np.float64)
    x = inputs(get, layer, cols)
    hessian = x.astype(np.float64).T @ x.astype(np.float64)
    h = np.diag(hessian)
    put = lambda name, kind, data: record(out, f"{number}.{name}", kind, data)
    put("group", "f", [[group]])
    put("w", "f", w)
    put("x", "e", x)
    for bits in (8, 4, 3):
        steps = ref.rtn_steps(w, bits, group)
        put(f"rtn{bits}", "b", ref.nearest(w, ref.spread(steps, group, cols), bits))
    steps = ref.clip_steps(w, h, 4, group)
    put("clip4", "b", ref.nearest(w, ref.spread(steps, group, cols), 4))
    put("gptq4", "b", ref.second_order(w, hessian, bits=4, group=group)[2])
    put("gptq3.in_order", "b", ref.second_order(w, hessian, bits=3, group=group, in_order=True)[2])
    put("magnitude.5", "b", ref.magnitude_mask(w, 0.5))
    put("wanda.5", "b", ref.wanda_mask(w, h, density=0.5))
    put("wanda2:4", "b", ref.wanda_mask(w, h, pattern=(2, 4)))
    values, mask, _, _ = ref.second_order(w, hessian, density=0.5, in_order=True)
    put("sparsegpt.5", "b", mask)
    put("sparsegpt.5.values", "f", values)
    put("sparsegpt.6", "b", ref.second_order(w, hessian, density=0.6)[1])
    put("sparsegpt2:4", "b", ref.second_order(w, hessian, pattern=(2, 4))[1])
    _, mask, codes, _ = ref.second_order(w, hessian, pattern=(4, 8), bits=4, group=group)
    put("joint4:8.mask", "b", mask)
    put("joint4:8", "b", codes)
    _, mask, codes, _ = ref.second_order(w, hessian, density=0.4, bits=4, group=group)
    put("joint.4", "b", codes)


def main():
    get = tensors(pathlib.Path(sys.argv[1]))
    with open(sys.argv[2], "wb") as out:
        for number, case in enumerate(CASES):
            write_case(out, get, number, *case)


if __name__ == "__main__":
    main()
