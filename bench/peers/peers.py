#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Moesaic, llama.cpp, ik_llama.cpp and OpenVINO on models of the same shape with random weights, by turns in one run.

usage: peers.py PROGRAM MAKE_MODEL OUT_FOLDER [--work FOLDER] [--shapes SHAPE=LAYERS...] [--peers PEER...] [--repetitions N] ...

Needs in the Python that runs it numpy, gguf and the peers, those of ggml built for this CPU:
  CMAKE_ARGS=-DGGML_NATIVE=ON pip install --no-binary llama-cpp-python llama-cpp-python
  pip install ik-llama-cpp-python openvino gguf numpy
ik-llama-cpp-python's wheel is for AVX2, and its source package lacks a file that only a tool of its needs, so pip cannot build it;
build its library from that package, and name it by IK_LLAMA_CPP_LIB_PATH:
  pip download --no-deps --no-binary ik-llama-cpp-python ik-llama-cpp-python && tar xzf ik_llama_cpp_python-*.tar.gz
  cmake -S ik_llama_cpp_python-*/ -B ik -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_IQK_FA_ALL_QUANTS=OFF
  cmake --build ik --target llama
  export IK_LLAMA_CPP_LIB_PATH=$PWD/ik/vendor/ik_llama.cpp/src/libllama.so
Models are made in the work folder and kept there; OpenVINO's are made beforehand by openvino_model.py, whose docstring says with
what, as WORK/SHAPE-LAYERS-openvino. A peer is left out of the shapes that it does not know. First every peer is tried with each
of its settings, and each kind of work keeps the fastest; then every repetition measures each contestant once: the prompt and one
sequence with every number of threads, batches with the largest. Writes OUT_FOLDER/peers-CPU.csv and prints the ratios, which are
medians over repetitions of what was measured next to each other."""
import argparse
import itertools
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
TRIES = 2  # of each setting, of which the faster counts
PEERS = ("llama.cpp", "ik_llama.cpp", "OpenVINO")
QWEN, MIXTRAL = "Qwen3MoeForCausalLM", "MixtralForCausalLM"  # ik_llama.cpp and optimum-intel do not know OLMoE
# What a peer is tried with: a name, and the last words of its script.
GGML_SETTINGS = {f"{stored}, flash attention {flash}": (repack, on) for repack, stored in (("1", "repacked"), ("0", "as stored"))
                 for on, flash in (("1", "on"), ("0", "off"))}
OPENVINO_SETTINGS = {f"{precision}, {cache} cache, activations in groups of {group}": (precision, cache, group)
                     for precision, cache, group in (("bf16", "u8", "64"), ("bf16", "u8", "32"), ("bf16", "f16", "64"),
                                                     ("f32", "u8", "64"))}


class Failed(Exception):
    """A peer's process ended where it should have answered."""


