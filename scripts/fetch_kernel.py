#!/usr/bin/env python3
"""Fetch a Debian kernel into the cache and say where it is: its release, its vmlinuz, and the root of its tree."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinykmod.bench.debian import fetch_kernel
from tinykmod.errors import TinykmodError


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("meta", nargs="?", default="linux-image-amd64", help="meta-package (default: %(default)s)")
    parser.add_argument("--arch", default="amd64", help="Debian's name of the architecture (default: %(default)s)")
    args = parser.parse_args()
    try:
        kernel = fetch_kernel(args.meta, args.arch)
    except TinykmodError as error:
        print(f"fetch_kernel: {error}", file=sys.stderr)
        return 1
    print(f"release {kernel.release}\nvmlinuz {kernel.vmlinuz}\nroot {kernel.root}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
