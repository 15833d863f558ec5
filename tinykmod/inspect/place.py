"""What there is to look at when it is asked why: a kernel, its configuration, a machine, an image, a boot."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod.image.snapshot import Device
from tinykmod.inspect.cause import Cause
from tinykmod.inspect.devices import running
from tinykmod.inspect.examine import examine
from tinykmod.inspect.kernel import Kernel
from tinykmod.inspect.names import Aliases
from tinykmod.kmod.commandline import parameters
from tinykmod.kmod.config import Config
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, module_name, normalise_modalias, normalise_pattern
from tinykmod.trace.events import Event

_MODULE = re.compile(r"(?:usr/)?lib/modules/[^/]+/.+\.ko(?:\.\w+)?")


class Match(NamedTuple):
    """A pattern that matches a device's modalias."""

    pattern: str
    module: str
    where: str = ""  # `, by FILE:LINE` for one of modprobe.d


@dataclass
class Place:
    """What there is to look at: a kernel, its configuration, and what is told of a boot of it."""

    kernel: Kernel
    config: Config
    log: list[str] = field(default_factory=list)
    trace: list[Event] = field(default_factory=list)
    image: frozenset[str] | None = None  # the names of the modules in the image that was asked about
    image_name: str = ""

    @cached_property
    def devices(self) -> tuple[Device, ...]:
        """Of the machine whose /sys is below the root; none where there is none."""
        try:
            return running(self.kernel.root).devices
        except OSError:
            return ()

    @cached_property
    def deferred(self) -> Mapping[str, str]:
        """The devices whose probe was put off, and the kernel's reason, which may be empty."""
        return {name: reason for line in self.read("sys/kernel/debug/devices_deferred").splitlines()
                for name, _, reason in [line.partition("\t")]}  # fmt: skip

    def read(self, place: str) -> str:
        """A file below the root; empty where it cannot be read."""
        try:
            return (self.kernel.root / place).read_text(errors="surrogateescape")
        except OSError:
            return ""

    @property
    def loads(self) -> list[Event]:
        """What was loaded, or was to be, in the boot of the trace."""
        return [event for event in self.trace if event["ev"] == "module"]

    def matches(self, modalias: str) -> list[Match]:
        """The modules that a modalias leads to, in kmod's order of lookup: the first that is not empty."""
        name = normalise_modalias(modalias)
        configured = [
            Match(item.pattern, item.module, f", by {item.where}")
            for item in self.config.aliases
            if glob(encoded(normalise_pattern(item.pattern)), encoded(name))
        ]
        tables = (list(table.matching(name)) for table in self._aliases)
        return configured or [Match(*found) for found in next(filter(None, tables), [])]

    @cached_property
    def _aliases(self) -> tuple[Aliases, ...]:
        return Aliases(self.kernel.aliases), Aliases(self.kernel.builtin_aliases)

    def causes(self, name: str, path: Path) -> Iterator[Cause]:
        """What a module's file would be refused for, given the parameters that it would get."""
        options = [item.text for item in self.config.options if item.module == name]
        options += [text for module, text in parameters(self.read("proc/cmdline")) if module == name]
        yield from examine(path.read_bytes(), str(path), self.kernel, " ".join(options))

    def device(self, word: str) -> Device | None:
        """The device that is meant: by its path in /sys or below /sys/devices, its bus's name, a node in /dev."""
        path = word.removeprefix(str(self.kernel.root).rstrip("/")) if word.startswith("/") else word
        if path.startswith("/dev/"):
            links = sorted(self.kernel.root.glob(f"sys/class/*/{Path(path).name}"))
            path = str(links[0].resolve()) if links else path
        elif path.startswith("/sys/"):
            path = str((self.kernel.root / path.lstrip("/")).resolve())
        _, inside, below = path.partition("/sys/devices/")
        if inside:
            # A node, or what has no driver of its own, is of the device that it sits behind.
            around = [device for device in self.devices if f"{below}/".startswith(f"{device.path}/")]
            return max(around, key=lambda device: len(device.path), default=None)
        ends = (f"/{word}", f":{word}") if re.fullmatch(r"[0-9a-f]{2}:[0-9a-f]{2}\.\d", word) else (f"/{word}",)
        return next((device for device in self.devices if f"/{device.path}".endswith(ends)), None)


def modules_in(paths: Iterable[str]) -> frozenset[str]:
    """The names of the modules among the paths in an image."""
    return frozenset(module_name(path) for path in paths if _MODULE.fullmatch(path))