class Peer:
    """One peer's model; a process for each setting in use. `words`: its script, and the script's first words."""

    def __init__(self, args: argparse.Namespace, name: str, words: list[str], settings: dict[str, tuple[str, ...]]) -> None:
        self.args, self.name, self.words, self.settings = args, name, words, settings
        self.processes: dict[str, subprocess.Popen] = {}
        self.best: dict[str, str] = {}
        self.about: dict[str, str] = {}

    def start(self, setting: str) -> subprocess.Popen:
        script = pathlib.Path(__file__).with_name(self.words[0])
        sizes = [str(size) for size in (max(self.args.batches), self.args.prompt, self.args.decode)]
        process = subprocess.Popen([sys.executable, str(script), *self.words[1:], *sizes, *self.settings[setting]],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = process.stdout.readline()
        if not line:
            raise Failed(f"{self.name}, {setting}: {self.words[-1]} did not start")
        self.about = json.loads(line)
        return process

    def seconds(self, setting: str, threads: int, batch: int, steps: int) -> float:
        process = self.processes.get(setting) or self.processes.setdefault(setting, self.start(setting))
        process.stdin.write(json.dumps({"threads": threads, "batch": batch, "steps": steps}) + "\n")
        process.stdin.flush()
        line = process.stdout.readline()
        try:
            return float(line)
        except ValueError:  # nothing, or a library's last words
            raise Failed(f"{self.name}, {setting}: died with {batch} sequences") from None

    def stop(self) -> None:
        for process in self.processes.values():
            process.communicate()
        self.processes.clear()

    def tune(self) -> list[dict]:
        """Tries every setting on the prompt, on one sequence and on the smallest batch; returns what it saw."""
        kinds = {"prompt": (0, 0), "decode": (1, 16), "batch": (min(self.args.batches), 8)}
        seen: dict[str, dict[str, float]] = {kind: {} for kind in kinds}
        for setting in self.settings:
            try:
                for kind, (batch, steps) in kinds.items():
                    seen[kind][setting] = min(self.seconds(setting, max(self.args.threads), batch, steps) for _ in range(TRIES))
            except Failed as failed:
                print(f"{failed}: left out", file=sys.stderr)
            self.stop()
        if not all(seen.values()):
            sys.exit(f"{self.name}: no setting works")
        self.best = {kind: min(times, key=times.get) for kind, times in seen.items()}
        tokens = {kind: batch * steps or self.args.prompt for kind, (batch, steps) in kinds.items()}
        return [{"contestant": self.name, "work": f"try {kind}", "threads": max(self.args.threads), "setting": setting,
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
        return self.best[kind]


class Ours:
    def __init__(self, args: argparse.Namespace, path: pathlib.Path, recipe: str) -> None:
        self.args, self.path, self.name = args, path, f"moesaic {recipe}"
        self.fractions: dict[tuple[str, int], list[tuple[float, float, float]]] = {}
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
            self.fractions.setdefault((work, threads), []).append((run["read_fraction"], run["int8_fraction"], run["f32_fraction"]))
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
        names = ("of_read_roof", "of_int8_peak", "of_f32_peak")
        return {name: machine.rounded(statistics.median(values)) for name, values in zip(names, zip(*self.fractions[key]))}


def contestants(args: argparse.Namespace, shape: str, layers: str) -> tuple[list, dict[str, float]]:
    """Ours and theirs by turns, and the bytes a token that those with a GGUF read."""
    ours, peers, read = [], [], {}
    name = f"{shape}-{layers}"
    for recipe in args.recipes:
        path = args.work / f"{name}-{recipe}.moe"
        ours.append(Ours(args, machine.made(args.make_model, path, shape, recipe, "--layers", layers), recipe))
    config = machine.made(args.make_model, args.work / f"{name}.json", shape, "config", "--layers", layers)
    for mixture in MIXTURES:
        path = args.work / f"{name}-{mixture}.gguf"
        model = gguf_model.write(path, config, mixture)
        for peer, library in (("llama.cpp", "llama_cpp"), ("ik_llama.cpp", "ik_llama_cpp")):
            known = library == "llama_cpp" or (model.architecture in (QWEN, MIXTRAL) and mixture == MIXTURES[0])
            if peer in args.peers and known:
                peers.append(Peer(args, f"{peer} {mixture}", ["llama_run.py", library, str(path)], GGML_SETTINGS))
                read[peers[-1].name] = model.bytes_a_token()
    if "OpenVINO" in args.peers and model.architecture == QWEN:
        path = args.work / f"{name}-openvino" / "openvino_model.xml"
        if not path.exists():
            sys.exit(f"{path} is missing: python3 openvino_model.py {config} {path.parent} 64")
        peers.append(Peer(args, "OpenVINO INT4", ["openvino_run.py", str(path)], OPENVINO_SETTINGS))
    turns = [c for pair in itertools.zip_longest(ours, peers) for c in pair if c]
    return turns, read


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
    for contestant in turns:
        for key in measured[contestant.name][0]:
            row = {"contestant": contestant.name, "work": key[0], "threads": key[1], "setting": contestant.setting(key[0]),
                   **machine.spread([m[key] for m in measured[contestant.name]])}
            if isinstance(contestant, Ours):
                row |= contestant.fraction(key)
                against = {p.name: [a[key] / b[key] for a, b in zip(measured[contestant.name], measured[p.name])]
                           for p in turns if isinstance(p, Peer)}
                row |= {f"x_{name}": machine.rounded(statistics.median(values)) for name, values in against.items()}
            elif contestant.name in read and key == ("decode 1", max(args.threads)):
                roofs = [roof for c in turns if isinstance(c, Ours) for roof in c.roofs]
                row["of_read_roof"] = machine.rounded(row["median"] * read[contestant.name] / statistics.median(roofs))
            rows.append(row)
        if isinstance(contestant, Peer):
            print(f"{contestant.name}: {contestant.about['version']}, {contestant.about['system']}", file=sys.stderr)
            contestant.stop()
    return [{"shape": shape, "layers": layers, **row} for row in rows]


def markdown(rows: list[dict]) -> str:
    lines = []
    for shape in dict.fromkeys(row["shape"] for row in rows):
        of_shape = {(r["contestant"], r["work"], r["threads"]): r for r in rows if r["shape"] == shape}
        names = sorted(dict.fromkeys(name for name, _, _ in of_shape), key=lambda name: not name.startswith("moesaic"))
        ratios = [key for key in of_shape[names[0], "prompt", 1] if key.startswith("x_")] if names else []
        lines += [f"| {shape}, tokens a second | threads | " + " | ".join(names) + " | " +
                  " | ".join(f"{names[0]} to {key[2:]}" for key in ratios) + " |",
                  "| --- " * (2 + len(names) + len(ratios)) + "|"]
        for work, threads in dict.fromkeys((w, t) for _, w, t in of_shape if not w.startswith("try")):
            cells = [f"{r['median']:.1f} ({r['low']:.1f}–{r['high']:.1f})" for r in (of_shape[n, work, threads] for n in names)]
            cells += [f"{of_shape[names[0], work, threads][key]:.2f}x" for key in ratios]
            lines.append(f"| {work} | {threads} | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("make_model")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("peers-models"))
    parser.add_argument("--shapes", nargs="+", default=["olmoe-1b-7b=12", "qwen3-30b-a3b=8", "mixtral-8x7b=2"], help="SHAPE=LAYERS")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    parser.add_argument("--recipes", nargs="+", default=["int4-all", "int4"])
    parser.add_argument("--threads", nargs="+", type=int, default=sorted({1, len(os.sched_getaffinity(0))}))
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128, help="tokens of one sequence alone")
    parser.add_argument("--batches", nargs="+", type=int, default=[4, 8])
    parser.add_argument("--batch-decode", type=int, default=32, help="steps of a batch")
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    rows = [row for shape in args.shapes for row in shape_rows(args, *shape.split("="))]
    machine.write_csv(args.out / f"peers-{machine.slug()}.csv", rows)
    print(markdown(rows), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
