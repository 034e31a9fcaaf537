#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moesaic and llama.cpp on models of the same shape with random weights, by turns in one run.

usage: peers.py PROGRAM MAKE_MODEL OUT_FOLDER [--work FOLDER] [--shapes SHAPE=LAYERS...] [--repetitions N] ...

Needs llama-cpp-python built for this CPU, and gguf, in the Python that runs it:
  CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python gguf numpy
Models are made in the work folder and kept there. First every GGUF is tried with weights repacked or not and flash attention on
or off, and each kind of work keeps the fastest setting; then every repetition measures each contestant once: the prompt and one
sequence with every number of threads, batches with the largest. Writes OUT_FOLDER/peers-CPU.csv and prints the ratios, which are
medians over repetitions of what was measured next to each other."""
import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import gguf_model  # noqa: E402
import machine  # noqa: E402

MIXTURES = ("Q4_0", "Q4_K_M")
SETTINGS = [(repack, flash) for repack in (1, 0) for flash in (1, 0)]


class Peer:
    """One GGUF; a process of llama.cpp for each setting in use."""

    def __init__(self, args: argparse.Namespace, path: pathlib.Path, mixture: str) -> None:
        self.args, self.path, self.name = args, path, f"llama.cpp {mixture}"
        self.prompt = args.prompt
        self.processes: dict[tuple[int, int], subprocess.Popen] = {}
        self.best: dict[str, tuple[int, int]] = {}
        self.about: dict[str, str] = {}

    def start(self, setting: tuple[int, int]) -> subprocess.Popen:
        words = [str(word) for word in (self.path, *setting, max(self.args.batches), self.prompt, self.args.decode)]
        script = pathlib.Path(__file__).with_name("llama_run.py")
        process = subprocess.Popen([sys.executable, str(script), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        if not line:
            sys.exit(f"{self.path.name}: llama.cpp did not start")
        self.about = json.loads(line)
        return process

    def seconds(self, setting: tuple[int, int], threads: int, batch: int, steps: int) -> float:
        process = self.processes.get(setting) or self.processes.setdefault(setting, self.start(setting))
        process.stdin.write(json.dumps({"threads": threads, "batch": batch, "steps": steps}) + "\n")
        process.stdin.flush()
        return json.loads(process.stdout.readline())

    def stop(self, keep: set[tuple[int, int]] = frozenset()) -> None:
        for setting in [s for s in self.processes if s not in keep]:
            process = self.processes.pop(setting)
            process.stdin.close()
            process.wait()

    def tune(self) -> list[dict]:
        """Tries every setting on a quarter of the prompt, one sequence and the smallest batch; returns what it saw."""
        self.prompt = max(1, self.args.prompt // 4)
        kinds = {"prompt": (0, 0), "decode": (1, 16), "batch": (min(self.args.batches), 8)}
        seen: dict[str, dict[tuple[int, int], float]] = {kind: {} for kind in kinds}
        for setting in SETTINGS:
            for kind, (batch, steps) in kinds.items():
                seen[kind][setting] = self.seconds(setting, max(self.args.threads), batch, steps)
            self.stop()
        self.best = {kind: min(times, key=times.get) for kind, times in seen.items()}
        tokens = {kind: batch * steps or self.prompt for kind, (batch, steps) in kinds.items()}
        self.prompt = self.args.prompt
        return [{"contestant": self.name, "work": f"try {kind}", "threads": max(self.args.threads), "setting": setting_name(setting),
                 **machine.spread([tokens[kind] / seconds])} for kind in kinds for setting, seconds in seen[kind].items()]

    def measure(self) -> dict[tuple[str, int], float]:
        """Tokens a second of each (work, threads)."""
        a, out = self.args, {}
        for threads in a.threads:
            out["prompt", threads] = a.prompt / self.seconds(self.best["prompt"], threads, 0, 0)
            out["decode 1", threads] = a.decode / self.seconds(self.best["decode"], threads, 1, a.decode)
        for batch in a.batches:
            steps = a.batch_decode
            seconds = self.seconds(self.best["batch"], max(a.threads), batch, steps)
            out[f"decode {batch}", max(a.threads)] = batch * steps / seconds
        return out

    def setting(self, work: str) -> str:
        kind = "prompt" if work == "prompt" else "decode" if work == "decode 1" else "batch"
        return setting_name(self.best[kind])


class Ours:
    def __init__(self, args: argparse.Namespace, path: pathlib.Path, recipe: str) -> None:
        self.args, self.path, self.name = args, path, f"moesaic {recipe}"
        self.fractions: dict[tuple[str, int], list[tuple[float, float]]] = {}
        self.roofs: list[float] = []

    def runs(self, threads: int, decode: int, batches: str) -> dict[tuple[str, int], float]:
        report = machine.bench(self.args.program, self.path, "-p", str(self.args.prompt), "-n", str(decode), "-r", "1", "-b",
                               batches, "--threads", str(threads))
        out = {}
        if threads == max(self.args.threads):
            self.roofs.append(report["read_bytes_s"]["median"])
        for run in (report["prompt"], *report["decode"]):
            work = f"decode {run['batch']}" if "batch" in run else "prompt"
            out[work, threads] = run["tok_s"]["median"]
            self.fractions.setdefault((work, threads), []).append((run["read_fraction"], run["int8_fraction"]))
        return out

    def measure(self) -> dict[tuple[str, int], float]:
        a, most = self.args, max(self.args.threads)
        out = {}
        for threads in a.threads:
            out |= self.runs(threads, a.decode, "1")
        prompt = out["prompt", most]
        return out | self.runs(most, a.batch_decode, ",".join(str(b) for b in a.batches)) | {("prompt", most): prompt}

    def setting(self, _work: str) -> str:
        return ""

    def fraction(self, key: tuple[str, int]) -> dict[str, float]:
        read, int8 = zip(*self.fractions[key])
        return {"of_read_roof": machine.rounded(statistics.median(read)), "of_int8_peak": machine.rounded(statistics.median(int8))}


def setting_name(setting: tuple[int, int]) -> str:
    return f"{'repacked' if setting[0] else 'as stored'}, flash attention {'on' if setting[1] else 'off'}"


def contestants(args: argparse.Namespace, shape: str, layers: str) -> tuple[list, dict[str, float]]:
    """Ours and theirs by turns, and the bytes a token that theirs read."""
    ours, peers, read = [], [], {}
    for recipe in args.recipes:
        path = args.work / f"{shape}-{layers}-{recipe}.moe"
        ours.append(Ours(args, machine.made(args.make_model, path, shape, recipe, "--layers", layers), recipe))
    config = machine.made(args.make_model, args.work / f"{shape}-{layers}.json", shape, "config", "--layers", layers)
    for mixture in MIXTURES:
        path = args.work / f"{shape}-{layers}-{mixture}.gguf"
        model = gguf_model.write(path, config, mixture)
        peers.append(Peer(args, path, mixture))
        read[peers[-1].name] = model.bytes_a_token()
    turns = [c for pair in zip(ours, peers) for c in pair]
    return turns + [c for c in [*ours, *peers] if c not in turns], read


def shape_rows(args: argparse.Namespace, shape: str, layers: str) -> list[dict]:
    turns, read = contestants(args, shape, layers)
    rows = []
    for peer in [c for c in turns if isinstance(c, Peer)]:
        rows += peer.tune()
    measured: dict[str, list[dict]] = {c.name: [] for c in turns}
    for number in range(args.repetitions):
        for contestant in turns:
            measured[contestant.name].append(contestant.measure())
            print(f"{shape}, repetition {number + 1}, {contestant.name}: " + ", ".join(
                f"{work} x{threads} {value:.1f}" for (work, threads), value in measured[contestant.name][-1].items()),
                file=sys.stderr, flush=True)
    about = {}
    for contestant in turns:
        for key in measured[contestant.name][0]:
            row = {"contestant": contestant.name, "work": key[0], "threads": key[1], "setting": contestant.setting(key[0]),
                   **machine.spread([m[key] for m in measured[contestant.name]])}
            if isinstance(contestant, Ours):
                row |= contestant.fraction(key)
                against = {p.name: [a[key] / b[key] for a, b in zip(measured[contestant.name], measured[p.name])]
                           for p in turns if isinstance(p, Peer)}
                row |= {f"x_{name.split()[1]}": machine.rounded(statistics.median(values)) for name, values in against.items()}
            elif key == ("decode 1", max(args.threads)):
                roofs = [roof for c in turns if isinstance(c, Ours) for roof in c.roofs]
                row["of_read_roof"] = machine.rounded(row["median"] * read[contestant.name] / statistics.median(roofs))
            rows.append(row)
        if isinstance(contestant, Peer):
            about = contestant.about
            contestant.stop()
    print(f"{about['version']}, {args.build}\n{about['system']}", file=sys.stderr)
    return [{"shape": shape, "layers": layers, **row} for row in rows]


def markdown(args: argparse.Namespace, rows: list[dict]) -> str:
    lines = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        lines += [f"| {shape}, tokens a second | threads | " + " | ".join(f"moesaic {r}" for r in args.recipes) + " | " +
                  " | ".join(f"llama.cpp {m}" for m in MIXTURES) + f" | {args.recipes[0]} to Q4_0 | to Q4_K_M |",
                  "| --- " * (4 + len(args.recipes) + len(MIXTURES)) + "|"]
        of_shape = {(r["contestant"], r["work"], r["threads"]): r for r in rows if r["shape"] == shape}
        for work, threads in dict.fromkeys((w, t) for _, w, t in of_shape if not w.startswith("try")):
            names = [f"moesaic {r}" for r in args.recipes] + [f"llama.cpp {m}" for m in MIXTURES]
            cells = [f"{r['median']:.1f} ({r['low']:.1f}–{r['high']:.1f})" for r in (of_shape[n, work, threads] for n in names)]
            first = of_shape[names[0], work, threads]
            lines.append(f"| {work} | {threads} | " + " | ".join(cells) +
                         "".join(f" | {first[f'x_{m}']:.2f}x" for m in MIXTURES) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("make_model")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("peers-models"))
    parser.add_argument("--shapes", nargs="+", default=["olmoe-1b-7b=12", "qwen3-30b-a3b=8"], help="SHAPE=LAYERS")
    parser.add_argument("--recipes", nargs="+", default=["int4-all", "int4"])
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128, help="tokens of one sequence alone")
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--batch-decode", type=int, default=32, help="steps of a batch")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--build", default="CMAKE_ARGS=-DGGML_NATIVE=ON", help="how llama.cpp was built, to be stated")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = [row for shape in args.shapes for row in shape_rows(args, *shape.split("="))]
    machine.write_csv(args.out / f"peers-{machine.slug()}.csv", rows)
    print(markdown(args, rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
