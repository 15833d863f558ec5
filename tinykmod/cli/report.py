"""`tinykmod report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.cli import trace
from tinykmod.errors import TinykmodError
from tinykmod.files import check_place


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, metavar="DIR|TRACE",
                        help="what `tinykmod bench` measured, or a boot's trace (- is standard input)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
                        help="the page (default: %(default)s)")  # fmt: skip
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="DIR",
                        help="an earlier bench, to compare with and for the trend; repeatable")  # fmt: skip
    parser.add_argument("--pictures", type=Path, metavar="DIR",
                        help="write each picture into DIR as well, an SVG file each")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from tinykmod.bench import page

    check_place(args.output)
    if args.source.is_dir():
        page.write(args.source, args.output, args.before, args.pictures)
    elif args.before:
        raise TinykmodError(args.source, "is no directory of results, so there is nothing to compare with others")
    else:
        from tinykmod.bench.traced import measured_of_trace

        name = "standard input" if str(args.source) == "-" else args.source.name
        page.write_boot(measured_of_trace(trace.read(args.source), name), args.output, args.pictures)
    print(args.output)
    return 0
