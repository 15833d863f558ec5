"""A boot for people: the trace's table, and what the kernel's log and the image add to it."""

from __future__ import annotations

import re
from pathlib import Path

from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.result import BootResult
from tinykmod.errors import TinykmodError
from tinykmod.trace.timeline import Moment, started, summary, table


def timeline(
    result: BootResult, *, image: Path | None = None, loader: Path | None = None, width: int | None = None
) -> str:
    """The boot's modules and moments in order of time, and a summary; times are milliseconds since init started.

    IMAGE and LOADER are only named with their sizes. WIDTH is in columns; the terminal's where it is None. Raises
    TinykmodError when the boot printed no trace.
    """
    if not result.trace:
        raise TinykmodError("trace", "the boot printed none (root's init prints it from /run/tinykmod)")
    ran = _root_init(result, started(result.trace))
    lines = [
        table(result.trace, [(at, f"{text} running") for at, text in ran], width=width),
        "",
        *summary(result.trace, ran),
    ]
    init = kernel_stamp(result, "Run /init as init process")
    if init is not None:
        lines.append(f"kernel   {init * 1e3:.0f} ms from its start to /init")
    files = [f"{what} {path.stat().st_size / 1024:,.0f} KiB" for what, path in (("image", image), ("loader", loader))
             if path]  # fmt: skip
    if files:
        lines.append(f"size     {', '.join(files)}")
    return "\n".join(lines) + "\n"


def kernel_stamp(result: BootResult, pattern: str) -> float | None:
    """Seconds of the first line of the kernel's log in which the regular expression PATTERN is found."""
    return next((seconds for seconds, text in result.dmesg if re.search(pattern, text)), None)


def _root_init(result: BootResult, start: int) -> list[Moment]:
    """When the root's init ran. Both of its ends are kernel log stamps: that clock's zero is not the trace's."""
    began = kernel_stamp(result, r"^tinykmod: (.*: )?init started")
    ran = kernel_stamp(result, f"^{re.escape(SENTINEL)}")
    if began is None or ran is None:
        return []
    return [(start + round((ran - began) * 1e9), "root's init")]
