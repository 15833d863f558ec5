"""`tinykmod image check`: what an image would do."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.image import snapshot
from tinykmod.image.check import carried, check


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="check")
    checking = actions.add_parser("check", help="tell whether a machine would find its root and displays")
    checking.add_argument("image", type=Path, metavar="IMAGE")
    checking.add_argument("--for", dest="machine", default="host", metavar="host|SNAPSHOT",
                          help="this machine (default), or a file that `tinykmod snapshot` has written")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return {"check": _check}[args.action](args)


def _check(args: argparse.Namespace) -> int:
    machine = snapshot.chosen(args.machine)
    if machine is None:
        raise TinykmodError("--for generic", "an image is checked for one machine")
    image = carried(args.image)
    verdict = check(image, machine, args.machine)
    for line in verdict.lines:
        print(line)
    root = machine.root
    if root is not None:
        found = "would be found" if verdict.root else "would not be found"
        print(f"{args.image}: kernel {image.index.release}: root {root.source} ({root.type}) {found}")
    return 0 if verdict.root else 1
