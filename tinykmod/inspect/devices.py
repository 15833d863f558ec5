"""A machine as far as modules are concerned: its devices and which of them an alias matches, and what is loaded."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from tinykmod.boot import snapshot as taking
from tinykmod.errors import ConfigError
from tinykmod.image import snapshot
from tinykmod.image.snapshot import Device
from tinykmod.kmod.glob import glob
from tinykmod.kmod.loaded import read_loaded
from tinykmod.kmod.names import encoded, normalise_modalias, normalise_pattern

#: Before this an alias is ordinary characters.
_SPECIAL = re.compile(r"[*?[\\]")
_BUS = re.compile(r"(?!devname:|symbol:)([\w-]+)\*?:")
#: Before the last character of a name there is no character of it.
_BEHIND = b"\xff"


class State(NamedTuple):
    """A module in the running kernel."""

    state: str  # live, coming, going; builtin
    size: int | None = None  # bytes; None as all of these: not known
    users: int | None = None
    holders: tuple[str, ...] = ()
    taint: str = ""  # letters of Documentation/admin-guide/tainted-kernels.rst


class Machine(NamedTuple):
    """The running system, a copy of its /sys and /proc, or a snapshot."""

    release: str
    cmdline: str
    devices: tuple[Device, ...]
    sysroot: Path | None  # None: a snapshot, of which no more is known than the names of its modules
    modules: Mapping[str, State]  # that are loaded

    def live(self, name: str) -> Path | None:
        """The directory of a module in /sys/module, if the kernel has it."""
        path = self.sysroot / "sys/module" / name if self.sysroot is not None else None
        return path if path is not None and path.is_dir() else None


class Served(NamedTuple):
    """A device, and the pattern of a module's aliases that matches it; empty where it is bound to it without one."""

    device: Device
    alias: str


def running(sysroot: Path) -> Machine:
    """The machine whose /sys and /proc are below SYSROOT. Raises OSError where there are none."""
    taken = snapshot.parse(taking.text(taking.take(sysroot)), str(sysroot))
    try:
        loaded = read_loaded(sysroot)
    except FileNotFoundError:  # a kernel without loadable modules
        loaded = []
    states = {
        each.name: State(each.state, each.size, each.refcount, each.holders, _taint(sysroot, each.name))
        for each in loaded
    }
    return Machine(taken.release, taken.cmdline, taken.devices, sysroot, states)


def snapped(word: str) -> Machine | None:
    """The machine of a snapshot's file, or of a ready-made one's name; None for `generic`.

    Raises OSError, SnapshotError.
    """
    taken = snapshot.chosen(word)
    if taken is None:
        return None
    return Machine(taken.release, taken.cmdline, taken.devices, None, {name: State("live") for name in taken.modules})


def served(name: str, aliases: Iterable[str], devices: Iterable[Device]) -> list[Served]:
    """The devices that one of a module's aliases matches, or that it drives, by their paths."""
    known = sorted((encoded(normalise_modalias(device.modalias)), device.path, device) for device in devices)
    texts = [text for text, *_ in known]
    found = {device.path: Served(device, "") for *_, device in known if device.module == name}
    for alias in aliases:
        try:
            pattern = normalise_pattern(alias)
        except ConfigError:
            continue
        head = encoded(_SPECIAL.split(pattern, maxsplit=1)[0])
        for text, path, device in known[bisect_left(texts, head) : bisect_left(texts, head + _BEHIND)]:
            if text and glob(encoded(pattern), text) and not found.get(path, Served(device, "")).alias:
                found[path] = Served(device, alias)
    return [found[path] for path in sorted(found)]


def by_bus(aliases: Iterable[str]) -> dict[str, list[str]]:
    """The aliases by their bus, the largest first; those that no device has, as `fs-ext4`, are under ``."""
    groups: dict[str, list[str]] = {}
    for alias in aliases:
        bus = _BUS.match(alias)
        groups.setdefault(bus[1] if bus else "", []).append(alias)
    return dict(sorted(groups.items(), key=lambda item: (not item[0], -len(item[1]), item[0])))


def _taint(sysroot: Path, name: str) -> str:
    try:
        return (sysroot / "sys/module" / name / "taint").read_text().strip()
    except OSError:
        return ""
