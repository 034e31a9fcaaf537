#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cost as work grows: threads, context, batch, experts, density and neurons, each with the prediction of the roofs beside it.

usage: curves.py PROGRAM MAKE_MODEL OUT_FOLDER [--work FOLDER] [--only CURVE...] [--repetitions N]

The points of a curve are measured in turn, once a repetition, with `moesaic bench` on artifacts of random weights, which are made
in the work folder and kept there. The prediction is what the bytes and the multiplications of the same run would take at the roofs
of the same run, whichever is longer. Writes OUT_FOLDER/curves-CPU.csv and OUT_FOLDER/curves-CPU.svg."""
import argparse
import dataclasses
import itertools
import os
import pathlib
import statistics
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
import curves_svg  # noqa: E402
import machine  # noqa: E402

OLMOE, QWEN = "olmoe-1b-7b", "qwen3-30b-a3b"


@dataclasses.dataclass
class Point:
    """One artifact and one call of the benchmark."""
    curve: str
    x: float
    shape: str
    recipe: str
    layers: int
    settings: tuple[str, ...] = ()
    words: tuple[str, ...] = ("-p", "512", "-n", "32", "-b", "1")
    once: bool = False  # whatever the repetitions: it takes minutes
    model: pathlib.Path = pathlib.Path()
    runs: list[dict] = dataclasses.field(default_factory=list)

    def make(self, args: argparse.Namespace) -> None:
        name = "-".join([self.shape, str(self.layers), self.recipe.replace(":", "to"), *self.settings]).replace("=", "-")
        words = ["--layers", str(self.layers), *(word for setting in self.settings for word in ("--set", setting))]
        self.model = machine.made(args.make_model, args.work / f"{name}.moe", self.shape, self.recipe, *words)

    def measure(self, program: str) -> None:
        self.runs.append(machine.bench(program, self.model, "-r", "1", *self.words))


def points() -> list[Point]:
    cores = len(os.sched_getaffinity(0))
    threads = sorted({2 ** i for i in range(cores.bit_length())} | {cores})
    out = [Point("threads", n, OLMOE, "int4-all", 12, words=("-p", "512", "-n", "32", "-b", "1,8", "--threads", str(n)))
           for n in threads if n <= cores]
    out += [Point("context", n, QWEN, "int4-all", 2, words=("-p", str(n), "-n", "16", "-b", "1"))
            for n in (1, 128, 512, 2048, 8192)]
    out.append(Point("context", 32768 - 16, QWEN, "int4-all", 2, words=("-p", str(32768 - 16), "-n", "16", "-b", "1"), once=True))
    out += [Point("batch", n, OLMOE, "int4-all", 12, words=("-p", "32", "-n", "16", "-b", str(n))) for n in (1, 2, 4, 8, 16, 32, 64)]
    out += [Point("experts", n, OLMOE, "int4-all", 4, (f"num_experts={n}",), ("-p", "512", "-n", "32", "-b", "1,8"))
            for n in (8, 16, 32, 64, 128, 256)]
    out += [Point("density", 100 - n, OLMOE, f"int4-sparse{n}" if n else "int4", 8) for n in (0, 10, 20, 30, 40, 50, 60, 70)]
    out += [Point("density", 50, OLMOE, recipe, 8) for recipe in ("int4-4:8", "int4-2:4")]
    out += [Point("neurons", n, OLMOE, "int4", 8, (f"intermediate_size={n}",)) for n in (1024, 768, 512, 256)]
    return out


def predicted_speed(report: dict, run: dict) -> float:
    """Tokens a second that the roofs allow: the bytes, or the multiplications in INT8 and behind them those in floats."""
    floats = run["float_flops_per_token"]
    multiply = (run["flops_per_token"] - floats) / report["int8_ops_s"]["median"] + floats / report["f32_flops_s"]["median"]
    return 1 / max(run["bytes_per_token"] / report["read_bytes_s"]["median"], multiply)


def row_of(point: Point, work: str, reports: list[dict], runs: list[dict]) -> dict:
    """One work of one point; reports and runs are of the repetitions."""
    predicted = [predicted_speed(report, run) for report, run in zip(reports, runs)]
    speeds = [run["tok_s"]["median"] for run in runs]
    row = {"curve": point.curve, "x": point.x, "shape": point.shape, "layers": point.layers, "recipe": point.recipe, "work": work,
           "threads": reports[0]["threads"], **machine.spread(speeds), "predicted": machine.rounded(statistics.median(predicted)),
           "of_predicted": machine.rounded(statistics.median(s / p for s, p in zip(speeds, predicted)))}
    for name in ("bytes_per_token", "flops_per_token", "float_flops_per_token", "read_fraction", "int8_fraction", "f32_fraction",
                 "barriers_per_layer", "barrier_fraction"):
        row[name] = machine.rounded(statistics.median(run[name] for run in runs))
    for part in runs[0]["parts"]:
        row[part] = machine.rounded(statistics.median(run["parts"][part] for run in runs))
    return row


def rows_of(point: Point) -> list[dict]:
    rows = [row_of(point, "prompt", point.runs, [report["prompt"] for report in point.runs])]
    for i, first in enumerate(point.runs[0]["decode"]):
        rows.append(row_of(point, f"decode {first['batch']}", point.runs, [report["decode"][i] for report in point.runs]))
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("make_model")
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("curves-models"))
    parser.add_argument("--only", nargs="+", default=[], help="curves to measure: threads, context, batch, experts, density ...")
    parser.add_argument("--repetitions", type=int, default=3)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    chosen = [point for point in points() if not args.only or point.curve in args.only]
    for point in chosen:
        point.make(args)
    for curve, repetition in itertools.product(dict.fromkeys(point.curve for point in chosen), range(args.repetitions)):
        print(f"{curve}, repetition {repetition + 1}", file=sys.stderr, flush=True)
        for point in chosen:
            if point.curve == curve and not (point.once and repetition):
                point.measure(args.program)
    rows = [row for point in chosen for row in rows_of(point)]
    machine.write_csv(args.out / f"curves-{machine.slug()}.csv", rows)
    (args.out / f"curves-{machine.slug()}.svg").write_text(curves_svg.drawing(machine.cpu(), rows), encoding="utf-8")
    for row in rows:
        print(f"{row['curve']:9} {row['x']:7g} {row['work']:10} {row['median']:9.1f} tokens/s ({row['low']:.1f} to {row['high']:.1f}), "
              f"predicted {row['predicted']:9.1f}, reached {100 * row['of_predicted']:5.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
