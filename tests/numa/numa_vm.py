#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Placement on real NUMA nodes: boots virtual machines with 2 and 4 nodes under software emulation, carries plans out
in them, and checks that every page is on the node that the plan names and that the tokens are those of this machine.

usage: numa_vm.py PROGRAM MODEL_FOLDER TEXT [KERNEL]. KERNEL is a Linux image with NUMA, initramfs and a serial console
(without one: the newest of /boot). Needs qemu-system-x86_64 and busybox-static; exits 77 where one is missing. Minutes,
not seconds: outside the quick suite. Prints TAP."""
import json
import pathlib
import re
import shutil
import stat
import subprocess
import sys
import tempfile

POLICIES = ("slice", "whole", "replicate")
ASK = ["-p", "Once upon a time", "-n", "12", "--temp", "0", "--json"]
INIT = """#!/busybox sh
/busybox mount -t proc proc /proc
/busybox mount -t sysfs sys /sys
/busybox mount -t devtmpfs dev /dev
export LD_LIBRARY_PATH=/lib
ask() {{ /moesaic run /model {ask} "$@" 2>/err >/out; echo "@@ $? $name $(/busybox cat /out)"; /busybox cat /err; }}
for policy in {policies}; do
    name=$policy
    /moesaic place /model --trace /trace --policy $policy --local-gbs 20 --remote-gbs 10 -o /$policy.plan >/dev/null
    ask -v --plan /$policy.plan
done
name=itself; ask -v
name=none; ask -v --plan none
/busybox poweroff -f
"""
results: list[str] = []


def case(name: str, passed: bool, why: str = "") -> None:
    results.append(f"{'ok' if passed else 'not ok'} {sum(not r.startswith('#') for r in results) + 1} - {name}")
    if not passed:
        results.extend("# " + line for line in why.splitlines())


class Archive:
    """An initramfs in the "newc" format of cpio."""

    def __init__(self) -> None:
        self.parts: list[bytes] = []
        self.folders: set[str] = set()

    def entry(self, name: str, mode: int, data: bytes = b"") -> None:
        fields = (len(self.parts) + 1, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % f for f in fields) + name.encode() + b"\0"
        pad = lambda b: b + b"\0" * (-len(b) % 4)
        self.parts.append(pad(head) + pad(data))

    def add(self, name: str, data: bytes, mode: int = 0o755) -> None:
        for folder in list(pathlib.PurePosixPath(name).parents)[-2::-1]:
            if str(folder) not in self.folders:
                self.folders.add(str(folder))
                self.entry(str(folder), stat.S_IFDIR | 0o755)
        self.entry(name, stat.S_IFREG | mode, data)

    def write(self, path: pathlib.Path) -> None:
        self.entry("TRAILER!!!", 0)
        path.write_bytes(b"".join(self.parts))


def libraries(program: pathlib.Path) -> list[pathlib.Path]:
    text = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=True).stdout
    return [pathlib.Path(p) for p in re.findall(r"(/\S+) \(0x", text)]


def initramfs(program: pathlib.Path, model: pathlib.Path, trace: pathlib.Path, busybox: str, path: pathlib.Path) -> None:
    archive = Archive()
    archive.add("init", INIT.format(ask=" ".join(f"'{a}'" for a in ASK), policies=" ".join(POLICIES)).encode())
    archive.add("busybox", pathlib.Path(busybox).read_bytes())
    archive.add("moesaic", program.read_bytes())
    archive.add("trace", trace.read_bytes())
    for library in libraries(program):
        archive.add(f"lib/{library.name}", library.read_bytes())
        if library.name.startswith("ld-"):  # programs name their loader by its whole path
            archive.add(str(library).lstrip("/"), library.read_bytes())
    for file in sorted(model.iterdir()):
        archive.add(f"model/{file.name}", file.read_bytes())
    for folder in ("proc", "sys", "dev"):
        archive.entry(folder, stat.S_IFDIR | 0o755)
    archive.write(path)


def boot(nodes: int, kernel: pathlib.Path, initrd: pathlib.Path) -> str:
    numa: list[str] = []
    for node in range(nodes):
        numa += ["-object", f"memory-backend-ram,id=m{node},size=768M", "-numa", f"node,nodeid={node},cpus={node},memdev=m{node}"]
    command = ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", str(nodes), "-m", f"{768 * nodes}M",
               *numa, "-kernel", str(kernel), "-initrd", str(initrd), "-append",
               "console=ttyS0 quiet panic=-1 numa_balancing=disable", "-nographic", "-no-reboot", "-net", "none"]
    ran = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=1500, stdin=subprocess.DEVNULL,
                         check=False)
    return ran.stdout + ran.stderr


def check(nodes: int, output: str, want: list[int]) -> None:
    found = output.replace("\r", "").split("@@ ")[1:]  # the firmware leaves no end of line
    case(f"{nodes} nodes: the machine ran every question", len(found) == len(POLICIES) + 2, output[-4000:])
    for part in found:
        code, name, rest = part.split(" ", 2)
        document, log = rest.split("\n", 1)
        same = code == "0" and json.loads(document)["ids"] == want
        case(f"{nodes} nodes, {name}: the tokens of this machine", same, part[:2000])
        held = re.findall(r"NUMA node (\d+) was to hold (\d+) bytes and holds (\d+)$", log, re.M)
        placed = len({n for n, _, _ in held}) == nodes and all(int(a) == int(b) > 0 for _, a, b in held)
        if name != "none":
            case(f"{nodes} nodes, {name}: every page is where the plan says", placed and "warning" not in log, part[:2000])
        else:
            case(f"{nodes} nodes, {name}: nothing is copied", not held, part[:2000])


def main() -> int:
    program, model, text = (pathlib.Path(p).resolve() for p in sys.argv[1:4])
    kernels = sorted(pathlib.Path("/boot").glob("vmlinuz-*"))
    kernel = pathlib.Path(sys.argv[4]) if len(sys.argv) > 4 else kernels[-1] if kernels else None
    busybox = shutil.which("busybox")
    if not kernel or not busybox or not shutil.which("qemu-system-x86_64"):
        print("1..0 # SKIP needs qemu-system-x86_64, busybox-static and a kernel image")
        return 77
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        part = work / "text"
        part.write_bytes(text.read_bytes()[:3000])
        subprocess.run([program, "trace", model, "--text", part, "-o", work / "trace", "-q"], check=True,
                       stdout=subprocess.DEVNULL)
        ran = subprocess.run([program, "run", model, *ASK], capture_output=True, text=True, check=True)
        want = json.loads(ran.stdout)["ids"]
        initramfs(program, model, work / "trace", busybox, work / "initrd")
        for nodes in (2, 4):
            check(nodes, boot(nodes, kernel, work / "initrd"), want)
    print(f"1..{sum(not line.startswith('#') for line in results)}")
    print("\n".join(results))
    return any(line.startswith("not ok") for line in results)


if __name__ == "__main__":
    sys.exit(main())
