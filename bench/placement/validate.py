#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the simulator against this machine: measures decoding with `bench`, fits the share of the read roof that
kernels reach to the first batch alone, predicts the other batches with `place`, and says how far each is off.

usage: validate.py PROGRAM MODEL TEXT [BATCHES]. Needs a quiet machine with one NUMA node and a model well beyond its
caches (bench/make_model makes one). Exits 4 when a prediction is off by more than 10 %, 1 when the benchmark's own
spread is wider than that, which says that the machine is not quiet."""
import json
import subprocess
import sys
import tempfile

LIMIT = 0.10
PROMPT, DECODE = 256, 32


def ask(*command: str) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def predict(program: str, model: str, trace: str, bench: dict, batch: int, fraction: float) -> float:
    place = ask(program, "place", model, "--trace", trace, "--json", "--policy", "interleave", "--batch", str(batch),
                "--context", str(PROMPT + DECODE // 2), "--read-fraction", f"{fraction:.6f}",
                "--local-gbs", f"{bench['read_bytes_s']['median'] / 1e9:.6f}",
                "--gops", f"{bench['int8_ops_s']['median'] / bench['threads'] / 1e9:.6f}")
    return next(p for p in place["policies"] if p["policy"] == "interleave")["predicted_tok_s"]


def fit(program: str, model: str, trace: str, bench: dict, batch: int, measured: float) -> float:
    """The fraction with which the prediction for `batch` is what was measured, by halving."""
    low, high = 0.01, 1.0
    for _ in range(20):
        middle = (low + high) / 2
        if predict(program, model, trace, bench, batch, middle) < measured:
            low = middle
        else:
            high = middle
    return high


def main() -> int:
    program, model, text = sys.argv[1:4]
    batches = [int(b) for b in (sys.argv[4] if len(sys.argv) > 4 else "1,2,4,8").split(",")]
    with tempfile.TemporaryDirectory() as folder:
        trace = f"{folder}/trace.safetensors"
        subprocess.run([program, "trace", model, "--text", text, "-o", trace, "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        bench = ask(program, "bench", model, "-p", str(PROMPT), "-n", str(DECODE), "-b", ",".join(map(str, batches)),
                    "--json")
        runs = {run["batch"]: run["tok_s"] for run in bench["decode"]}
        fraction = fit(program, model, trace, bench, batches[0], runs[batches[0]]["median"])
        print(f"reads {bench['read_bytes_s']['median'] / 1e9:.1f} GB/s; kernels reach {fraction:.3f} of it at batch "
              f"{batches[0]} (fitted)\n\nbatch  measured tok/s  spread  simulated tok/s     off")
        worst = noise = 0.0
        for batch in batches:
            run, simulated = runs[batch], predict(program, model, trace, bench, batch, fraction)
            off, spread = simulated / run["median"] - 1, (run["high"] - run["low"]) / run["median"]
            print(f"{batch:5}  {run['median']:14.1f}  {spread:5.1%}  {simulated:15.1f}  {off:+6.1%}")
            worst, noise = max(worst, abs(off)), max(noise, spread)
    if worst <= LIMIT:
        return 0
    print(f"off by more than {LIMIT:.0%}" + ("; the machine is not quiet" if noise > LIMIT else ""))
    return 1 if noise > LIMIT else 4


if __name__ == "__main__":
    sys.exit(main())
