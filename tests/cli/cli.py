#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the command-line cases: NAME.sh beside any of NAME.stdout.exact, NAME.stdout.glob, NAME.stderr.exact,
NAME.stderr.glob and NAME.exit (0 without one). A glob's lines are matched one by one with *, ? and [...]. A case may take
$MOESAIC_CASE_SECONDS (120), and ends with 77 where the machine lacks what it needs. Prints TAP.

usage: cli.py PROGRAM DATA_FOLDER [NAME...]"""
import fnmatch
import os
import pathlib
import subprocess
import sys
import tempfile

CASES = pathlib.Path(__file__).parent / "cases"
SKIPPED = 77


def matches(kind: str, want: str, have: str) -> bool:
    if kind == "exact":
        return want == have
    wanted, lines = want.splitlines(), have.splitlines()
    return len(wanted) == len(lines) and all(fnmatch.fnmatchcase(line, glob) for glob, line in zip(wanted, lines))


def check(script: pathlib.Path, environment: dict[str, str]) -> list[str] | None:
    seconds = float(os.environ.get("MOESAIC_CASE_SECONDS", "120"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            ran = subprocess.run(["bash", "-eu", str(script)], cwd=folder, env=environment, capture_output=True, text=True,
                                 timeout=seconds, stdin=subprocess.DEVNULL, check=False)
        except subprocess.TimeoutExpired:
            return [f"not done after {seconds:.0f} s"]
    exit_file = script.with_suffix(".exit")
    if ran.returncode == SKIPPED:
        return None
    want_exit = int(exit_file.read_text()) if exit_file.exists() else 0
    wrong = [] if ran.returncode == want_exit else [f"exit {ran.returncode}, expected {want_exit}", *ran.stderr.splitlines()]
    for stream, have in (("stdout", ran.stdout), ("stderr", ran.stderr)):
        for kind in ("exact", "glob"):
            path = script.with_suffix(f".{stream}.{kind}")
            if path.exists() and not matches(kind, path.read_text(), have):
                wrong += [f"{stream} differs from {path.name}:", *have.splitlines()]
    return wrong


def main() -> int:
    program, data = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    environment = dict(os.environ, PATH=f"{program.parent}:{os.environ['PATH']}", DATA=str(data),
                       PYTHONPATH=str(CASES.parent), PYTHONDONTWRITEBYTECODE="1",
                       MOESAIC_BUNDLED_MODEL=str(data / "fable-moe"))
    scripts = sorted(s for s in CASES.glob("*.sh") if len(sys.argv) < 4 or s.stem in sys.argv[3:])
    print(f"1..{len(scripts)}")
    for number, script in enumerate(scripts, 1):
        wrong = check(script, environment)
        print(f"{'not ok' if wrong else 'ok'} {number} - {script.stem}{' # SKIP' if wrong is None else ''}")
        for line in wrong or ():
            print(f"# {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
