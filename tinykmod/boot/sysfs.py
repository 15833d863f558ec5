"""The devices of a /sys tree: the twin of the walk in cext/core/device.pxi."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError


class Device(NamedTuple):
    """One device of a bus: its place below /sys, and the fields of its `uevent` file."""

    path: str
    uevent: dict[str, str]

    @property
    def modalias(self) -> str:
        """What the kernel calls it for drivers; empty where it has no modalias."""
        return self.uevent.get("MODALIAS", "")


def devices(sysroot: Path = Path("/")) -> Iterator[Device]:
    """Every device of every bus below SYSROOT/sys/bus, in the directories' own order.

    /sys/bus is flat, so it is one read a device. A device that vanishes meanwhile has no fields.
    Raises TinykmodError where there is no such tree.
    """
    buses = sysroot / "sys" / "bus"
    if not buses.is_dir():
        raise TinykmodError(buses, "no such directory; is it a /sys tree?")
    for bus in os.scandir(buses):
        try:
            found = list(os.scandir(buses / bus.name / "devices"))
        except OSError:
            continue
        for entry in found:
            yield Device(f"/bus/{bus.name}/devices/{entry.name}", _fields(Path(entry.path, "uevent")))


def _fields(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError:
        return {}
    return {key: value for key, equals, value in (line.partition("=") for line in text.splitlines()) if equals}
