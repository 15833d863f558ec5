"""`tinykmod snapshot`: this machine's devices, drivers and root, for an image that is built elsewhere."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinykmod.boot.snapshot import take, text
from tinykmod.files import replacing


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", dest="output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="look at the /sys, /proc and /run below DIR (a copy)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    content = text(take(args.sysroot))
    if args.output is None:
        sys.stdout.write(content)
    else:
        with replacing(args.output) as out:
            out.write(content.encode("ascii"))
    return 0
