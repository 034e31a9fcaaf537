#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Installs the library to a prefix of its own and embeds it from C, C++, Python and a program that loads it at run time.

usage: embedding.py BUILD_FOLDER SOURCE_FOLDER. Prints TAP."""
import os
import pathlib
import re
import subprocess
import sys
import tempfile

BUILD, SOURCE = (pathlib.Path(p).resolve() for p in sys.argv[1:3])
MODEL = SOURCE / "tests/data/fable-moe"
results: list[str] = []


def case(name: str, passed: bool, why: str = "") -> None:
    results.append(f"{'ok' if passed else 'not ok'} {len(results) + 1} - {name}")
    if not passed:
        results.extend("# " + line for line in why.splitlines())


def run(*command: object, **options: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([str(c) for c in command], capture_output=True, text=True, timeout=300, **options)


def example(prefix: pathlib.Path) -> str:
    """The worked example out of the comment of the installed header."""
    header = (prefix / "include/moesaic/moesaic.h").read_text(encoding="utf-8")
    return "\n".join(line[7:] for line in re.findall(r"^ \*(?:     .*)?$", header, re.M) if line.startswith(" *     ")
                     or line == " *")


def abi(prefix: pathlib.Path, library: pathlib.Path, work: pathlib.Path) -> str:
    """Exported functions, and the size of every public struct whose layout a caller compiles in."""
    symbols = sorted(line.split()[-1].split("@")[0] for line in run("nm", "-D", "--defined-only", library).stdout.splitlines())
    structs = sorted(set(re.findall(r"^} (moesaic_\w+);", "".join(p.read_text() for p in (prefix / "include/moesaic").glob(
        "*.h")), re.M)))
    source = work / "sizes.c"
    source.write_text("#include <moesaic/moesaic.h>\n#include <stdio.h>\nint main(void) {\n" + "".join(
        f'    printf("{name} %zu\\n", sizeof({name}));\n' for name in structs) + "    return 0;\n}\n")
    built = run("cc", "-I", prefix / "include", source, "-o", work / "sizes")
    return "\n".join(symbols) + "\n" + (run(work / "sizes").stdout if not built.returncode else built.stderr)


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        prefix = work / "prefix"
        installed = run("meson", "install", "-C", BUILD, "--no-rebuild", "--destdir", prefix)
        case("the library installs", installed.returncode == 0, installed.stderr)
        found = [p for p in prefix.rglob("moesaic.pc")]
        case("it has a pkg-config file", len(found) == 1)
        usr = found[0].parent.parent.parent.parent if "-linux-" in str(found[0].parent.parent) else found[0].parent.parent.parent
        libraries = found[0].parent.parent
        environment = dict(os.environ, PKG_CONFIG_PATH=str(found[0].parent), PKG_CONFIG_SYSROOT_DIR=str(prefix),
                           LD_LIBRARY_PATH=str(libraries))
        flags = run("pkg-config", "--cflags", "--libs", "moesaic", env=environment).stdout.split()
        want = run(BUILD / "tools/moesaic", "run", MODEL, "-p", "Once upon a time", "-n", "32", "-q").stdout.rstrip("\n")
        case("the program speaks", len(want) > 40, want)
        for language, compiler, suffix in (("C", ["cc", "-std=c17", "-Wall", "-Wextra", "-Werror"], "c"),
                                           ("C++", ["c++", "-std=c++17", "-Wall", "-Wextra", "-Werror"], "cc")):
            source = work / f"example.{suffix}"
            source.write_text(example(usr))
            built = run(*compiler, source, "-o", work / suffix, *flags, env=environment)
            case(f"the header's example compiles as {language}", built.returncode == 0, built.stderr)
            said = run(work / suffix, MODEL, env=environment) if not built.returncode else built
            case(f"the header's example speaks from {language}", said.stdout == want, said.stdout + said.stderr)
        shared = libraries / "libmoesaic.so"
        said = run(sys.executable, SOURCE / "tests/api/embed.py", shared, MODEL)
        case("Python speaks through ctypes", said.stdout == want, said.stdout + said.stderr)
        built = run("cc", "-O1", "-I", usr / "include", SOURCE / "tests/api/plugin.c", "-o", work / "plugin", "-ldl")
        said = run(work / "plugin", shared, MODEL) if not built.returncode else built
        case("it loads into a program with another allocator", said.stdout == want, said.stdout + said.stderr)
        stored = SOURCE / "tests/api/abi.txt"
        have = abi(usr, shared, work)
        if "--update" in sys.argv:
            stored.write_text(have)
        case("the ABI is the one described in abi.txt", stored.exists() and stored.read_text() == have, have)
    print(f"1..{sum(not r.startswith('#') for r in results)}")
    print("\n".join(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
