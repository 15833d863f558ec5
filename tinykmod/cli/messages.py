"""How kmod's tools word their errors, on standard error or to syslog."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from tinykmod.errors import TinykmodError


def reporter(tool: str, *, syslog: bool = False) -> Callable[[str], None]:
    """Tells an error as the tool does: `TOOL: ERROR: text` on standard error, `ERROR: text` to syslog."""
    if not syslog:
        return lambda text: print(f"{tool}: ERROR: {text}", file=sys.stderr)
    import syslog as log

    log.openlog(tool)
    return lambda text: log.syslog(log.LOG_ERR, f"ERROR: {text}")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options -s and -v, as several of the tools have them."""
    parser.add_argument("-s", "--syslog", action="store_true", help="tell errors to syslog, not on standard error")
    parser.add_argument("-v", "--verbose", action="store_true", help="print what is done")


def reported(error: Callable[[str], object], action: Callable[[], int]) -> int:
    """What ACTION returns; 1 where a file hinders it, which ERROR tells."""
    try:
        return action()
    except TinykmodError as hindrance:
        error(one_line(hindrance))
    except OSError as hindrance:
        if hindrance.filename is None:
            raise
        error(one_line(hindrance))
    return 1


def one_line(error: TinykmodError | OSError) -> str:
    """`WHICH: WHY`."""
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)
