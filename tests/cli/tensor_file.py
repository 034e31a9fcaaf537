# SPDX-License-Identifier: Apache-2.0
"""Safetensors files as the cases read and write them."""
import array
import json
import pathlib
import struct

CODES = {"F32": "f", "I32": "i", "U16": "H", "I64": "q", "U8": "B"}


def read(path) -> dict[str, tuple[str, list[int], bytes]]:
    """Name -> type, shape, bytes."""
    raw = pathlib.Path(path).read_bytes()
    base = 8 + struct.unpack("<Q", raw[:8])[0]
    return {name: (t["dtype"], t["shape"], raw[base + t["data_offsets"][0]:base + t["data_offsets"][1]])
            for name, t in json.loads(raw[8:base]).items() if name != "__metadata__"}


def read_folder(folder) -> dict[str, tuple[str, list[int], bytes]]:
    return {name: t for path in pathlib.Path(folder).glob("*.safetensors") for name, t in read(path).items()}


def numbers(tensor: tuple[str, list[int], bytes]) -> array.array:
    return array.array(CODES[tensor[0]], tensor[2])


def write(path, tensors: dict[str, tuple[str, list[int], bytes]]) -> None:
    at, table = 0, {}
    for name, (kind, shape, content) in tensors.items():
        table[name] = {"dtype": kind, "shape": shape, "data_offsets": [at, at + len(content)]}
        at += len(content)
    header = json.dumps(table).encode()
    header += b" " * (-len(header) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(header)) + header + b"".join(t[2] for t in tensors.values()))
