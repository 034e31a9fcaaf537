#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the simulator against this machine: measures decoding with `bench`, fits the shares of the read and INT8 roofs
that kernels reach to the smallest and the largest batch, predicts the batches between with `place`, and says how far
each is off.

usage: validate.py PROGRAM MODEL [BATCHES] [ROUNDS]. Needs one NUMA node and a model well beyond its caches
(bench/make_model makes one). The trace replayed is that of the very tokens that were measured. Every measurement is
divided by the read roof that was measured beside it, and rounds alternate with each other, so that a machine that is
slow for a while is slow for both; the figure is the median of the rounds. Exits 4 when a prediction is off by more than
10 %, 1 when the rounds themselves differ by more than that."""
import json
import pathlib
import statistics
import struct
import subprocess
import sys
import tempfile

LIMIT = 0.10
PROMPT, DECODE, REPETITIONS = 256, 32, 3


def ask(*command: str) -> dict:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def prompts(count: int, vocab: int) -> list[list[int]]:
    """The prompts of `bench`, which are the same in every run."""
    state, ids = 1, []
    for _ in range(count * PROMPT):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        ids.append((state >> 33) % vocab)
    return [ids[i:i + PROMPT] for i in range(0, len(ids), PROMPT)]


def routing(program: str, model: str, prompt: list[int], path: str) -> list[bytes]:
    """By MoE layer, the experts of the DECODE tokens that the model goes on with: U16 [DECODE, k]."""
    listed = ",".join(map(str, prompt))
    ran = ask(program, "run", model, "--ids", listed, "-n", str(DECODE), "--temp", "0", "--ignore-eos", "--json")
    ids = ",".join(map(str, prompt + ran["ids"]))
    subprocess.run([program, "logits", model, "--ids", ids, "-o", path, "-q"], check=True, capture_output=True)
    raw = pathlib.Path(path).read_bytes()
    size = struct.unpack("<Q", raw[:8])[0]
    head, data = json.loads(raw[8:8 + size]), raw[8 + size:]
    chosen = []
    for layer in range(len(head)):
        entry = head.get(f"router.{layer}.experts")
        if not entry:
            continue
        flat = memoryview(data[slice(*entry["data_offsets"])]).cast("i")
        chosen.append(struct.pack(f"<{DECODE * entry['shape'][1]}H", *flat[PROMPT * entry["shape"][1]:]))
    return chosen


def trace_write(path: str, sequences: list[list[bytes]], top_k: int) -> None:
    layers, tokens = len(sequences[0]), DECODE * len(sequences)
    experts = b"".join(sequence[layer] for layer in range(layers) for sequence in sequences)
    numbers = struct.pack(f"<{tokens}i", *(s for s in range(len(sequences)) for _ in range(DECODE)))
    end = len(experts)
    table = json.dumps({"experts": {"dtype": "U16", "shape": [layers, tokens, top_k], "data_offsets": [0, end]},
                        "sequence": {"dtype": "I32", "shape": [tokens],
                                     "data_offsets": [end, end + len(numbers)]}}).encode()
    table += b" " * (-len(table) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(table)) + table + experts + numbers)


class Machine:
    """This machine as the benchmark's roofs describe it, and what the simulator says of it."""

    def __init__(self, program: str, model: str, traces: dict[int, str], rounds: list[dict]) -> None:
        self.command = [program, "place", model, "--json", "--policy", "interleave", "--context",
                        str(PROMPT + DECODE // 2)]
        self.traces = traces
        self.read = statistics.median(r["read_bytes_s"]["median"] for r in rounds)
        self.int8 = statistics.median(r["int8_ops_s"]["median"] for r in rounds) / rounds[0]["threads"]

    def predict(self, batch: int, read: float, compute: float) -> float:
        place = ask(*self.command, "--trace", self.traces[batch], "--batch", str(batch), "--local-gbs",
                    f"{self.read / 1e9:.6f}", "--gops", f"{self.int8 / 1e9:.6f}", "--read-fraction", f"{read:.6f}",
                    "--compute-fraction", f"{compute:.6f}")
        return next(p for p in place["policies"] if p["policy"] == "interleave")["predicted_tok_s"]


def parts(machine: Machine, batch: int) -> tuple[float, float, float]:
    """A step's seconds of reading, multiplying and the rest at full roofs: on one node they add up."""
    shares = ((1, 1), (0.5, 1), (1, 0.5))
    whole, half_read, half_compute = (batch / machine.predict(batch, *share) for share in shares)
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
    program, model = sys.argv[1:3]
    batches = sorted(map(int, (sys.argv[3] if len(sys.argv) > 3 else "1,2,4,8,16").split(",")))
    with tempfile.TemporaryDirectory() as folder:
        info = ask(program, "inspect", model, "--json")
        sequences = [routing(program, model, prompt, f"{folder}/logits")
                     for prompt in prompts(batches[-1], info["vocab"])]
        traces = {batch: f"{folder}/{batch}" for batch in batches}
        for batch, path in traces.items():
            trace_write(path, sequences[:batch], info["top_k"])
        bench = [program, "bench", model, "-p", str(PROMPT), "-n", str(DECODE), "-b", ",".join(map(str, batches)),
                 "-r", str(REPETITIONS), "--json"]
        rounds = [ask(*bench) for _ in range(int(sys.argv[4]) if len(sys.argv) > 4 else 5)]
        machine = Machine(program, model, traces, rounds)
        # Tokens a second if the roof were what it is in the median: bytes/s as a share of the roof beside it.
        paced = {run["batch"]: [r["decode"][i]["read_fraction"] / r["decode"][i]["bytes_per_token"] * machine.read
                                for r in rounds] for i, run in enumerate(rounds[0]["decode"])}
        measured = {batch: statistics.median(values) for batch, values in paced.items()}
        read, compute = fit(machine, measured)
        print(f"reads {machine.read / 1e9:.1f} GB/s, multiplies {machine.int8 / 1e9:.0f} INT8 GOPS a core; kernels "
              f"reach {read:.3f} and {compute:.3f} of these (fitted)\n")
        print("batch  measured tok/s  spread  simulated tok/s     off")
        worst = noise = 0.0
        for batch, value in measured.items():
            simulated, fitted = machine.predict(batch, read, compute), batch in (batches[0], batches[-1])
            off, spread = simulated / value - 1, (max(paced[batch]) - min(paced[batch])) / value
            print(f"{batch:5}  {value:14.1f}  {spread:6.1%}  {simulated:15.1f}  {off:+6.1%}{' (fitted)' * fitted}")
            worst, noise = max(worst, abs(off)), max(noise, spread)
    if worst <= LIMIT:
        return 0
    print(f"off by more than {LIMIT:.0%}" + ("; the machine is not quiet" if noise > LIMIT else ""))
    return 1 if noise > LIMIT else 4


if __name__ == "__main__":
    sys.exit(main())
