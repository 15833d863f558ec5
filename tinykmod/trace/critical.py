"""The critical path of a boot: what the root, the display or the last module was waiting for, moment by moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.trace.events import Event
from tinykmod.trace.graph import Graph, Node

Target = Literal["root", "display", "all"]

#: The kinds of steps, and what each means.
KINDS = {
    "loader": "the loader looks at devices and plans",
    "module": "the module's load, until what needs it could go on",
    "worker": "the module is ready, and waits for a worker or for the processor",
    "device": "the module's init has ended, and the hardware has yet to show its device",
    "mount": "the root's device and filesystem are there: its mount, with what rootdelay= adds",
}


class Step(NamedTuple):
    """Nanoseconds of the trace's clock. `name` is a module's, or "". `busy` are those that the processors had
    meanwhile, of a step of kind `worker`."""

    begin: int
    end: int
    kind: str
    name: str = ""
    busy: tuple[str, ...] = ()

    @property
    def duration(self) -> int:
        return self.end - self.begin


def path(trace: Iterable[Event], to: Target = "root", source: str = "trace") -> list[Step]:
    """The steps from the loader's start to the root mounted, the first display's driver, or the end of the last load.

    Each begins where the one before it ended, so that their durations add up to the whole. At every moment the step
    is what the target waited for: of all that has to come before something, what came last. Raises
    TinykmodError(SOURCE, ...) where the boot did not come to its target.
    """
    return path_of(Graph(trace), to, source)


def path_of(graph: Graph, to: Target, source: str = "trace") -> list[Step]:
    """path() of a trace whose graph is there already."""
    walk = _Walk(graph)
    if to == "root":
        walk.from_root(source)
    elif to == "display":
        displays = graph.displays()
        if not displays:
            raise TinykmodError(source, "no display's driver was loaded in this boot")
        walk.to_module(displays[0], displays[0].live)
    else:
        last = max(graph.nodes.values(), key=lambda node: node.end, default=None)
        if last is None:
            raise TinykmodError(source, "no module was loaded in this boot")
        walk.to_module(last, last.end)
    return walk.steps[::-1]


class _Walk:
    """Goes back in time from the target; `steps` are in that order."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.steps: list[Step] = []

    def step(self, begin: int, end: int, kind: str, name: str = "", busy: tuple[str, ...] = ()) -> None:
        if end > begin:
            self.steps.append(Step(begin, end, kind, name, busy))

    def from_root(self, source: str) -> None:
        mounted, root = self.graph.first("mounted"), self.graph.first("root")
        if mounted is None or root is None:
            raise TinykmodError(source, "the boot did not come to its root")
        t = mounted["t"]
        last = max(self.graph.filesystem(), key=lambda node: node.live, default=None)
        if last is not None and last.begin < t and last.live > root["t"]:
            ready = min(last.live, t)
            self.step(ready, t, "mount")
            self.to_module(last, ready)
        else:
            self.step(root["t"], t, "mount")
            self.to_root(root["t"])

    def to_root(self, t: int) -> None:
        """What the root's device, there at T, came from: of what it sits behind the driver that was last."""
        drivers = [node for node in self.graph.behind() if node.begin < t]
        if drivers:
            self.to_made(max(drivers, key=lambda node: min(node.live, t)), t)
        else:
            self.step(self.graph.start, t, "loader")

    def to_made(self, maker: Node, t: int) -> None:
        """What MAKER's device, which was there at T, came from."""
        self.step(maker.live, t, "device", maker.name)
        self.to_module(maker, min(maker.live, t))

    def to_module(self, node: Node, t: int) -> None:
        """NODE was what was waited for until T; what had to come before it?"""
        while True:
            self.step(node.begin, t, "module", node.name)
            needs = [self.graph.nodes[name] for name in node.needs]
            needs = [need for need in needs if need.begin < node.begin]
            # Of two that it may have waited for up to its beginning, the one that was begun later.
            last = max(needs, key=lambda need: (min(need.live, node.begin), need.begin), default=None)
            ready = max(node.queued, min(last.live, node.begin) if last else 0)
            self.step(ready, node.begin, "worker", node.name, self._busy(ready, node.begin, node.name))
            if last is None or min(last.live, node.begin) < node.queued:
                self.to_plan(node)
                return
            node, t = last, ready

    def to_plan(self, node: Node) -> None:
        """What NODE was planned for, and what that came from."""
        t, asked = node.queued, self._asked(node)
        root = self.graph.first("root")
        device = self.graph.devices.get(asked.by) if asked.why == "modalias" else None
        if asked.why == "root" and root is not None and root["t"] <= t:
            self.step(root["t"], t, "loader")
            self.to_root(root["t"])
        elif device is not None and device.t <= t and device.maker:
            self.step(device.t, t, "loader")
            self.to_made(self.graph.nodes[device.maker], device.t)
        elif device is None and asked.why in ("modalias", "request"):
            self.to_asker(asked, t)
        else:
            self.step(self.graph.start, t, "loader")

    def to_asker(self, node: Node, t: int) -> None:
        """The kernel asked for NODE, planned at T, on behalf of a module that was in its init then."""
        asker = self.graph.asker(node)
        if asker:
            self.to_module(self.graph.nodes[asker], t)
        else:
            self.step(self.graph.start, t, "loader")

    def _asked(self, node: Node) -> Node:
        """What NODE is there for: the module that it was planned with, which a device or the root asked for."""
        seen = {node.name}
        while node.why in ("dependency", "softdep") and node.by in self.graph.nodes and node.by not in seen:
            node = self.graph.nodes[node.by]
            seen.add(node.name)
        return node

    def _busy(self, begin: int, end: int, name: str) -> tuple[str, ...]:
        under_way = [node for node in self.graph.nodes.values() if node.begin < end and node.end > begin
                     and node.name != name]  # fmt: skip
        return tuple(node.name for node in sorted(under_way, key=lambda node: (node.begin, node.name)))
