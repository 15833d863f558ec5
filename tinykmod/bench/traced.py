"""A trace alone, as a measured boot: of a board from which there is nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from tinykmod.bench.measured import Measured, Step, load_of
from tinykmod.errors import TinykmodError
from tinykmod.trace import critical
from tinykmod.trace.events import Event
from tinykmod.trace.graph import Graph


def measured_of_trace(trace: Sequence[Event], name: str) -> Measured:
    """TRACE's boot; times are of its own clock, CLOCK_MONOTONIC, which the kernel starts shortly after its log's.

    `root_init` is when the loader handed over. Raises TinykmodError(NAME, ...) where the trace has no start.
    """
    at = {event["ev"]: event["t"] / 1e9 for event in reversed(trace)}
    if "start" not in at:
        raise TinykmodError(name, "does not tell when the loader started")
    loads = [load_of(event) for event in trace if event["ev"] == "module"]
    names = {"start": "init", "root": "disk", "mounted": "mounted", "handover": "root_init"}
    marks = {mark: at[event] for event, mark in names.items() if event in at}
    ends = [load.begin + load.seconds for load in loads]
    graph = Graph(trace)
    displays = graph.displays()
    marks |= {"all": max(ends)} if ends else {}
    marks |= {"display": displays[0].live / 1e9} if displays else {}
    ended, error = ("root", "") if "handover" in at else ("poweroff", "the trace has no hand-over to the root's init")
    release = next(event["release"] for event in trace if event["ev"] == "start")
    return Measured(name, f"Linux {release}", "from its trace", 1, ended, marks, loads, path_of(graph, "root"),
                    path_of(graph, "display"), error=error)  # fmt: skip


def path_of(graph: Graph, to: critical.Target, zero: float = 0.0) -> list[Step]:
    """The critical path; none where the boot did not come to its end. At ZERO seconds the trace's clock is 0."""
    try:
        steps = critical.path_of(graph, to)
    except TinykmodError:
        return []
    return [Step(step.kind, round(zero + step.begin / 1e9, 6), round(step.duration / 1e9, 6), step.name)
            for step in steps]  # fmt: skip
