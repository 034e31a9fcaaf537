#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp behind a pipe: loads a GGUF, then measures what each line of JSON on its input asks for.

usage: llama_run.py MODEL.gguf REPACK FLASH SEQUENCES PROMPT DECODE   (REPACK, FLASH: 0 or 1)
The first line out tells versions and CPU features. A line in: {"threads": 2, "batch": 4, "steps": 32}; out: seconds. Batch 0 is
the prompt of the first sequence; otherwise `batch` sequences are decoded together, greedily, behind prompts of their own."""
import ctypes
import json
import random
import sys
import time

import llama_cpp as ll
import numpy as np


@ll.llama_log_callback
def silent(_level: int, _text: bytes, _user: object) -> None:
    pass


class Llama:
    def __init__(self, path: str, repack: bool, flash: bool, sequences: int, prompt: int, decode: int) -> None:
        ll.llama_log_set(silent, ctypes.c_void_p(0))
        ll.llama_backend_init()
        settings = ll.llama_model_default_params()
        settings.use_extra_bufts = repack
        self.model = ll.llama_model_load_from_file(path.encode(), settings)
        context = ll.llama_context_default_params()
        context.n_ctx = sequences * (-(-(prompt + decode) // 256) * 256)
        context.n_batch = context.n_ubatch = max(512, sequences)
        context.n_seq_max = sequences
        context.flash_attn_type = ll.LLAMA_FLASH_ATTN_TYPE_ENABLED if flash else ll.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = ll.llama_init_from_model(self.model, context)
        if not self.context:
            sys.exit(f"{path}: llama.cpp does not open it")
        self.memory = ll.llama_get_memory(self.context)
        self.vocab = ll.llama_vocab_n_tokens(ll.llama_model_get_vocab(self.model))
        self.batch = ll.llama_batch_init(context.n_batch, 0, 1)
        ids = random.Random(1)
        self.prompts = [[ids.randrange(self.vocab) for _ in range(prompt)] for _ in range(sequences)]
        self.first: dict[int, int] = {}  # behind each prompt evaluated so far

    def threads(self, count: int) -> None:
        ll.llama_set_n_threads(self.context, count, count)

    def step(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Rows of (token, position, sequence, whether its logits are wanted)."""
        self.batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.logits[i] = token, position, wanted
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
        if ll.llama_decode(self.context, self.batch):
            sys.exit("llama_decode failed")
        ll.llama_synchronize(self.context)

    def best(self, row: int) -> int:
        logits = ll.llama_get_logits_ith(self.context, row)
        return int(np.argmax(np.ctypeslib.as_array(logits, (self.vocab,))))

    def prompt(self, sequence: int) -> None:
        ids, size = self.prompts[sequence], int(ll.llama_n_batch(self.context))
        ll.llama_memory_seq_rm(self.memory, sequence, -1, -1)
        for first in range(0, len(ids), size):
            part = ids[first:first + size]
            self.step([(token, first + i, sequence, first + i + 1 == len(ids)) for i, token in enumerate(part)])
        self.first[sequence] = self.best(len(part) - 1)

    def decode(self, sequences: int, steps: int) -> None:
        tokens = [self.first[s] for s in range(sequences)]
        for step in range(steps):
            self.step([(tokens[s], len(self.prompts[s]) + step, s, True) for s in range(sequences)])
            tokens = [self.best(s) for s in range(sequences)]

    def measure(self, batch: int, steps: int) -> float:
        for sequence in range(batch):
            if sequence not in self.first:
                self.prompt(sequence)
            ll.llama_memory_seq_rm(self.memory, sequence, len(self.prompts[sequence]), -1)
        if batch:
            self.decode(batch, 1)  # warms up
            for sequence in range(batch):
                ll.llama_memory_seq_rm(self.memory, sequence, len(self.prompts[sequence]), -1)
        start = time.perf_counter()
        if batch:
            self.decode(batch, steps)
        else:
            self.prompt(0)
        return time.perf_counter() - start


def main() -> int:
    path, repack, flash, sequences, prompt, decode = sys.argv[1], *(int(word) for word in sys.argv[2:7])
    llama = Llama(path, bool(repack), bool(flash), sequences, prompt, decode)
    version = f"llama-cpp-python {ll.__version__}"
    print(json.dumps({"version": version, "system": ll.llama_print_system_info().decode().strip()}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        llama.threads(request["threads"])
        print(json.dumps(llama.measure(request["batch"], request["steps"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
