#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The worked example of moesaic.h through ctypes: loads the library into a process with an allocator of its own."""
import ctypes
import sys


class Error(ctypes.Structure):
    _fields_ = [("status", ctypes.c_int), ("message", ctypes.c_char * 504)]


class Token(ctypes.Structure):
    _fields_ = [("id", ctypes.c_int32), ("text", ctypes.POINTER(ctypes.c_char)), ("text_bytes", ctypes.c_size_t),
                ("logprob", ctypes.c_float), ("top", ctypes.c_void_p), ("tops", ctypes.c_size_t)]


CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.POINTER(Token))


def main() -> int:
    library = ctypes.CDLL(sys.argv[1])
    error, out = Error(), []

    def call(name: str, *arguments: object) -> None:
        if getattr(library, name)(*arguments, ctypes.byref(error)):
            sys.exit(f"{name}: {error.message.decode()}")

    def on_token(_user: object, token: "ctypes._Pointer[Token]") -> int:
        out.append(ctypes.string_at(token.contents.text, token.contents.text_bytes))
        return 0

    model, engine, sequence = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    prompt = b"Once upon a time"
    call("moesaic_model_open", sys.argv[2].encode(), None, ctypes.byref(model))
    call("moesaic_engine_create", model, None, ctypes.byref(engine))
    call("moesaic_sequence_create", engine, None, ctypes.byref(sequence))
    call("moesaic_sequence_append_text", sequence, prompt, ctypes.c_size_t(len(prompt)), ctypes.c_bool(True))
    call("moesaic_sequence_generate", sequence, None, ctypes.c_size_t(32), CALLBACK(on_token), None, None)
    library.moesaic_sequence_destroy(sequence)
    library.moesaic_engine_destroy(engine)
    library.moesaic_model_release(model)
    sys.stdout.write(b"".join(out).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
