"""What waited for what in one boot, from its trace: a module for others, for a device, for the root."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile

from tinykmod.trace.events import Event

#: PCI's base class 03, display controllers, in a modalias (the kernel's Documentation of modaliases: bcXX).
_PCI_DISPLAY = re.compile(r"pci:.*bc03")


@dataclass
class Node:
    """A load. Times are nanoseconds of the trace's clock; of a module that was loaded again it is the first load.

    `live` is when what needs it could go on: when its init had returned, where the trace says so, else the end of the
    load, or when the first of those that need it began. `cpu` is for how long the load had a processor, None where
    the trace does not tell. `needs` are what it waits for, by name.
    """

    name: str
    why: str
    by: str
    queued: int
    begin: int
    end: int
    live: int
    worker: int
    result: int
    cpu: int | None = None
    classes: frozenset[str] = frozenset()
    needs: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Device:
    """A modalias as it was seen first. `maker` is the load that made the device, "" where the kernel had it."""

    modalias: str
    path: str
    t: int
    maker: str
    modules: tuple[str, ...]


class Graph:
    """A trace's loads and devices with what led to each. The trace may be of a boot that came to no root."""

    def __init__(self, trace: Iterable[Event]) -> None:
        events = list(trace)
        self.events = events
        self.start = next((int(event["t"]) for event in events if event["ev"] == "start"),
                          int(events[0]["t"]) if events else 0)  # fmt: skip
        self.nodes: dict[str, Node] = {}
        for event in events:
            if event["ev"] == "module" and event["name"] not in self.nodes:
                self.nodes[event["name"]] = _node(event)
        self._link([event for event in events if event["ev"] == "module"])
        self.devices: dict[str, Device] = {}
        self._see([event for event in events if event["ev"] == "device"])

    def first(self, kind: str) -> Event | None:
        """The first event of KIND, if there is one."""
        return next((event for event in self.events if event["ev"] == kind), None)

    def drivers(self, modalias: str) -> list[Node]:
        """The loads that serve devices of MODALIAS, by what the trace says."""
        device = self.devices.get(modalias)
        names = device.modules if device else ()
        return [node for node in self.nodes.values()
                if node.name in names or (node.why == "modalias" and node.by == modalias)]  # fmt: skip

    def with_needs(self, nodes: Iterable[Node]) -> set[str]:
        """The names of NODES, of all that they need and had the kernel ask for in their inits, and of what made the
        devices that asked for any of these."""
        asked = {node.name: self.asker(node) for node in self.nodes.values()}
        found: set[str] = set()
        ahead = [node.name for node in nodes]
        while ahead:
            name = ahead.pop()
            if name in found:
                continue
            found.add(name)
            node = self.nodes[name]
            ahead += node.needs
            ahead += [other for other, asker in asked.items() if asker == name]
            ahead += [self.devices[one].maker for one in self.asked_by(node) if self.devices[one].maker]
        return found

    def asked_by(self, node: Node) -> list[str]:
        """The modaliases of devices that NODE serves; of a trace that does not tell, what it was loaded for."""
        told = [device.modalias for device in self.devices.values() if node.name in device.modules]
        return told or ([node.by] if node.why == "modalias" and node.by in self.devices else [])

    def asker(self, node: Node) -> str:
        """The module in whose init the kernel asked for NODE; "" where something else asked for it."""
        if not (node.why == "request" or (node.why == "modalias" and node.by not in self.devices)):
            return ""
        under_way = [other for other in self.nodes.values()
                     if other.worker and other.begin < node.queued <= other.end]  # fmt: skip
        return max(under_way, key=lambda other: other.begin).name if under_way else ""

    def computed(self, name: str, begin: int, end: int) -> float:
        """For how many nanoseconds between BEGIN and END the load of NAME had a processor, as if it had it evenly
        until its init had returned."""
        node = self.nodes[name]
        both = min(node.live, end) - max(node.begin, begin)
        return (node.cpu or 0) * both / (node.live - node.begin) if both > 0 else 0.0

    def behind(self) -> list[Node]:
        """The drivers of the root's device and of what it sits behind."""
        events = (event for event in self.events if event["ev"] == "behind")
        return [node for event in events for node in self.drivers(event["modalias"]) if node.result == 0]

    def filesystem(self) -> list[Node]:
        """The loads of the root's filesystem."""
        mounted = self.first("mounted")
        return [node for node in self.nodes.values()
                if node.why == "root" or (mounted and node.name == mounted["type"])]  # fmt: skip

    def to_root(self) -> set[str]:
        """The names of all that leads to the root."""
        return self.with_needs([*self.behind(), *self.filesystem()])

    def users(self, name: str) -> list[Node]:
        """The loads that wait for NAME."""
        return [node for node in self.nodes.values() if name in node.needs]

    def displays(self) -> list[Node]:
        """The loads of displays' drivers that some device asked for, in order of their ends.

        Of a trace without classes: the drivers of what is, or is behind, a PCI display.
        """
        told = {name for device in self.devices.values() for name in device.modules}
        drivers = [node for node in self.nodes.values()
                   if node.name in told and "gpu" in node.classes and node.result == 0]  # fmt: skip
        if told:
            return sorted(drivers, key=lambda node: node.live)
        behind = [posixpath.basename(device.path) for device in self.devices.values()
                  if _PCI_DISPLAY.match(device.modalias)]  # fmt: skip
        found = {
            node.name: node
            for device in self.devices.values()
            if any(name in device.path.split("/") for name in behind)
            for node in self.drivers(device.modalias)
            if node.result == 0 and not self._is_bus(node)
        }
        return sorted(found.values(), key=lambda node: node.live)

    def _is_bus(self, node: Node) -> bool:
        """Whether NODE made devices of its own (virtio_pci of a virtio display): those have the display's driver."""
        return any(device.maker == node.name for device in self.devices.values())

    def _link(self, loads: list[Event]) -> None:
        """Say what each load waits for, and correct `live` by those that did not wait for the end of a load."""
        for event in loads:
            node = self.nodes[event["name"]]
            if isinstance(event.get("needs"), list):
                node.needs = [name for name in event["needs"] if name in self.nodes]
            elif node.why in ("dependency", "softdep") and node.by in self.nodes and node.name != node.by:
                # Of a `post` softdep it is the other way round.
                first, then = sorted((node, self.nodes[node.by]), key=lambda one: one.begin)
                if first.name not in then.needs:
                    then.needs.append(first.name)
        for node in self.nodes.values():
            for name in node.needs:
                need = self.nodes[name]
                if need.begin < node.begin < need.live:
                    need.live = node.begin

    def _see(self, seen: list[Event]) -> None:
        served = {posixpath.basename(event["device"]): event["modalias"] for event in seen}
        told = {event["modalias"]: tuple(event.get("modules") or ()) for event in seen}
        for event in seen:
            modalias = event["modalias"]
            self.devices[modalias] = Device(modalias, event["device"], event["t"], "", told[modalias])
        for event in seen:
            maker = next(self._makers(event, served), "")
            if maker:
                self.devices[event["modalias"]] = Device(
                    event["modalias"], event["device"], event["t"], maker, told[event["modalias"]]
                )

    def _makers(self, event: Event, served: dict[str, str]) -> Iterator[str]:
        """The loads that may have made the device of EVENT, the likeliest first: drivers of devices above it.

        /devices/pci0000:00/0000:00:05.0/usb1/1-1/1-1:1.0: what drives the nearest device above made it.
        """
        if not event["device"].startswith("/devices/"):  # seen when every bus was walked: nobody knows who made it
            return
        for name in reversed(event["device"].split("/")[2:-1]):
            above = served.get(name)
            if above is None:
                continue
            drivers = [node for node in self.drivers(above) if node.begin < event["t"] and node.result == 0]
            drivers = drivers or self._alike(above, event["t"])
            if drivers:
                yield max(drivers, key=lambda node: node.begin).name

    def _alike(self, modalias: str, before: int) -> list[Node]:
        """For a trace that does not tell which modules a modalias matched: a module is loaded for the first of its
        devices only, so the driver is that of the device whose modalias is most like this one."""
        if self.devices[modalias].modules:
            return []
        alike = [(_shared(modalias, node.by), node) for node in self.nodes.values()
                 if node.why == "modalias" and node.begin < before and node.result == 0]  # fmt: skip
        most = max((length for length, _ in alike), default=0)
        return [node for length, node in alike if length == most and most > len(modalias.partition(":")[0]) + 1]


def _shared(one: str, other: str) -> int:
    """With how many characters both begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _node(event: Event) -> Node:
    begin, end = event["t"], event["t"] + event["dur"]
    live = min(end, begin + int(event["live"])) if "live" in event else end
    queued = min(int(event["queued"]), begin) if "queued" in event else begin
    classes = frozenset(str(event.get("class", "")).split())
    return Node(event["name"], event["why"], event["by"], queued, begin, end, live, int(event.get("worker", 0)),
                event["result"], event.get("cpu"), classes)  # fmt: skip
