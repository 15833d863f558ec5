"""The options of the commands that make a boot index: modprobe.d, and a plan."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_config(parser: argparse.ArgumentParser) -> None:
    """-C as modprobe has it; args.config is None where it was not given."""
    parser.add_argument("-C", "--config", action="append", type=there, metavar="FILE|DIR",
                        help="read this instead of ROOT's modprobe.d directories; repeatable")  # fmt: skip


def add_plan(parser: argparse.ArgumentParser) -> None:
    """--plan; args.plan is None where it was not given."""
    parser.add_argument("--plan", type=there, metavar="PLAN",
                        help="what the loader begins with: a file from `tinykmod profile`")  # fmt: skip


def there(text: str) -> Path:
    """The path of something that exists, as an argument's type."""
    path = Path(text)
    if not path.exists():
        raise argparse.ArgumentTypeError(f"{text}: no such file or directory")
    return path
