#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenVINO behind a pipe: loads a model for its CPU plugin, then measures what each line of JSON on its input asks for.

usage: openvino_run.py MODEL.xml SEQUENCES PROMPT DECODE PRECISION CACHE GROUP
  PRECISION: bf16 or f32, of what is not INT4; CACHE: u8, f16, bf16 or f32; GROUP: of the activations' INT8 form, 0 for none

Speaks as llama_run.py does. A number of threads is fixed when a model is compiled, so it is compiled anew for another one. Of a
prompt only the last token's logits are computed, as OpenVINO GenAI does it."""
import json
import random
import sys
import time

import numpy as np
import openvino
from openvino import opset13

LATEST = 1 << 62  # the end of a slice


def last_logits_only(model: openvino.Model) -> None:
    """Puts a slice before the head, so that it sees the last token of each sequence."""
    node = model.output("logits").get_node().input_value(0).get_node()
    while node.get_type_name() != "MatMul":
        node = node.input_value(0).get_node()
    words = [np.array([value], np.int64) for value in (-1, LATEST, 1, 1)]
    node.input(0).replace_source_output(opset13.slice(node.input_value(0), *words).output(0))


class Model:
    def __init__(self, path: str, sequences: int, prompt: int, precision: str, cache: str, group: int) -> None:
        self.core = openvino.Core()
        self.model = self.core.read_model(path)
        last_logits_only(self.model)
        self.settings = {"PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": precision,
                         "KV_CACHE_PRECISION": cache, "DYNAMIC_QUANTIZATION_GROUP_SIZE": group}
        self.threads, self.request = 0, None
        vocab, ids = self.model.output("logits").get_partial_shape()[2].get_length(), random.Random(1)
        self.prompts = [[ids.randrange(vocab) for _ in range(prompt)] for _ in range(sequences)]

    def compile(self, threads: int) -> None:
        if threads == self.threads:
            return
        self.request = None  # gives its memory back first
        settings = self.settings | {"INFERENCE_NUM_THREADS": threads}
        self.threads, self.request = threads, self.core.compile_model(self.model, "CPU", settings).create_infer_request()
        self.step(np.array(self.prompts[:1], np.int64), 0)  # warms up

    def step(self, tokens: np.ndarray, first: int) -> np.ndarray:
        """Evaluates tokens [sequences, count] behind `first` others; returns the best next ones, [sequences, 1]."""
        sequences, count = tokens.shape
        positions = np.broadcast_to(np.arange(first, first + count, dtype=np.int64), tokens.shape)
        out = self.request.infer({"input_ids": tokens, "attention_mask": np.ones((sequences, first + count), np.int64),
                             "position_ids": np.ascontiguousarray(positions),
                             "beam_idx": np.arange(sequences, dtype=np.int32)}, share_inputs=True, share_outputs=True)
        return np.argmax(out["logits"][:, -1:], axis=2)

    def measure(self, threads: int, batch: int, steps: int) -> float:
        """Seconds of the first prompt, or of `steps` steps of `batch` sequences behind their prompts and a step of warming up."""
        self.compile(threads)
        self.request.reset_state()
        prompts = np.array(self.prompts[:max(1, batch)], np.int64)
        start = time.perf_counter()
        tokens = self.step(prompts, 0)
        if batch:
            count = prompts.shape[1]
            tokens = self.step(tokens, count)
            start = time.perf_counter()
            for number in range(1, 1 + steps):
                tokens = self.step(tokens, count + number)
        return time.perf_counter() - start


def main() -> int:
    path, sequences, prompt, _decode, precision, cache, group = sys.argv[1:8]
    model = Model(path, int(sequences), int(prompt), precision, cache, int(group))
    about = {"version": f"openvino {openvino.__version__}", "system": model.core.get_property("CPU", "FULL_DEVICE_NAME")}
    print(json.dumps(about), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(model.measure(request["threads"], request["batch"], request["steps"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
