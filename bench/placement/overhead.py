#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the placement layer costs a decoded token on one node: instructions, which noise does not touch, and time.

usage: overhead.py PROGRAM MODEL TEXT [ROUNDS]. Counts under valgrind (AVX2 kernels, one thread, what starting up takes
subtracted) a run without a plan, one with every expert placed whole, and one that also watches the live routing for the
rebalancer; and the counters by layer and node, which are always on. With ROUNDS (0: none) decoding is timed too, the three
in turn, and the medians of the ratios are given. Exits 4 when a share of the instructions is 1 % or more."""
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

LIMIT = 0.01
FEW, MANY = 8, 40  # tokens of the two runs whose difference is counted
COUNTERS = ("account_step", "account_waiting", "account_expert", "account_copy")


def count(program: str, model: str, tokens: int, options: list[str], folder: str) -> tuple[int, int]:
    """Instructions of a whole run, and of the counters in it."""
    out = f"{folder}/callgrind.out"
    subprocess.run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", program, "run", model, "-p", "Once",
                    "-n", str(tokens), "--ignore-eos", "--temp", "0", "--threads", "1", "--isa", "avx2", "-q", *options],
                   check=True, capture_output=True)
    text = subprocess.run(["callgrind_annotate", "--inclusive=yes", "--auto=no", "--threshold=100", out], check=True,
                          capture_output=True, text=True).stdout
    total, counters = 0, 0
    for cost, name in re.findall(r"^\s*([\d,]+) \(.*?\)\s+(.*)$", text, re.MULTILINE):
        if name.startswith("PROGRAM TOTALS"):
            total = int(cost.replace(",", ""))
        if any(re.search(rf":{c}( |$)", name) for c in COUNTERS):
            counters += int(cost.replace(",", ""))
    return total, counters


def a_token(program: str, model: str, options: list[str], folder: str) -> tuple[float, float]:
    few, many = (count(program, model, tokens, options, folder) for tokens in (FEW, MANY))
    return tuple((b - a) / (MANY - FEW) for a, b in zip(few, many))


def decode_s(program: str, model: str, options: list[str]) -> float:
    ran = subprocess.run([program, "bench", model, "-p", "64", "-n", "64", "-r", "3", "--json", *options], check=True,
                         capture_output=True, text=True)
    return 1 / json.loads(ran.stdout)["decode"][0]["tok_s"]["median"]


def main() -> int:
    program, model, text = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 5
    with tempfile.TemporaryDirectory() as folder:
        trace, plan = f"{folder}/trace", f"{folder}/plan"
        pathlib.Path(f"{folder}/text").write_bytes(pathlib.Path(text).read_bytes()[:4000])
        quiet = {"check": True, "capture_output": True}
        subprocess.run([program, "trace", model, "--text", f"{folder}/text", "-o", trace], **quiet)
        subprocess.run([program, "place", model, "--trace", trace, "--policy", "whole", "--local-gbs", "20", "-o", plan],
                       **quiet)
        ways = {"without a plan": ["--plan", "none"], "experts placed": ["--plan", plan],
                "and routing watched": ["--plan", plan, "--rebalance"]}
        cost = {name: a_token(program, model, options, folder) for name, options in ways.items()}
        base, counters = cost["without a plan"]
        worst = counters / base
        print(f"instructions a token: {base:,.0f} without a plan, {counters:,.0f} of them in the counters ({worst:.2%})")
        for name in list(ways)[1:]:
            share = cost[name][0] / base - 1
            worst = max(worst, share)
            print(f"  {name}: {cost[name][0] - base:+,.0f} ({share:+.2%})")
        seconds = [{name: decode_s(program, model, options) for name, options in ways.items()} for _ in range(rounds)]
        for name in list(ways)[1:] if rounds else []:
            ratios = [s[name] / s["without a plan"] - 1 for s in seconds]
            print(f"  {name}, time of decoding: {statistics.median(ratios):+.2%} ({min(ratios):+.2%} to {max(ratios):+.2%})")
    return 0 if worst < LIMIT else 4


if __name__ == "__main__":
    sys.exit(main())
