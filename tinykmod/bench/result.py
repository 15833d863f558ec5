"""What a boot left behind, whatever it was booted by: the console's text, and what is found in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tinykmod.bench.disk import DMESG_BEGIN, DMESG_END, TRACE_BEGIN, TRACE_END
from tinykmod.errors import TinykmodError
from tinykmod.trace.events import Event, read_trace

Ended = Literal["stop_on", "poweroff", "panic", "timeout"]
#: A line of the kernel's log: seconds, perhaps (CONFIG_PRINTK_CALLER) the thread or processor, text.
_STAMP = re.compile(r"\[ *(\d+\.\d+)\](?:\[ *[TC]\d+\])? ?(.*)")


@dataclass(frozen=True)
class BootResult:
    """What a boot left behind.

    `console` is the serial console's text, `ended` what ended the boot, `seconds` its wall-clock time. `dmesg` (pairs
    of seconds and text) and `trace` are what the root's init printed between its markers: empty and None if it
    did not come to that; `damage` says in one line what is wrong with a trace that could not be read.
    """

    console: str
    ended: Ended
    seconds: float
    trace: list[Event] | None
    dmesg: list[tuple[float, str]]
    damage: str = ""

    @property
    def lines(self) -> list[str]:
        return self.console.splitlines()

    @property
    def log(self) -> list[tuple[float, str]]:
        """The kernel's log: `dmesg`, and without it what of the log went to the console."""
        return self.dmesg or stamped(self.lines)

    def tail(self, count: int = 15) -> str:
        """The last lines of the console: what to show when a boot did not end as it should."""
        return "\n".join(self.lines[-count:])


def of_console(text: str, ended: Ended, seconds: float) -> BootResult:
    """What the console's TEXT tells."""
    if ended != "stop_on" and "Kernel panic" in text:
        ended = "panic"
    printed = _between(text, TRACE_BEGIN, TRACE_END)
    trace, damage = None, ""
    try:
        trace = None if printed is None else read_trace(printed, "trace on the console")
    except TinykmodError as error:
        # What the console said is not to be lost with it.
        damage = str(error)
    return BootResult(text, ended, seconds, trace, stamped(_between(text, DMESG_BEGIN, DMESG_END) or []), damage)


def stamped(lines: list[str]) -> list[tuple[float, str]]:
    """Seconds and text of those LINES that have the kernel's stamp."""
    return [(float(found[1]), found[2]) for found in map(_STAMP.match, lines) if found]


def _between(text: str, begin: str, end: str) -> list[str] | None:
    """The lines between two marker lines; None where one is missing."""
    lines = text.splitlines()
    if begin not in lines or end not in lines[lines.index(begin) :]:
        return None
    first = lines.index(begin) + 1
    return lines[first : lines.index(end, first)]
