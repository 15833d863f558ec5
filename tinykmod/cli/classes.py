"""`tinykmod classes`: which drivers of a kernel are of which class, and by what evidence."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.cli.progress import counter
from tinykmod.modules.classes import evidence
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import read_tree


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--root", type=Path, default=Path("/"), metavar="ROOT", help="default: /")
    parser.add_argument("release", metavar="VERSION", help="the kernel release, as in /lib/modules/VERSION")


def run(args: argparse.Namespace) -> int:
    tree = read_tree(args.root, args.release, progress=counter("reading modules"))
    rows = [(kind, module.name, why) for module in tree.modules for kind, why in evidence(module)]
    for member in DriverClass:
        for kind, name, why in rows:
            if kind == member:
                print(f"{str(member.name).lower():<10}  {name:<24}  {why}")
    return 0
