"""What goes to standard error while a command works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable


def line() -> Callable[[str], None]:
    """What shows a text in place of the one before, and takes that away for the empty text; nothing where it would
    not be a terminal."""
    if not sys.stderr.isatty():
        return lambda text: None
    return lambda text: print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def counter(label: str) -> Callable[[int, int], None] | None:
    """What shows `LABEL: N of TOTAL` and takes the line away at the end; None where it would not be a terminal."""
    if not sys.stderr.isatty():
        return None
    show = line()
    return lambda done, total: show("" if done == total else f"{label}: {done} of {total}")


def warn(warnings: Iterable[str]) -> None:
    """Each warning as a line; it changes no exit code."""
    for warning in warnings:
        print(f"tinykmod: {warning}", file=sys.stderr)
