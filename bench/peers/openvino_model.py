#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes an OpenVINO model of a published shape with random weights: optimum-intel's export, INT4 by nncf, then more layers.

usage: openvino_model.py CONFIG.json OUT_FOLDER GROUP_SIZE

Needs torch, transformers, optimum-intel, nncf and openvino. The export holds the experts in F32, 2.4 GB a layer of Qwen3's shape:
so two layers are exported and compressed, and the second is repeated, with a copy of its weights each time, until the model has
the layers that CONFIG.json names. The graph of each layer is the exporter's own."""
import copy
import json
import pathlib
import shutil
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

import nncf
import openvino
import torch
from optimum.exporters.openvino import export_from_model
from transformers import AutoConfig, AutoModelForCausalLM

EXPORTED_LAYERS = 2
SHARED_BYTES = 4096  # smaller constants are not copied


def export(config: dict, folder: pathlib.Path) -> pathlib.Path:
    """Two layers of the model, in plain floats."""
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": EXPORTED_LAYERS}), encoding="utf-8")
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder), dtype=torch.bfloat16).eval()
    export_from_model(model, output=folder / "plain", task="text-generation-with-past", patch_16bit_model=True)
    return folder / "plain" / "openvino_model.xml"


def compress(plain: pathlib.Path, path: pathlib.Path, group: int) -> None:
    model = openvino.Core().read_model(plain)
    model = nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT4_SYM, group_size=group, ratio=1.0, all_layers=True)
    openvino.save_model(model, path, compress_to_fp16=False)


class Graph:
    """A model's XML, whose last layer can be repeated."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path = path
        self.tree = ElementTree.parse(path)
        self.layers, self.edges = (self.tree.getroot().find(tag) for tag in ("layers", "edges"))
        self.by_id = {layer.get("id"): layer for layer in self.layers}

    def behind(self, number: int) -> str:
        """The node that adds a layer's experts to what passes by."""
        name = f"__module.model.layers.{number}/aten::add/Add_1"
        return next(layer.get("id") for layer in self.layers if layer.get("name") == name)

    def before(self, node: str) -> set[str]:
        """A node and all that it is computed from."""
        inputs: dict[str, list[str]] = {}
        for edge in self.edges:
            inputs.setdefault(edge.get("to-layer"), []).append(edge.get("from-layer"))
        found, left = set(), [node]
        while left:
            one = left.pop()
            if one not in found:
                found.add(one)
                left += inputs.get(one, [])
        return found

    def body(self, number: int) -> set[str]:
        """The nodes of one layer alone, with those that keep its cache."""
        nodes = self.before(self.behind(number)) - self.before(self.behind(number - 1))
        keeps = {e.get("to-layer") for e in self.edges if e.get("from-layer") in nodes}
        return nodes | {node for node in keeps if self.by_id[node].get("type") == "Assign"}

    def copied(self, node: str, names: dict[str, str], last: int, number: int, weights) -> ElementTree.Element:
        layer = copy.deepcopy(self.by_id[node])
        layer.set("id", names[node])
        layer.set("name", f"{layer.get('name')}/layer.{number}")
        data = layer.find("data")
        if data is not None and "variable_id" in data.attrib:
            data.set("variable_id", data.get("variable_id").replace(f".{last}.", f".{number}."))
        if layer.get("type") == "Const" and int(data.get("size")) > SHARED_BYTES:
            weights.seek(int(data.get("offset")))
            content = weights.read(int(data.get("size")))
            weights.seek(0, 2)
            weights.write(bytes(-weights.tell() % 64))
            data.set("offset", str(weights.tell()))
            weights.write(content)
        return layer

    def repeat(self, last: int, count: int) -> None:
        """Puts layers up to `count` behind layer `last`, each like it."""
        body, entry, end = self.body(last), self.behind(last - 1), self.behind(last)
        inner = [edge for edge in self.edges if edge.get("to-layer") in body]
        after = [edge for edge in self.edges if edge.get("from-layer") == end and edge.get("to-layer") not in body]
        free, previous = max(int(node) for node in self.by_id) + 1, end
        with open(self.path.with_suffix(".bin"), "r+b") as weights:
            for number in range(last + 1, count):
                names = {node: str(free + i) for i, node in enumerate(sorted(body, key=int))}
                free += len(names)
                self.layers.extend(self.copied(node, names, last, number, weights) for node in names)
                for edge in inner:
                    source = edge.get("from-layer")
                    source = previous if source == entry else names.get(source, source)
                    attributes = {"from-layer": source, "from-port": edge.get("from-port"),
                                  "to-layer": names[edge.get("to-layer")], "to-port": edge.get("to-port")}
                    self.edges.append(ElementTree.Element("edge", attributes))
                previous = names[end]
        for edge in after:
            edge.set("from-layer", previous)
        self.tree.write(self.path)


def write(config_json: pathlib.Path, folder: pathlib.Path, group: int) -> None:
    config = json.loads(config_json.read_text(encoding="utf-8"))
    part = folder.with_suffix(".part")
    part.mkdir(parents=True)
    path = part / "openvino_model.xml"
    with tempfile.TemporaryDirectory(dir=part.parent) as temporary:
        compress(export(config, pathlib.Path(temporary)), path, group)
    Graph(path).repeat(EXPORTED_LAYERS - 1, config["num_hidden_layers"])
    shutil.copy(config_json, part / "config.json")
    part.rename(folder)


if __name__ == "__main__":
    write(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), int(sys.argv[3]))
