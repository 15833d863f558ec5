"""What goes to standard error while a command works."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable


def counter(label: str) -> Callable[[int, int], None] | None:
    """What shows `LABEL: N of TOTAL` and takes the line away at the end; None where it would not be a terminal."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r\033[K" if done == total else ""
        print(f"\r{label}: {done} of {total}{end}", end="", file=sys.stderr, flush=True)

    return show


def warn(warnings: Iterable[str]) -> None:
    """Each warning as a line; it changes no exit code."""
    for warning in warnings:
        print(f"tinykmod: {warning}", file=sys.stderr)
