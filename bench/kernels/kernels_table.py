#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every kernel that this CPU has, against the roofs of the same run: few tokens and many, dense and sparse.

usage: kernels_table.py BENCH_KERNELS OUT_FOLDER

Writes OUT_FOLDER/kernels-CPU.csv from several calls of bench_kernels; the C references are left out. Those
before VNNI are measured as if the CPU had nothing newer: beside their own peak and with their own unpacking."""
import argparse
import csv
import itertools
import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import machine  # noqa: E402


ENDING = ("avx2", "avxvnni", "avx512")
NEWEST = ("avx512vnni", "avx512vbmi2", "amx", "neon", "neondot", "sve", "i8mm")


def calls() -> list[tuple[dict, list[str]]]:
    """What is noted beside a call's lines, and its words."""
    every = len(os.sched_getaffinity(0))
    out = [({"density": 50}, ["--tokens", "1", "--threads", str(n), "--density", "50"]) for n in sorted({1, every})]
    out += [({"density": d}, ["--slot", "int4_mask", "--tokens", "1", "--threads", str(n), "--density", str(d)])
            for n in sorted({1, every}) for d in (30, 70)]
    out += [({"density": 50}, ["--slot", "few", "--tokens", "4", "--threads", str(every), "--density", "50"])]
    out += [({"density": 50}, ["--slot", "int", "--tokens", str(tokens), "--threads", str(every), "--group", str(group), "--megabytes",
                               "48", "--density", "50"]) for tokens in (64, 256) for group in (64, 128)]
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("out", type=pathlib.Path)
    args = parser.parse_args()
    rows = []
    for isa, (notes, words) in itertools.product(ENDING + NEWEST, calls()):
        ran = subprocess.run([args.program, *words, "--isa", isa], capture_output=True, text=True, check=True,
                             env={**os.environ, "MOESAIC_CPU": isa if isa in ENDING else ""})
        rows += [{**row, **notes} for row in csv.DictReader(ran.stdout.splitlines())]
    machine.write_csv(args.out / f"kernels-{machine.slug()}.csv", rows)
    for row in rows:
        print(f"{row['slot']:14} {row['isa']:12} {row['format']:10} g{row['group']:4} {row['tokens']:4} tokens {row['threads']} threads: "
              f"{row['bits']:5} bits, {100 * float(row['of_read']):5.1f} % of reads" +
              (f", {100 * float(row['of_peak']):5.1f} % of INT8" if row["of_peak"] else f", {row['gops']} GFLOP/s"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
