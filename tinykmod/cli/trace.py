"""`tinykmod trace show|explain|convert`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.files import replacing
from tinykmod.terminal import WIDEST, columns
from tinykmod.trace.events import Event, read_trace

#: Where a boot leaves it: docs/trace-format.md.
DEFAULT = Path("/run/tinykmod/trace.jsonl")


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True)
    show = actions.add_parser("show", help="print a boot's modules and moments in order of time")
    explain = actions.add_parser("explain", help="tell where the time to the root and to the display went, and what "
                                                 "would be gained by what")  # fmt: skip
    convert = actions.add_parser("convert", help="turn a trace into what other programs read")
    convert.add_argument("--to", required=True, choices=["chrome", "svg", "csv"],
                         help="JSON for chrome://tracing and Perfetto; a picture; a table")  # fmt: skip
    convert.add_argument("-o", "--output", type=Path, metavar="FILE", help="default: standard output")
    for action in show, explain, convert:
        action.add_argument("file", nargs="?", type=Path, default=DEFAULT, metavar="FILE",
                            help="the trace; - is standard input (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    trace = read(args.file)
    if args.action == "show":
        from tinykmod.trace.timeline import summary, table

        print("\n".join([table(trace), "", *summary(trace)]))
        return 0
    if args.action == "explain":
        from tinykmod.trace.explain import explain

        print(explain(trace, str(args.file), width=max(columns(WIDEST), 60)), end="")
        return 0
    from tinykmod.trace import convert

    text = {"chrome": convert.to_chrome, "svg": convert.to_svg, "csv": convert.to_csv}[args.to](trace)
    if args.output is None:
        print(text, end="")
    else:
        with replacing(args.output) as out:
            out.write(text.encode(errors="surrogateescape"))
    return 0


def read(file: Path) -> list[Event]:
    """The trace in FILE, or of standard input. Raises TinykmodError for one that is damaged or empty, OSError."""
    if str(file) == "-":
        trace = read_trace(sys.stdin, "standard input")
    else:
        with file.open(errors="surrogateescape") as lines:
            trace = read_trace(lines, str(file))
    if not trace:
        raise TinykmodError(file, "holds no event")
    return trace
