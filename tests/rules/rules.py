#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The rules of the house, checked over the files of the tree: what each layer may include, where each outside library may
appear, what every file begins with, and that ARCHITECTURE.md names every source file."""
import pathlib
import re
import sys

ROOT = pathlib.Path(sys.argv[1]).resolve()
TOP = {"engine", "router", "experts", "quant", "tools", "tests", "bench", "include", "docs", "meson.build",
       "meson_options.txt", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE"}
SKIP = {"data", "corpus", "cases", "__pycache__"}

# Layer of a file by its folder, lowest first; a file may include doors of its own layer and of those below.
LAYERS = [("engine/runtime", 0), ("quant", 1), ("router", 2), ("experts", 3), ("engine", 4), ("tools", 5), ("tests", 6),
          ("bench", 6), ("include", -1), ("docs", 6)]
# The one home of each outside library's headers.
HOMES = {
    r"hwloc": r"engine/runtime/(topology|memory|team)",
    r"jansson\.h": r"(engine/runtime/json|tools/)",
    r"jemalloc": r"engine/runtime/memory",
    r"pcre2\.h": r"engine/text/",
    r"utf8proc\.h": r"engine/text/",
    r"xxhash\.h": r"engine/(checkpoint|pipeline|text)/",
    r"omp\.h": r"engine/runtime/team",
    r"editline": r"tools/cli/",
    r"mpi\.h": r"experts/exchange_mpi",
    r"microhttpd\.h": r"tools/serve/",
}
BANNED = {
    r"\b(abort|exit|_exit|_Exit|printf|puts|putchar|perror)\s*\(|\b(stdout|stderr)\b": "prints or exits inside the library",
    r"\b(strcpy|strcat|sprintf|gets|atoi|atof|strtok)\s*\(": "an unbounded or unchecked libc call",
}

failures: list[str] = []


def fail(path: pathlib.Path, line: int, what: str) -> None:
    failures.append(f"{path.relative_to(ROOT)}:{line}: {what}")


def sources(pattern: str):
    for path in sorted(ROOT.rglob(pattern)):
        parts = path.relative_to(ROOT).parts
        if parts[0] in TOP and not SKIP & set(parts):
            yield path


def layer_of(name: str) -> int:
    return next(layer for folder, layer in LAYERS if name == folder or name.startswith(folder + "/"))


def headers() -> dict[str, pathlib.Path]:
    """Doors by name: one of each in the tree. Private headers are found beside the files that include them."""
    found: dict[str, pathlib.Path] = {}
    for path in sources("*.h"):
        if path.relative_to(ROOT).parts[0] in ("include", "tests", "bench") or path.name.endswith("_internal.h"):
            continue
        if path.name in found:
            fail(path, 1, f"a header of this name stands at {found[path.name].relative_to(ROOT)}")
        found[path.name] = path
    return found


def find_header(path: pathlib.Path, header: str, known: dict[str, pathlib.Path]) -> pathlib.Path | None:
    """The header that `#include "header"` in `path` names, or None for one that the build makes or another project has."""
    for folder in (path.parent, path.parent.parent):
        if (folder / header).is_file():
            return (folder / header).resolve()
    return known.get(pathlib.PurePath(header).name)


def may_see(path: pathlib.Path, private: pathlib.Path) -> bool:
    """Whether a private header is of the file's own folder, of one above it, or of the same room (engine/text, quant/kernels)."""
    if private.parent in path.parents and private.parent != ROOT:
        return True
    ours, theirs = (p.parent.relative_to(ROOT).parts for p in (path, private))
    return len(ours) > 1 and ours[:2] == theirs[:2]


def check_includes(path: pathlib.Path, known: dict[str, pathlib.Path]) -> None:
    name = str(path.relative_to(ROOT))
    layer = layer_of(name)
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if not match:
            continue
        kind, header = match.groups()
        target = find_header(path, header, known) if kind == '"' else None
        if target:
            other = str(target.relative_to(ROOT))
            if layer < 6 and layer_of(other) > layer:
                fail(path, number, f"includes upward: {header}")
            if layer == 5 and layer_of(other) != 5:
                fail(path, number, f"tools include only <moesaic/...>: {header}")
            if header.endswith("_internal.h") and layer < 6 and not may_see(path, target):
                fail(path, number, f"a private header of another folder: {header}")
        if layer == -1 and kind == "<" and "/" in header and not header.startswith("moesaic/"):
            fail(path, number, f"public headers include libc only: {header}")
        for library, home in HOMES.items():
            if layer < 6 and re.search(library, header) and not re.match(home, name):
                fail(path, number, f"{header} has its home in {home}")


def check_text(path: pathlib.Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    name = str(path.relative_to(ROOT))
    if "SPDX-License-Identifier: Apache-2.0" not in "\n".join(lines[:2]):
        fail(path, 1, "no SPDX line")
    if path.suffix in (".c", ".h") and (len(lines) < 2 or not lines[1].startswith("/*")):
        fail(path, 2, "the second line is not a comment that says the file's purpose")
    for number, line in enumerate(lines, 1):
        if len(line) > 120:
            fail(path, number, f"{len(line)} columns")
        if line != line.rstrip() or "\t" in line:
            fail(path, number, "a tab or blanks at the end")
        if layer_of(name) in range(0, 5) and path.suffix == ".c":
            code = re.sub(r'"(\\.|[^"\\])*"|/\*.*?\*/', "", line)
            for pattern, why in BANNED.items():
                if re.search(pattern, code) and not code.lstrip().startswith("*"):
                    fail(path, number, why)


def check_architecture() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    for path in [*sources("*.c"), *sources("*.h"), *sources("*.py"), *sources("*.sh")]:
        if not re.search(rf"(?<![\w]){re.escape(path.name)}(?![\w])", text):
            fail(path, 1, "ARCHITECTURE.md has no line for it")
    for name in set(re.findall(r"`([a-z][\w/.]+\.(?:c|h|py|sh))`", text)):
        if not list(ROOT.rglob(pathlib.PurePath(name).name)):
            failures.append(f"ARCHITECTURE.md: names {name}, which does not exist")


def main() -> int:
    known = headers()
    for path in [*sources("*.c"), *sources("*.h")]:
        check_includes(path, known)
        check_text(path)
    check_architecture()
    for path in ROOT.iterdir():
        if not path.name.startswith(".") and path.name not in TOP and not path.name.startswith("build"):
            failures.append(f"{path.name}: not a name of the top level")
    print("\n".join(failures) if failures else "the house is in order")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
