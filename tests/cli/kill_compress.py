# SPDX-License-Identifier: Apache-2.0
"""Runs `moesaic compress -o killed.moe` and kills it once its unfinished file has so many bytes.

usage: python3 -m kill_compress BYTES OPTION..."""
import os
import subprocess
import sys
import time


def main() -> None:
    enough, size = int(sys.argv[1]), 0
    child = subprocess.Popen(["moesaic", "compress", "-o", "killed.moe", *sys.argv[2:]])
    while size < enough:
        if child.poll() is not None:
            sys.exit(f"ended by itself with {child.returncode}, at {size} bytes of {enough}")
        time.sleep(0.01)
        size = os.path.getsize("killed.moe.partial") if os.path.exists("killed.moe.partial") else 0
    child.kill()
    print("killed" if child.wait() < 0 else "finished")


if __name__ == "__main__":
    main()
