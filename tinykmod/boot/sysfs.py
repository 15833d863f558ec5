"""The devices of a /sys tree: the twin of the walk in cext/core/device.pxi."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from tinykmod.errors import TinykmodError


def modaliases(sysroot: Path = Path("/")) -> Iterator[str]:
    """What the kernel calls each device of each bus below SYSROOT/sys/bus for drivers, in the directories' own order.

    /sys/bus is flat, so it is one read a device. One without a modalias, or that vanishes meanwhile, is left out.
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
            if modalias := _fields(Path(entry.path, "uevent")).get("MODALIAS"):
                yield modalias


def _fields(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(errors="surrogateescape")
    except OSError:
        return {}
    return {key: value for key, equals, value in (line.partition("=") for line in text.split("\n")) if equals}
