"""What a boot would have taken had something been otherwise: its loads replayed with their times, in a model.

A load computes for as long as its process had a processor, then waits for as long as it took beyond that and beyond
what others took from it (hardware, mostly). It begins when what it needs has ended and what asked for it is there.
What leads to the root has the processors first, then what began first in the boot; what began there only when a
processor had nothing else to load waits for that here. What the kernel's own threads and PID 1 compute between loads
no trace tells. So replay() of a boot as it was says how well the model fits that boot.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.trace.graph import Graph, Node


class Times(NamedTuple):
    """Nanoseconds from the loader's start; None for what the boot did not come to."""

    root: int | None
    display: int | None
    all: int | None


@dataclass
class _Load:
    node: Node
    compute: float
    wait: float
    needs: set[str]
    urgent: bool
    #: Whether it begins only when a processor has nothing else to load, as it did in the boot.
    polite: bool
    #: When it may begin: at that time, or that long after the end of a load, or after the root's device is there.
    after: str
    release: float
    begun: float | None = None
    ended: float | None = None
    left: list[float] = field(default_factory=list)

    @property
    def under_way(self) -> bool:
        return self.begun is not None and self.ended is None

    @property
    def busy(self) -> bool:
        """Whether it computes, or has yet to be waiting for so long that the loader takes that for a wait."""
        return self.left[0] > 0 or self.wait - self.left[1] < _HELD


_ROOT = "/"  # no module's name
#: Nanoseconds for which a load has no processor before the loader takes it to wait for its hardware (HELD_FOR in
#: cext/core/engine.pxi): short waits are the kernel's own work for it, and leave no processor to others.
_HELD = 30e6


def replay(
    graph: Graph,
    *,
    without: Collection[str] = (),
    planned: bool = False,
    asynchronous: Collection[str] = (),
    source: str = "trace",
) -> Times:
    """The boot of GRAPH again: without some modules, with a plan of all that it loaded, or with some probed
    asynchronously.

    Raises TinykmodError(SOURCE, ...) for a trace that does not tell how long loads had a processor.
    """
    if all(node.cpu is None for node in graph.nodes.values()):
        raise TinykmodError(source, "does not tell how long each load had a processor (an older loader's)")
    return _Replay(graph, set(without), planned, set(asynchronous)).run()


