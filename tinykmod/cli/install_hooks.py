"""`tinykmod install-hooks`: make another initramfs generator use the loader, or no longer."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.image.hooks import GENERATORS, install, remove


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--for", dest="generator", choices=sorted(GENERATORS), required=True,
                        help="the generator")  # fmt: skip
    parser.add_argument("--root", type=Path, metavar="DIR",
                        help="the system's root (default: /); for mkosi, buildroot, yocto your own tree")  # fmt: skip
    parser.add_argument("--remove", action="store_true", help="take the files away again")


def run(args: argparse.Namespace) -> int:
    if args.root is None and GENERATORS[args.generator].project:
        raise TinykmodError(args.generator, "its files belong into your own tree: --root DIR")
    action = remove if args.remove else install
    for path in action(args.generator, args.root or Path("/")):
        print(path)
    return 0
