"""One boot that was measured, as it is kept and compared: when what happened, and which modules took how long.

All times are seconds of the kernel log's clock, which starts with the kernel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from tinykmod.errors import TinykmodError
from tinykmod.trace.events import Event

#: What may be marked, in the order in which a boot comes to it, and what that means.
MARKS = {
    "unpack": "the kernel begins to unpack the image",
    "unpacked": "the image is unpacked and its memory free",
    "init": "the image's init starts",
    "disk": "the root's disk is there",
    "display": "the first display is there",
    "mounted": "the root is mounted",
    "all": "the last module that was loaded has ended its init",
    "root_init": "the root's init runs",
}

#: What is compared: metric -> (mark at its end, mark that it counts from; the kernel's start where that is empty).
METRICS = {
    "unpacking": ("unpacked", "unpack"),
    "T_root": ("mounted", "init"),
    "T_gpu": ("display", "init"),
    "T_all": ("all", "init"),
    "total": ("root_init", ""),
}


@dataclass(frozen=True)
class Load:
    """A module's load. `worker` is 0 where none is known, `result` 0 or a negative errno, `error` then why."""

    name: str
    begin: float
    seconds: float
    worker: int = 0
    why: str = ""
    by: str = ""
    result: int = 0
    error: str = ""


@dataclass(frozen=True)
class Step:
    """One part of a critical path: what its end waited for, from `begin` on. `kind` is one of
    tinykmod.trace.critical.KINDS, `name` a module's or empty."""

    kind: str
    begin: float
    seconds: float
    name: str = ""


@dataclass(frozen=True)
class Measured:
    """`ended` is `root` where the root's init ran, else what ended the boot (panic, poweroff, timeout, or failed: it
    could not be begun); `error` then says why in one line, and `console` has the last lines."""

    contender: str
    machine: str
    engine: str
    run: int
    ended: str
    marks: dict[str, float] = field(default_factory=dict)
    loads: list[Load] = field(default_factory=list)
    #: To the root mounted, each from where the one before it ended; none where there was no trace to see it in.
    path: list[Step] = field(default_factory=list)
    #: The same to the first display's driver.
    display_path: list[Step] = field(default_factory=list)
    image_bytes: int = 0
    #: Of the host's clock, from QEMU's start to its end.
    host_seconds: float = 0.0
    error: str = ""
    console: list[str] = field(default_factory=list)

    def metric(self, name: str) -> float | None:
        """Seconds of one of METRICS; None where the boot did not come to one of its ends."""
        end, begin = METRICS[name]
        if end not in self.marks or (begin and begin not in self.marks):
            return None
        return self.marks[end] - (self.marks[begin] if begin else 0.0)

    def to_json(self) -> dict[str, Any]:
        """As it is written, one object a line."""
        return asdict(self)


def load_of(event: Event, zero: float = 0.0) -> Load:
    """That of a trace's event; ZERO is when the trace's clock is 0, in seconds of the log's."""
    begin, seconds = round(zero + event["t"] / 1e9, 6), round(event["dur"] / 1e9, 6)
    return Load(event["name"], begin, seconds, event.get("worker", 0), event["why"], event["by"], event["result"],
                event.get("error", ""))  # fmt: skip


def measured_of(found: Mapping[str, Any], which: str) -> Measured:
    """What to_json() wrote. Raises TinykmodError(which, ...) where it is something else."""
    try:
        loads = [Load(**load) for load in found["loads"]]
        paths = {name: [Step(**step) for step in found.get(name, ())] for name in ("path", "display_path")}
        return Measured(**{**found, "loads": loads, **paths})
    except (KeyError, TypeError) as error:
        raise TinykmodError(which, f"is no measured boot: {error}") from error
