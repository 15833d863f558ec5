"""`tinykmod lsmod`: the loaded modules, as lsmod(8) prints them."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinykmod.kmod.loaded import read_loaded


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="look at the /sys and /proc below DIR (a copy)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    try:
        modules = read_loaded(args.sysroot)
    except OSError as error:
        print(f"Error: could not get list of modules: {error.strerror}", file=sys.stderr)
        return 1
    print("Module                  Size  Used by")
    for module in modules:
        # -2 (ENOENT) is what kmod prints on a kernel that does not count.
        count = -2 if module.refcount is None else module.refcount
        print(f"{module.name:<19} {module.size:8}  {count} {','.join(module.holders)}".rstrip(" "))
    return 0
