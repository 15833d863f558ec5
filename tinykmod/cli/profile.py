"""`tinykmod profile`: from a boot's trace to a plan for the next one."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.cli.trace import DEFAULT, read
from tinykmod.files import replacing
from tinykmod.trace.plan import format_plan, plan_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", type=Path, metavar="PLAN", help="default: standard output")
    parser.add_argument("file", nargs="?", type=Path, default=DEFAULT, metavar="TRACE",
                        help="the trace; - is standard input (default: %(default)s)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    trace = read(args.file)
    release = next((event["release"] for event in trace if event["ev"] == "start"), "an unknown kernel")
    text = format_plan(plan_of(trace, str(args.file)), release)
    if args.output is None:
        print(text, end="")
    else:
        with replacing(args.output) as out:
            out.write(text.encode(errors="surrogateescape"))
    return 0
