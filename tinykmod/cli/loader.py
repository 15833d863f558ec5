"""`tinykmod loader`: where the static loader program is."""

from __future__ import annotations

import argparse
import hashlib

from tinykmod import loaders


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--arch", help="machine architecture as uname -m spells it (default: this machine's)")
    parser.add_argument("--list", action="store_true", help="list every loader at hand: ARCH SIZE SHA256 PATH")


def run(args: argparse.Namespace) -> int:
    if not args.list:
        print(loaders.find(args.arch))
        return 0
    wanted = loaders.at_hand() if args.arch is None else {args.arch: loaders.find(args.arch)}
    for arch, path in wanted.items():
        data = path.read_bytes()
        print(f"{arch:<8} {len(data):>7} {hashlib.sha256(data).hexdigest()} {path}")
    return 0
