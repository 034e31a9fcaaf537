#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Rebuilds the evidence table of compression: every recipe below applied to the bundled model, compared with the base.

Runs nothing but the built program. Artifacts are kept in the work folder and not made again, so that an interrupted run
goes on. Writes CSV and a Markdown table that docs/compression.md carries.

usage: table.py PROGRAM MODEL TEXTS_FOLDER OUT_FOLDER [--work FOLDER] [--calib-tokens N] [--threads N] [--only NAME...]"""
import argparse
import csv
import json
import os
import pathlib
import subprocess
import sys

EXPERTS_ONLY = ["--attention", "bf16", "--head", "bf16"]
# name -> (options, looks at activations, is a main row: also compared on the other texts)
ROWS = {
    "int4 (preset)": (["--preset", "int4"], True, True),
    "int4-all (preset)": (["--preset", "int4-all"], True, True),
    "int4-sparse50 (preset)": (["--preset", "int4-sparse50"], True, True),
    "small (preset)": (["--preset", "small"], True, True),
    "INT8 g64 RTN": (["--quant", "rtn:int8-g64", *EXPERTS_ONLY], False, False),
    "INT4 g64 RTN": (["--quant", "rtn:int4-g64", *EXPERTS_ONLY], False, True),
    "INT4 g64 clip": (["--quant", "clip:int4-g64", *EXPERTS_ONLY], True, False),
    "INT4 g64 GPTQ": (["--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, True),
    "INT4 g128 RTN": (["--quant", "rtn:int4-g128", *EXPERTS_ONLY], False, False),
    "INT4 g128 clip": (["--quant", "clip:int4-g128", *EXPERTS_ONLY], True, False),
    "INT4 g128 AWQ": (["--quant", "awq:int4-g128", *EXPERTS_ONLY], True, False),
    "INT4 g128 GPTQ": (["--quant", "gptq:int4-g128", *EXPERTS_ONLY], True, False),
    "INT3 g64 RTN": (["--quant", "rtn:int3-g64", *EXPERTS_ONLY], False, False),
    "INT3 g64 GPTQ": (["--quant", "gptq:int3-g64", *EXPERTS_ONLY], True, True),
    "INT3 g64 GPTQ, recovered": (["--quant", "gptq:int3-g64", "--recover", *EXPERTS_ONLY], True, False),
    "INT3 g64 GPTQ, rank 4": (
        ["--quant", "gptq:int3-g64", "--compensate", "lowrank:4", *EXPERTS_ONLY], True, False),
    "INT2 g64 GPTQ, rank 8": (
        ["--quant", "gptq:int2-g64", "--compensate", "lowrank:8", *EXPERTS_ONLY], True, False),
    "INT2 g64 RTN": (["--quant", "rtn:int2-g64", *EXPERTS_ONLY], False, False),
    "INT2 g64 GPTQ": (["--quant", "gptq:int2-g64", *EXPERTS_ONLY], True, True),
    "magnitude 50 %": (["--prune", "magnitude:0.5", "--quant", "none", *EXPERTS_ONLY], False, False),
    "Wanda 50 %": (["--prune", "wanda:0.5", "--quant", "none", *EXPERTS_ONLY], True, False),
    "SparseGPT 50 %": (["--prune", "sparsegpt:0.5", "--quant", "none", *EXPERTS_ONLY], True, False),
    "magnitude 50 %, INT4 g64 RTN": (["--prune", "magnitude:0.5", "--quant", "rtn:int4-g64", *EXPERTS_ONLY], False, True),
    "Wanda 50 %, INT4 g64 GPTQ": (["--prune", "wanda:0.5", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    "SparseGPT 50 %, INT4 g64 GPTQ": (["--prune", "sparsegpt:0.5", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, True),
    "SparseGPT 50 %, INT4 g64 GPTQ, recovered": (
        ["--prune", "sparsegpt:0.5", "--quant", "gptq:int4-g64", "--recover", *EXPERTS_ONLY], True, False),
    "SparseGPT 4:8, INT4 g64 GPTQ": (["--prune", "sparsegpt:4:8", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    "SparseGPT 2:4, INT4 g64 GPTQ": (["--prune", "sparsegpt:2:4", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    "SparseGPT 4:8": (["--prune", "sparsegpt:4:8", "--quant", "none", *EXPERTS_ONLY], True, False),
    "SparseGPT 2:4": (["--prune", "sparsegpt:2:4", "--quant", "none", *EXPERTS_ONLY], True, False),
    "magnitude 2:4": (["--prune", "magnitude:2:4", "--quant", "none", *EXPERTS_ONLY], False, False),
    "structured 25 %": (["--prune", "structured:0.25", "--quant", "none", *EXPERTS_ONLY], True, False),
    "structured 50 %": (["--prune", "structured:0.5", "--quant", "none", *EXPERTS_ONLY], True, False),
    "structured 25 %, INT4 g64 GPTQ": (["--prune", "structured:0.25", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    "structured 50 %, INT4 g64 GPTQ": (["--prune", "structured:0.5", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    **{f"{method} drops {100 * share:.0f} % of the experts": (
        ["--drop-experts", f"{method.lower()}:{share}", "--quant", "none", *EXPERTS_ONLY], True, method == "REAP")
       for share in (0.25, 0.5) for method in ("random", "frequency", "REAP")},
    "REAP drops 25 % of the experts, INT4 g64 GPTQ": (
        ["--drop-experts", "reap:0.25", "--quant", "gptq:int4-g64", *EXPERTS_ONLY], True, False),
    "budget 4.76 bits": (["--budget", "4.76bpw"], True, True),
    "budget 3.8 bits": (["--budget", "3.8bpw"], True, True),
    "budget 3.2 bits": (["--budget", "3.2bpw"], True, True),
    "budget as INT4 g64 GPTQ": (["--budget", "5.729bpw", *EXPERTS_ONLY], True, True),
    "budget as INT3 g64 GPTQ": (["--budget", "4.836bpw", *EXPERTS_ONLY], True, True),
    "layers dropped: 1 of 6": (["--drop-layers", "influence:0.17", "--quant", "none", *EXPERTS_ONLY], True, False),
    "layers dropped: 2 of 6": (["--drop-layers", "influence:0.34", "--quant", "none", *EXPERTS_ONLY], True, False),
    "Wanda 2:4": (["--prune", "wanda:2:4", "--quant", "none", *EXPERTS_ONLY], True, False),
}
# What others reach on this model, text and windows: (bits of the file, bits in the experts, perplexity, KL mean, p99, top-1 %).
REFERENCE = {
    "llama.cpp Q8_0": (8.53, None, 61.58, 0.0004, 0.003, 99.0),
    "llama.cpp Q5_K_M": (5.70, None, 61.80, 0.0028, 0.036, 96.5),
    "llama.cpp Q4_K_M": (4.85, None, 61.79, 0.0058, 0.064, 95.0),
    "llama.cpp Q4_0": (4.64, None, 61.85, 0.0084, 0.083, 93.2),
    "llama.cpp Q3_K_M": (3.98, None, 61.95, 0.0116, 0.108, 92.3),
    "llama.cpp Q2_K": (3.13, None, 64.09, 0.0409, 0.286, 84.6),
}
TEXTS = {"eval_tales": 20000, "eval_shakespeare": 20000, "eval_multilingual": 20000}
BATCH = 8  # contenders that share one run over the base
COLUMNS = ["text", "recipe", "file_bits", "expert_bits", "perplexity", "kl_mean", "kl_p99", "top1_percent", "calib_tokens"]


def program(args: argparse.Namespace, *words: str) -> dict:
    environment = dict(os.environ, OMP_WAIT_POLICY="passive")
    ran = subprocess.run([args.program, *words, "--json", "--threads", str(args.threads)], env=environment,
                         capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(words)}: {ran.stderr.strip()}")
    return json.loads(ran.stdout)


def artifact(args: argparse.Namespace, name: str) -> str:
    options, looks, _ = ROWS[name]
    path = args.work / ("".join(c if c.isalnum() else "_" for c in name) + ".moe")
    if not path.exists():
        tokens = args.calib_tokens if looks else 64  # the rest would not change a bit of it
        program(args, "compress", args.model, "-o", str(path), "--calib", f"{args.texts}/calib.txt", "--calib-tokens",
                str(tokens), "--no-report", *options)
        print(name, file=sys.stderr, flush=True)
    return str(path)


def compared(args: argparse.Namespace, text: str, names: list[str]) -> list[dict]:
    rows = []
    for begin in range(0, len(names), BATCH):
        batch = names[begin:begin + BATCH]
        paths = [artifact(args, name) for name in batch]
        against = [word for number, path in enumerate(paths) for word in ("--against", f"{number}={path}")]
        report = program(args, "compare", args.model, paths[0], "--text", f"{args.texts}/{text}.txt", "--tokens",
                         str(TEXTS[text]), "--window", "512", "--no-speed", *against)
        parameters = report["base"]["total_parameters"]
        for name, one in zip(batch, report["opponents"]):
            rows.append({"text": text, "recipe": name, "file_bits": round(8 * one["file_bytes"] / parameters, 3),
                         "expert_bits": round(one["expert_bits_per_weight"], 3), "perplexity": round(one["perplexity"], 3),
                         "kl_mean": round(one["kl_mean"], 5), "kl_p99": round(one["kl_p99"], 4),
                         "top1_percent": round(100 * one["top1"], 2),
                         "calib_tokens": args.calib_tokens if ROWS[name][1] else 0})
    return rows


def markdown(rows: list[dict]) -> str:
    lines = ["| text | recipe | bits, file | bits, experts | perplexity | KL mean | KL p99 | top-1 % |",
             "| --- | --- | --- | --- | --- | --- | --- | --- |"]
    for name, (bits, experts, perplexity, mean, p99, top1) in REFERENCE.items():
        lines.append(f"| eval_tales | {name} | {bits:.2f} | {experts or ''} | {perplexity:.2f} | {mean:.4f} | {p99:.3f} | {top1:.1f} |")
    for r in rows:
        lines.append(f"| {r['text']} | {r['recipe']} | {r['file_bits']:.2f} | {r['expert_bits']:.2f} | {r['perplexity']:.2f} | "
                     f"{r['kl_mean']:.4f} | {r['kl_p99']:.3f} | {r['top1_percent']:.1f} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("texts")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path)
    parser.add_argument("--calib-tokens", type=int, default=16384)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--only", nargs="*")
    args = parser.parse_args()
    args.work = args.work or args.out / "artifacts"
    args.work.mkdir(parents=True, exist_ok=True)
    args.out.mkdir(parents=True, exist_ok=True)
    names = [n for n in ROWS if not args.only or n in args.only]
    rows = compared(args, "eval_tales", names)
    for text in ("eval_shakespeare", "eval_multilingual"):
        rows += compared(args, text, [n for n in names if ROWS[n][2]])
    with open(args.out / "compression.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    (args.out / "compression.md").write_text(markdown(rows), encoding="utf-8")
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
