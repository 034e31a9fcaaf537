#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the simulator against this machine: measures decoding with `bench`, fits the shares of the read and INT8 roofs
that kernels reach to the smallest and the largest batch, predicts the batches between with `place`, and says how far each
is off.

usage: validate.py PROGRAM MODEL TEXT|- [BATCHES] [ROUNDS]. Needs one NUMA node and a model well beyond its caches
(bench/make_model makes one, without a tokenizer: with - its routing is recorded over ids). Every measurement is divided by
the read roof that was measured beside it, and rounds alternate with each other, so that a machine that is slow for a while
is slow for both; the figure is the median of the rounds. The last columns say whether the trace stands for what was
decoded: where they differ, so do the bytes. Exits 4 when a prediction is off by more than 10 %, 1 when the
rounds themselves differ by more than that."""
import json
import pathlib
import random
import statistics
import struct
import subprocess
import sys
import tempfile

LIMIT = 0.10
PROMPT, DECODE, REPETITIONS, TRACED = 256, 32, 3, 512


def ask(*command: str) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def safetensors_read(path: str) -> tuple[dict, bytes]:
    raw = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + size]), raw[8 + size:]


def trace_ids(program: str, model: str, path: str) -> None:
    """A routing trace over random ids, from what `logits` records."""
    info = ask(program, "inspect", model, "--json")
    ids = random.Random(1).choices(range(info["vocab"]), k=TRACED)
    subprocess.run([program, "logits", model, "--ids", ",".join(map(str, ids)), "-o", f"{path}.logits", "-q"], check=True,
                   capture_output=True)
    head, data = safetensors_read(f"{path}.logits")
    experts, layers = b"", 0
    for layer in range(info["layers"]):
        if entry := head.get(f"router.{layer}.experts"):
            begin, end = entry["data_offsets"]
            experts += struct.pack(f"<{TRACED * info['top_k']}H", *memoryview(data[begin:end]).cast("i"))
            layers += 1
    sequence = struct.pack(f"<{TRACED}i", *([0] * TRACED))
    table = json.dumps({"experts": {"dtype": "U16", "shape": [layers, TRACED, info["top_k"]],
                                    "data_offsets": [0, len(experts)]},
                        "sequence": {"dtype": "I32", "shape": [TRACED],
                                     "data_offsets": [len(experts), len(experts) + len(sequence)]}}).encode()
    table += b" " * (-len(table) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(table)) + table + experts + sequence)


def distinct_traced(trace: str, batch: int) -> float:
    """Experts a layer and step in the trace, cut into lanes as the simulator does."""
    head, data = safetensors_read(trace)
    layers, tokens, top_k = head["experts"]["shape"]
    chosen = memoryview(data[slice(*head["experts"]["data_offsets"])]).cast("H")
    steps, total = tokens // batch, 0
    for layer in range(layers):
        for step in range(steps):
            rows = ((layer * tokens + lane * steps + step) * top_k for lane in range(batch))
            total += len({expert for row in rows for expert in chosen[row:row + top_k]})
    return total / (layers * steps)


def distinct_measured(runs: list[dict]) -> float:
    layers = [layer["distinct_experts"] for run in runs for layer in run["layers"] if layer["distinct_experts"]]
    return statistics.mean(layers) / (DECODE * REPETITIONS)


class Machine:
    """This machine as the benchmark's roofs describe it, and what the simulator says of it."""

    def __init__(self, program: str, model: str, trace: str, rounds: list[dict]) -> None:
        self.command = [program, "place", model, "--trace", trace, "--json", "--policy", "interleave", "--context",
                        str(PROMPT + DECODE // 2)]
        self.read = statistics.median(r["read_bytes_s"]["median"] for r in rounds)
        self.int8 = statistics.median(r["int8_ops_s"]["median"] for r in rounds) / rounds[0]["threads"]

    def predict(self, batch: int, read: float, compute: float) -> float:
        place = ask(*self.command, "--batch", str(batch), "--local-gbs", f"{self.read / 1e9:.6f}", "--gops",
                    f"{self.int8 / 1e9:.6f}", "--read-fraction", f"{read:.6f}", "--compute-fraction", f"{compute:.6f}")
        return next(p for p in place["policies"] if p["policy"] == "interleave")["predicted_tok_s"]


def parts(machine: Machine, batch: int) -> tuple[float, float, float]:
    """A step's seconds of reading, multiplying and the rest at full roofs: on one node they add up."""
    whole, half_read, half_compute = (batch / machine.predict(batch, *shares) for shares in ((1, 1), (0.5, 1), (1, 0.5)))
    read, compute = half_read - whole, half_compute - whole
    return read, compute, whole - read - compute


def fit(machine: Machine, measured: dict[int, float]) -> tuple[float, float]:
    """Shares of the roofs with which the smallest and the largest batch take as long as measured."""
    (r1, c1, e1), (r2, c2, e2) = (parts(machine, batch) for batch in (min(measured), max(measured)))
    t1, t2 = (batch / measured[batch] - e for batch, e in ((min(measured), e1), (max(measured), e2)))
    determinant = r1 * c2 - r2 * c1
    compute = max(1.0, (r1 * t2 - r2 * t1) / determinant) if determinant else 1.0
    read = max(1.0, (t1 - c1 * compute) / r1)
    return 1 / read, 1 / compute


def main() -> int:
    program, model, text = sys.argv[1:4]
    batches = sys.argv[4] if len(sys.argv) > 4 else "1,2,4,8,16"
    with tempfile.TemporaryDirectory() as folder:
        trace = f"{folder}/trace.safetensors"
        if text == "-":
            trace_ids(program, model, trace)
        else:
            subprocess.run([program, "trace", model, "--text", text, "-o", trace, "-q"], check=True,
                           stdout=subprocess.DEVNULL)
        rounds = [ask(program, "bench", model, "-p", str(PROMPT), "-n", str(DECODE), "-b", batches, "-r",
                      str(REPETITIONS), "--json") for _ in range(int(sys.argv[5]) if len(sys.argv) > 5 else 5)]
        machine = Machine(program, model, trace, rounds)
        # Tokens a second if the roof were what it is in the median: bytes/s as a share of the roof beside it.
        paced = {run["batch"]: [r["decode"][i]["read_fraction"] / r["decode"][i]["bytes_per_token"] * machine.read
                                for r in rounds] for i, run in enumerate(rounds[0]["decode"])}
        measured = {batch: statistics.median(values) for batch, values in paced.items()}
        read, compute = fit(machine, measured)
        print(f"reads {machine.read / 1e9:.1f} GB/s, multiplies {machine.int8 / 1e9:.0f} INT8 GOPS a core; kernels reach "
              f"{read:.3f} and {compute:.3f} of these (fitted)\n\nbatch  measured tok/s  spread  simulated tok/s     off  experts a layer: "
              "measured, in the trace")
        worst = noise = 0.0
        for batch, value in sorted(measured.items()):
            runs = [run for r in rounds for run in r["decode"] if run["batch"] == batch]
            simulated, fitted = machine.predict(batch, read, compute), batch in (min(measured), max(measured))
            off, spread = simulated / value - 1, (max(paced[batch]) - min(paced[batch])) / value
            print(f"{batch:5}  {value:14.1f}  {spread:5.1%}  {simulated:15.1f}  {off:+6.1%}  {distinct_measured(runs):10.2f} "
                  f"{distinct_traced(trace, batch):10.2f}{' (fitted)' * fitted}")
            worst, noise = max(worst, abs(off)), max(noise, spread)
    if worst <= LIMIT:
        return 0
    print(f"off by more than {LIMIT:.0%}" + ("; the machine is not quiet" if noise > LIMIT else ""))
    return 1 if noise > LIMIT else 4


if __name__ == "__main__":
    sys.exit(main())
