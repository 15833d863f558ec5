"""`tinykmod report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.cli import trace
from tinykmod.errors import TinykmodError
from tinykmod.files import check_place


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", type=Path, nargs="+", metavar="DIR|TRACE",
                        help="what `tinykmod bench` measured, or a boot's trace (- is standard input); of several"
                        " benches the page is of the one that was begun last, with the trend to it")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, default=Path("report.html"), metavar="FILE",
                        help="the page (default: %(default)s)")  # fmt: skip
    parser.add_argument("--before", type=Path, action="append", default=[], metavar="DIR",
                        help="to compare with and for the trend, whenever it was begun; repeatable")  # fmt: skip
    parser.add_argument("--pictures", type=Path, metavar="DIR",
                        help="write each picture into DIR as well, an SVG file each")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from tinykmod.bench import page

    check_place(args.output)
    [source, *others] = args.source
    if source.is_dir():
        from tinykmod.bench.results import read_about

        *others, source = sorted(args.source, key=lambda one: str(read_about(one).get("begun", "")))
        page.write(source, args.output, [*others, *args.before], args.pictures)
    elif others or args.before:
        raise TinykmodError(source, "is no directory of results, so there is nothing to compare with others")
    else:
        from tinykmod.bench.traced import measured_of_trace

        name = "standard input" if str(source) == "-" else source.name
        page.write_boot(measured_of_trace(trace.read(source), name), args.output, args.pictures)
    print(args.output)
    return 0