class _Replay:
    def __init__(self, graph: Graph, without: set[str], planned: bool, asynchronous: set[str]) -> None:
        self.graph, self.planned = graph, planned
        start = graph.first("start")
        self.processors = max(int(start.get("processors", 1)), 1) if start else 1
        self.root, self.mounted = graph.first("root"), graph.first("mounted")
        nodes = [node for node in graph.nodes.values() if node.name not in without]
        self.workers = max([1, *(sum(other.begin <= node.begin < other.live for other in nodes) for node in nodes)])
        leading = graph.to_root() if self.mounted else set()
        self.askers = {graph.asker(node) for node in nodes}
        self.lag: dict[str, float] = {}
        self.loads = {node.name: self._load(node, leading, asynchronous)
                      for node in sorted(nodes, key=lambda node: node.begin)}  # fmt: skip
        for load in self.loads.values():
            load.needs &= self.loads.keys()
        self.behind = [node.name for node in graph.behind() if node.name in self.loads]
        self.filesystem = [node.name for node in graph.filesystem() if node.name in self.loads]
        self.at_root: float | None = None
        self.at_mount: float | None = None

    def _load(self, node: Node, leading: set[str], asynchronous: set[str]) -> _Load:
        took = node.live - node.begin
        # What does not lead to the root has no processor while what does wants one.
        others = sum(self.graph.computed(name, node.begin, node.live) for name in self.graph.nodes
                     if name != node.name and (name in leading or node.name not in leading))  # fmt: skip
        # Of a load that outlived the trace nobody knows, and one that has the kernel run modprobe waits for that
        # program to be started: as if it computed.
        known = node.cpu is not None and node.name not in self.askers
        own = min(float(node.cpu or 0) if known else max(took - others, 0.0), took)
        # Others have the processor evenly meanwhile, and take it from this one only when it wants to compute.
        excess = min(max(0.0, others - (self.processors - 1) * took), took - own)
        stolen = excess * own / max(took - excess, 1.0)
        wait = max(0.0, took - own - stolen)
        if node.name in asynchronous:
            self.lag[node.name], wait = wait, 0.0
        after, release = self._trigger(node)
        before = sum(other.begin < node.begin < other.live for other in self.graph.nodes.values())
        polite = before < self.processors and node.name not in leading
        return _Load(node, own, wait, set(node.needs), node.name in leading, polite, after, release)

    def _trigger(self, node: Node) -> tuple[str, float]:
        queued = self._batch(node) - self.graph.start
        if self.planned:
            return "", 0.0
        asked = node
        seen = {asked.name}
        while asked.why in ("dependency", "softdep") and asked.by in self.graph.nodes and asked.by not in seen:
            asked = self.graph.nodes[asked.by]
            seen.add(asked.name)
        if asked.why == "root" and self.root is not None and self.root["t"] <= node.queued:
            return _ROOT, self._batch(node) - self.root["t"]
        device = self.graph.devices.get(asked.by) if asked.why == "modalias" else None
        if device is not None and device.maker and device.t <= node.queued:
            return device.maker, max(self._batch(node) - self.graph.nodes[device.maker].live, 0)
        return "", queued

    def _batch(self, node: Node) -> int:
        """When the last of those was queued that NODE was queued with: the loader plans for all that it sees, and
        then begins with the most urgent."""
        nodes = self.graph.nodes.values()
        begun = min((other.begin for other in nodes if other.begin >= node.queued), default=node.queued)
        return max(other.queued for other in nodes if node.queued <= other.queued <= max(begun, node.queued))

    def run(self) -> Times:
        t = 0.0
        while True:
            self._start(t)
            running = [load for load in self.loads.values() if load.under_way]
            rates = self._rates(running)
            ahead = [load.left[0] / rates[load.node.name] for load in running
                     if load.left[0] > 0 and rates[load.node.name] > 0]  # fmt: skip
            ahead += [load.left[1] for load in running if load.left[0] <= 0]
            ahead += [_HELD - load.wait + load.left[1] for load in running if load.left[0] <= 0 and load.busy]
            ahead += [at - t for at in self._moments() if at > t]
            if not ahead:
                break
            step = min(ahead)
            t += step
            for load in running:
                if load.left[0] > 0:
                    load.left[0] = max(0.0, load.left[0] - step * rates[load.node.name])
                    if load.left[0] < 1:
                        load.left[0] = 0.0
                else:
                    load.left[1] -= step
                if load.left[0] <= 0 and load.left[1] < 1:
                    load.ended = t
            self._reach(t)
        displays = [self.loads[node.name].ended for node in self.graph.displays() if node.name in self.loads]
        there = [end for end in displays if end is not None]
        ends = [load.ended for load in self.loads.values() if load.ended is not None]
        return Times(_whole(self.at_mount), _whole(min(there, default=None)), _whole(max(ends, default=None)))

    def _released(self, load: _Load) -> float | None:
        """From when on what asks for LOAD is there; None while that is not known."""
        if load.after == _ROOT:
            return None if self.at_root is None else self.at_root + load.release
        if load.after in self.loads:
            ended = self.loads[load.after].ended
            return None if ended is None else ended + load.release + self.lag.get(load.after, 0.0)
        return None if load.after else load.release

    def _moments(self) -> list[float]:
        """When something may begin that no load's end tells."""
        found = [self._released(load) for load in self.loads.values() if load.begun is None]
        return [at for at in [*found, self._root_at(), self._mount_at()] if at is not None]

    def _start(self, t: float) -> None:
        running = [load for load in self.loads.values() if load.under_way]
        waiting = [load for load in self.loads.values() if load.begun is None]
        for load in sorted(waiting, key=self._order):
            released = self._released(load)
            if released is None or released > t or len(running) >= self.workers + load.urgent:
                continue
            if any(self.loads[name].ended is None for name in load.needs):
                continue
            if not load.urgent and self.at_mount is None and self._busy(running) >= self.processors:
                continue
            if load.polite and sum(other.busy for other in running) >= self.processors:
                break  # what is less urgent has no more room
            load.begun, load.left = t, [max(load.compute, 1.0), load.wait]
            running.append(load)

    @staticmethod
    def _order(load: _Load) -> tuple[bool, int]:
        return not load.urgent, load.node.begin

    @staticmethod
    def _busy(running: list[_Load]) -> int:
        """How many loads that lead to the root compute."""
        return sum(load.urgent and load.left[0] > 0 for load in running)

    def _rates(self, running: list[_Load]) -> dict[str, float]:
        """The share of a processor that each of RUNNING has: one, or none."""
        computing = sorted((load for load in running if load.left[0] > 0), key=self._order)
        return {load.node.name: float(place < self.processors) for place, load in enumerate(computing)}

    def _root_at(self) -> float | None:
        """When the root's device is there: after the last of its drivers, as much later as it was in the boot."""
        if self.root is None or self.at_root is not None:
            return self.at_root
        ends = []
        for name in self.behind:
            ended = self.loads[name].ended
            if ended is None:
                return None
            ends.append(ended + self.lag.get(name, 0.0))
        if not ends:
            return float(self.root["t"]) - self.graph.start
        last = max(self.graph.nodes[name].live for name in self.behind)
        # With a plan the disk's driver may be there before the disk: what comes of the bus above takes its time.
        made = [(self.loads[device.maker].ended or 0.0) + max(device.t - self.graph.nodes[device.maker].live, 0)
                for name in self.behind for modalias in self.graph.asked_by(self.graph.nodes[name])
                if (device := self.graph.devices[modalias]).maker in self.loads]  # fmt: skip
        return max([*ends, *made]) + float(max(self.root["t"] - last, 0))

    def _mount_at(self) -> float | None:
        if self.mounted is None or self.root is None or self.at_root is None:
            return None
        ends = [self.loads[name].ended for name in self.filesystem]
        known = [end for end in ends if end is not None]
        if len(known) < len(ends):
            return None
        real = max([self.root["t"], *(self.graph.nodes[name].live for name in self.filesystem)])
        return max([self.at_root, *known]) + float(max(self.mounted["t"] - real, 0))

    def _reach(self, t: float) -> None:
        root = self._root_at()
        if root is not None and root <= t:
            self.at_root = root
        mount = self._mount_at()
        if mount is not None and mount <= t and self.at_mount is None:
            self.at_mount = mount


def _whole(at: float | None) -> int | None:
    return None if at is None else round(at)
