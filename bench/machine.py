# SPDX-License-Identifier: Apache-2.0
"""What the measuring scripts share: the CPU's name, running the program, medians and results as CSV."""
import csv
import json
import pathlib
import re
import statistics
import subprocess
import sys


def cpu() -> str:
    """The CPU as Linux names it, with family and model where the name alone is vague."""
    text = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = dict(re.findall(r"^(model name|cpu family|model)\s*: (.*)$", text, re.MULTILINE))
    name = re.sub(r"\((R|TM)\)|CPU|Processor|@.*", "", found.get("model name", "unknown")).strip()
    return f"{' '.join(name.split())} (family {found.get('cpu family', '?')}, model {found.get('model', '?')})"


def slug() -> str:
    return re.sub(r"[^a-z0-9]+", "-", cpu().lower()).strip("-")


def program_json(*words: str) -> dict:
    ran = subprocess.run([*words, "--json"], capture_output=True, text=True, check=False)
    if ran.returncode:
        sys.exit(f"{' '.join(words)}: {ran.stderr.strip()}")
    return json.loads(ran.stdout)


def bench(program: str, model: pathlib.Path, *words: str) -> dict:
    return program_json(program, "bench", str(model), "-q", *words)


def made(make_model: str, path: pathlib.Path, shape: str, recipe: str, *words: str) -> pathlib.Path:
    """The artifact at `path`, made unless it is there."""
    if not path.exists():
        print(f"making {path.name}", file=sys.stderr, flush=True)
        subprocess.run([make_model, shape, recipe, "-o", str(path), *words], check=True)
    return path


def spread(values: list[float]) -> dict:
    return {"median": rounded(statistics.median(values)), "low": rounded(min(values)), "high": rounded(max(values)),
            "repetitions": len(values)}


def rounded(value: float) -> float:
    return float(f"{value:.5g}")


def write_csv(path: pathlib.Path, rows: list[dict]) -> None:
    """Every row, its CPU first; columns in the order in which rows name them."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["cpu", *columns], lineterminator="\n")
        writer.writeheader()
        writer.writerows({"cpu": cpu(), **row} for row in rows)
