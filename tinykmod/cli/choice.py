"""The options that say what an image, or a frozen program, is for and which modules go in."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod import loaders
from tinykmod.cli.config import add_config, add_plan
from tinykmod.image import snapshot
from tinykmod.image.request import Request
from tinykmod.image.select import parse_classes
from tinykmod.trace.plan import read_plan

_CLASSES, _MACHINE = "storage", "generic"


def add_choice(parser: argparse.ArgumentParser) -> None:
    """VERSION, -b, -C, --plan, --class, --for, --add, --omit, --strict, --drop-signatures and --arch."""
    parser.add_argument("release", metavar="VERSION", help="kernel release, as uname -r says it")
    parser.add_argument(
        "-b",
        "--root",
        type=Path,
        default=Path("/"),
        metavar="ROOT",
        help="where lib/modules, modprobe.d and boot are (default: /)",
    )
    add_config(parser)
    add_plan(parser)
    parser.add_argument(
        "--class", dest="classes", default=_CLASSES, metavar="CLASS,...", help="driver classes (default: storage)"
    )
    parser.add_argument("--for", dest="machine", default=_MACHINE, metavar="generic|host|SNAPSHOT|PROFILE",
                        help="of the classes all drivers (default), or those of this machine, of a file that"
                        " `tinykmod snapshot` has written, or of a kind of machines:"
                        f" {', '.join(snapshot.profiles())}")  # fmt: skip
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, a pattern of modules' names (in quotes) or an alias; repeatable",
    )
    parser.add_argument(
        "--omit",
        action="append",
        default=[],
        metavar="MODULE",
        help="leave these out, as --add takes them, and what cannot be loaded without them; repeatable",
    )
    parser.add_argument("--strict", action="store_true",
                        help="missing firmware is an error; for a machine, nothing for a moved disk")  # fmt: skip
    parser.add_argument("--drop-signatures", action="store_true",
                        help="leave the modules' signatures out: they load in half the time, but taint the kernel,"
                        " which refuses them where it enforces signatures (lockdown, Secure Boot)")  # fmt: skip
    parser.add_argument("--arch", help="machine that this is for, as uname -m says it (default: this one)")


def is_choosy(args: argparse.Namespace) -> bool:
    """Whether any option was given that says which modules go in, and how."""
    given = (args.add, args.omit, args.strict, args.drop_signatures)
    return (args.classes, args.machine) != (_CLASSES, _MACHINE) or any(given)


def chosen(args: argparse.Namespace, output: Path) -> Request:
    """What OUTPUT is to hold; everything that add_choice() does not ask for is as by default."""
    machine = snapshot.chosen(args.machine)
    return Request(
        args.root,
        args.release,
        output,
        loaders.find(args.arch or (machine.arch if machine else None)),
        parse_classes(args.classes.split(",")),
        args.add,
        args.omit,
        config=args.config,
        plan=read_plan(args.plan) if args.plan else None,
        machine=machine,
        strict=args.strict,
        drop_signatures=args.drop_signatures,
    )
