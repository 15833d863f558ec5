"""Reads snapshots of machines (docs/snapshot.md), strictly: what a later part relies on is checked here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any

from tinykmod.boot import snapshot
from tinykmod.errors import SnapshotError


@dataclass(frozen=True)
class Device:
    """A device of some bus. `path` is below /sys/devices; what there is none of is empty."""

    path: str
    bus: str
    modalias: str = ""
    driver: str = ""
    #: That of the driver; the kernel does not tell it of every driver, nor of those that it has built in.
    module: str = ""
    #: The paths of devices that this one waits for.
    suppliers: tuple[str, ...] = ()
    #: A supplier of this one has not appeared yet.
    waiting: bool = False


@dataclass(frozen=True)
class Block:
    """A kernel's name of a block device (or of an NVMe controller), or of a display's card, and the device's path."""

    name: str
    path: str


@dataclass(frozen=True)
class Root:
    """What is mounted on /; `blocks` is its device with those that it is made of."""

    source: str
    type: str
    blocks: tuple[Block, ...]
    uuid: str = ""
    label: str = ""
    partuuid: str = ""


@dataclass(frozen=True)
class Snapshot:
    """A machine. `modules` are those that were loaded; a display's path is the device's that the card is of."""

    release: str
    arch: str
    cmdline: str
    modules: tuple[str, ...]
    root: Root | None
    displays: tuple[Block, ...]
    devices: tuple[Device, ...]
    #: How the kernel was locked down: none, integrity, confidentiality; empty where that is not known.
    lockdown: str = ""

    @cached_property
    def _by_path(self) -> dict[str, Device]:
        return {device.path: device for device in self.devices}

    def behind(self, paths: Iterable[str]) -> list[Device]:
        """The devices on PATHS, those that they sit behind, and the suppliers of all of them, outermost first."""
        found: dict[str, Device] = {}
        pending, seen = list(paths), set()
        while pending:
            path = pending.pop()
            for place in (path, *map(str, PurePosixPath(path).parents)):
                if place not in seen:
                    seen.add(place)
                    if place in self._by_path:
                        found[place] = self._by_path[place]
                        pending += found[place].suppliers
        return [found[path] for path in sorted(found)]


def host() -> Snapshot:
    """The running system's. Raises OSError where it has no /sys."""
    return parse(snapshot.text(snapshot.take()), "host")


#: Ready-made snapshots, of kinds of machines.
MACHINES = Path(__file__).parent / "machines"


def profiles() -> list[str]:
    """The names of the ready-made snapshots."""
    return sorted(path.stem for path in MACHINES.glob("*.json"))


def chosen(word: str) -> Snapshot | None:
    """What `generic`, `host`, the name of a ready-made snapshot or a file's path stands for.

    Raises SnapshotError, and OSError.
    """
    if word == "generic":
        return None
    if word == "host":
        return host()
    return read(MACHINES / f"{word}.json" if word in profiles() else Path(word))


def read(path: Path) -> Snapshot:
    """Raises SnapshotError, and OSError."""
    try:
        text = path.read_text("ascii")
    except UnicodeDecodeError as error:
        raise SnapshotError(path, f"no snapshot: byte {error.start} is not ASCII") from None
    return parse(text, str(path))


def parse(text: str, which: str) -> Snapshot:
    """The snapshot in TEXT. Raises SnapshotError(WHICH, ...) with what is wrong and where."""
    try:
        data = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        where = f"line {error.lineno}: {error.msg}" if isinstance(error, json.JSONDecodeError) else "too deep"
        raise SnapshotError(which, f"cut short or no JSON: {where}") from None
    if not isinstance(data, dict) or snapshot.MARK not in data:
        raise SnapshotError(which, f"no snapshot: it has no {snapshot.MARK}")
    if data[snapshot.MARK] != snapshot.VERSION:
        raise SnapshotError(which, f"version {data[snapshot.MARK]!r}, this tinykmod reads {snapshot.VERSION}")
    fields = _Fields(which, "", data)
    root = fields.member("root")
    return Snapshot(
        release=fields.text("release"),
        arch=fields.text("arch"),
        cmdline=fields.text("cmdline"),
        modules=fields.texts("modules"),
        root=None if root is None else Root(
            source=root.text("source"),
            type=root.text("type"),
            blocks=tuple(map(_block, root.objects("blocks"))),
            **{key: root.text(key, "") for key in ("uuid", "label", "partuuid")},
        ),
        displays=tuple(map(_block, fields.objects("displays"))),
        devices=tuple(map(_device, fields.objects("devices"))),
        lockdown=fields.text("lockdown", ""),
    )  # fmt: skip


def _block(fields: _Fields) -> Block:
    return Block(fields.text("name"), fields.path("path"))


def _device(fields: _Fields) -> Device:
    return Device(
        fields.path("path"),
        fields.text("bus"),
        **{key: fields.text(key, "") for key in ("modalias", "driver", "module")},
        suppliers=fields.paths("suppliers"),
        waiting=fields.flag("waiting"),
    )


class _Fields:
    """The members of one object, each as what it has to be. PLACE is where the object is, for messages."""

    def __init__(self, which: str, place: str, members: dict[str, Any]) -> None:
        self._which, self._place, self._members = which, place, members

    def text(self, key: str, default: str | None = None) -> str:
        value = self._members.get(key, default)
        if not _is_text(value):
            raise self._wrong(key, "a text of one line", value)
        return str(value)

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._members.get(key)
        if not isinstance(value, list) or not all(map(_is_text, value)):
            raise self._wrong(key, "a list of texts", value)
        return tuple(value)

    def path(self, key: str) -> str:
        return self._checked(key, self.text(key))

    def paths(self, key: str) -> tuple[str, ...]:
        return tuple(self._checked(key, path) for path in self.texts(key)) if key in self._members else ()

    def flag(self, key: str) -> bool:
        value = self._members.get(key, False)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def member(self, key: str) -> _Fields | None:
        """None for null, which has to be there."""
        value = self._members.get(key, ...)
        if value is not None and not isinstance(value, dict):
            raise self._wrong(key, "an object or null", value)
        return None if value is None else _Fields(self._which, f"{self._place}{key}.", value)

    def objects(self, key: str) -> Iterator[_Fields]:
        value = self._members.get(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list of objects", value)
        for number, entry in enumerate(value):
            if not isinstance(entry, dict):
                raise self._wrong(f"{key}[{number}]", "an object", entry)
            yield _Fields(self._which, f"{self._place}{key}[{number}].", entry)

    def _checked(self, key: str, path: str) -> str:
        parts = path.split("/")
        if not all(parts) or ".." in parts or "." in parts:
            raise self._wrong(key, "a path below /sys/devices", path)
        return path

    def _wrong(self, key: str, wanted: str, value: object) -> SnapshotError:
        is_there = "missing" if value in (None, ...) else f"{str(value)[:40]!r}, not {wanted}"
        return SnapshotError(self._which, f"damaged: {self._place}{key} is {is_there}")


def _is_text(value: object) -> bool:
    """Whether it is a text of one line that can be written as the bytes which it stands for."""
    if not isinstance(value, str) or set(value) & set("\0\n"):
        return False
    try:
        value.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        return False
    return True
