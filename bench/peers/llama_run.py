#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""llama.cpp or ik_llama.cpp behind a pipe: loads a GGUF, then measures what each line of JSON on its input asks for.

usage: llama_run.py LIBRARY MODEL.gguf SEQUENCES PROMPT DECODE REPACK FLASH   (llama_cpp or ik_llama_cpp; REPACK, FLASH: 0 or 1)
The first line out tells versions and CPU features. A line in: {"threads": 2, "batch": 4, "steps": 32}; out: seconds. Batch 0 is
the prompt of the first sequence; otherwise `batch` sequences are decoded together, greedily, behind prompts of their own."""
import ctypes
import importlib
import importlib.metadata
import json
import random
import sys
import time

import numpy as np

LOG = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)


@LOG
def silent(_level: int, _text: bytes, _user: object) -> None:
    pass


class Library:
    """Calls of both libraries: by the binding where it has them, else by the shared library itself."""

    def __init__(self, name: str) -> None:
        self.ik = name == "ik_llama_cpp"
        self.calls = importlib.import_module("ik_llama_cpp._ctypes_api" if self.ik else "llama_cpp.llama_cpp")
        self.version = f"{name.replace('_', '-')}-python {importlib.metadata.version(name + '_python')}"
        shared = self.calls._lib  # pylint: disable=protected-access
        shared.llama_log_set.argtypes = [LOG, ctypes.c_void_p]
        shared.llama_log_set(silent, None)
        if self.ik:
            shared.llama_set_n_threads.argtypes = [ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32]
            shared.llama_kv_cache_seq_rm.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]
            shared.llama_synchronize.argtypes = [ctypes.c_void_p]
            shared.llama_print_system_info.restype = ctypes.c_char_p
        self.set_threads = shared.llama_set_n_threads
        self.synchronize = shared.llama_synchronize
        self.system = shared.llama_print_system_info().decode().strip()

    def model(self, path: str, repack: bool) -> int:
        settings = self.calls.llama_model_default_params()
        if self.ik:
            settings.repack_tensors = repack
            settings.use_mmap = not repack
        else:
            settings.use_extra_bufts = repack
        return self.calls.llama_model_load_from_file(path.encode(), settings)

    def flash(self, context: ctypes.Structure, on: bool) -> None:
        if self.ik:
            context.flash_attn = on
        else:
            context.flash_attn_type = self.calls.LLAMA_FLASH_ATTN_TYPE_ENABLED if on else self.calls.LLAMA_FLASH_ATTN_TYPE_DISABLED

    def forget(self, context: int, sequence: int, first: int) -> None:
        if self.ik:
            self.calls._lib.llama_kv_cache_seq_rm(context, sequence, first, -1)  # pylint: disable=protected-access
        else:
            self.calls.llama_memory_seq_rm(self.calls.llama_get_memory(context), sequence, first, -1)


class Llama:
    def __init__(self, library: Library, path: str, sequences: int, prompt: int, decode: int, repack: bool, flash: bool) -> None:
        self.library, self.calls = library, library.calls
        self.calls.llama_backend_init()
        self.model = library.model(path, repack)
        if not self.model:
            sys.exit(f"{path}: {library.version} does not open it")
        context = self.calls.llama_context_default_params()
        context.n_ctx = sequences * (-(-(prompt + decode) // 256) * 256)
        context.n_batch = context.n_ubatch = self.most = max(512, sequences)
        context.n_seq_max = sequences
        library.flash(context, flash)
        self.context = self.calls.llama_init_from_model(self.model, context)
        if not self.context:
            sys.exit(f"{path}: {library.version} does not run it")
        self.vocab = self.calls.llama_vocab_n_tokens(self.calls.llama_model_get_vocab(self.model))
        self.batch = self.calls.llama_batch_init(context.n_batch, 0, 1)
        ids = random.Random(1)
        self.prompts = [[ids.randrange(self.vocab) for _ in range(prompt)] for _ in range(sequences)]
        self.first: dict[int, int] = {}  # behind each prompt evaluated so far

    def threads(self, count: int) -> None:
        self.library.set_threads(self.context, count, count)

    def step(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Rows of (token, position, sequence, whether its logits are wanted)."""
        self.batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            self.batch.token[i], self.batch.pos[i], self.batch.logits[i] = token, position, wanted
            self.batch.n_seq_id[i], self.batch.seq_id[i][0] = 1, sequence
        if self.calls.llama_decode(self.context, self.batch):
            sys.exit("llama_decode failed")
        self.library.synchronize(self.context)

    def best(self, row: int) -> int:
        logits = self.calls.llama_get_logits_ith(self.context, row)
        return int(np.argmax(np.ctypeslib.as_array(logits, (self.vocab,))))

    def prompt(self, sequence: int) -> None:
        ids, size = self.prompts[sequence], self.most
        self.library.forget(self.context, sequence, -1)
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
            self.library.forget(self.context, sequence, len(self.prompts[sequence]))
        if batch:
            self.decode(batch, 1)  # warms up
            for sequence in range(batch):
                self.library.forget(self.context, sequence, len(self.prompts[sequence]))
        start = time.perf_counter()
        if batch:
            self.decode(batch, steps)
        else:
            self.prompt(0)
        return time.perf_counter() - start


def main() -> int:
    library = Library(sys.argv[1])
    sequences, prompt, decode, repack, flash = (int(word) for word in sys.argv[3:8])
    llama = Llama(library, sys.argv[2], sequences, prompt, decode, bool(repack), bool(flash))
    print(json.dumps({"version": library.version, "system": library.system}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        llama.threads(request["threads"])
        print(json.dumps(llama.measure(request["batch"], request["steps"])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
