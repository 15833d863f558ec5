"""A line that counts, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable


def counter(label: str) -> Callable[[int, int], None] | None:
    """What shows `LABEL: N of TOTAL` on standard error and takes the line away at the end; None in a pipe."""
    if not sys.stderr.isatty():
        return None

    def show(done: int, total: int) -> None:
        end = "\r\033[K" if done == total else ""
        print(f"\r{label}: {done} of {total}{end}", end="", file=sys.stderr, flush=True)

    return show
