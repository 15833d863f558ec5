"""`tinykmod static-nodes`: the device nodes that load modules when opened, as `kmod static-nodes` prints them."""

from __future__ import annotations

import argparse
import os
import stat
import sys
from pathlib import Path

from tinykmod.files import replacing
from tinykmod.kmod.names import encoded
from tinykmod.kmod.static_nodes import FORMATS, read_nodes
from tinykmod.modules.directory import directory_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--format", choices=FORMATS, default="human",
                        help="for people, as tmpfiles.d(5) or as modules.devname (default: human)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    parser.add_argument("-b", "--basedir", dest="base", type=Path, default=Path("/"), metavar="BASE",
                        help="where lib/modules is (default: /)")  # fmt: skip
    parser.add_argument(
        "-k", "--set-version", dest="version", metavar="VERSION", help="default: the running kernel's"
    )


def run(args: argparse.Namespace) -> int:
    file = directory_of(args.base, args.version or os.uname().release) / "modules.devname"
    try:
        text = file.read_bytes().decode(errors="surrogateescape")
    except FileNotFoundError:
        print(f"Warning: {file} not found - ignoring", file=sys.stderr)
        return 0
    nodes, invalid = read_nodes(text)
    for line in invalid:
        print(f"Error: invalid devname entry: {line}", file=sys.stderr)
    _write(args.output, encoded("".join(f"{line}\n" for line in FORMATS[args.format](nodes))))
    return 1 if invalid else 0


def _write(path: Path | None, text: bytes) -> None:
    if path is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(text)
    elif path.exists() and not stat.S_ISREG(path.lstat().st_mode):
        # A device, a pipe or a link such as /dev/stdout stays what it is.
        path.write_bytes(text)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            out.write(text)
