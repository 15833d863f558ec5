"""Where the time of a boot goes, from the kernel's start to the root's init."""

from __future__ import annotations

from typing import NamedTuple

from tinykmod.bench.measured import Load, Measured

#: Phase -> what it is, in words.
PHASES = {
    "kernel": "kernel: from its start to the image's init, without unpacking",
    "unpacking": "unpacking: the kernel unpacks the image",
    "loader": "loader: the image's init, while no module is in the kernel",
    "modules": "modules: at least one is being loaded, until the root is mounted",
    "handover": "hand-over: from the root mounted to the root's init",
}


class Phase(NamedTuple):
    """Seconds of the kernel log's clock. Of `loader` and `modules` there are as many as they take turns."""

    name: str
    begin: float
    end: float


def phases(boot: Measured) -> list[Phase]:
    """The phases of BOOT one after the other, as far as it came. Empty where it is not known when init started."""
    marks = boot.marks
    if "init" not in marks:
        return []
    init = marks["init"]
    cuts = [("kernel", 0.0, marks.get("unpack", init))]
    if "unpack" in marks:
        unpacked = min(marks.get("unpacked", init), init)
        cuts += [("unpacking", marks["unpack"], unpacked), ("kernel", unpacked, init)]
    end = marks.get("mounted", marks.get("root_init", marks.get("all", init)))
    at = init
    for load_begin, load_end in under_way(boot.loads):
        begin, until = max(load_begin, init), min(load_end, end)
        if until > begin:
            cuts += [("loader", at, begin), ("modules", begin, until)]
            at = until
    cuts += [("loader", at, end), ("handover", end, marks.get("root_init", end))]
    return [Phase(*cut) for cut in cuts if cut[2] > cut[1]]


def shares(boot: Measured) -> dict[str, float]:
    """Seconds of each of PHASES."""
    found = dict.fromkeys(PHASES, 0.0)
    for phase in phases(boot):
        found[phase.name] += phase.end - phase.begin
    return found


def under_way(loads: list[Load]) -> list[tuple[float, float]]:
    """The times in which at least one of LOADS was under way, in order and apart."""
    spans: list[tuple[float, float]] = []
    for begin, end in sorted((load.begin, load.begin + load.seconds) for load in loads):
        if spans and begin <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((begin, end))
    return spans
