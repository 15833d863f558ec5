"""Whether the device that `root=` names is there. The loader reads disks for that; here udev has, where it runs."""

from __future__ import annotations

import os
import re
from pathlib import Path

from tinykmod.errors import TinykmodError

_TAGS = ("uuid", "label", "partuuid", "partlabel")


class RootDevice:
    """The device that SPEC, one of the forms of `root=`, is about.

    Raises TinykmodError for a form that is not known, and for one that needs udev where no udev runs.
    """

    def __init__(self, spec: str, base: Path = Path("/")) -> None:
        self.spec = spec
        self._base = base
        self._place, self._value = _parse(spec)
        if self._place in _TAGS and not (base / "run/udev/control").exists():
            raise TinykmodError(spec, "is told by udev's links, and no udev runs here; the loader program needs none")

    def find(self) -> str | None:
        """The kernel's name of the device; None while it is not there."""
        if self._place == "name":
            path = self._base / "sys/class/block" / self._value.replace("/", "!")
            return path.name if path.exists() else None
        if self._place == "number":
            path = self._base / "sys/dev/block" / self._value
            return path.readlink().name if path.is_symlink() else None
        directory = self._base / "dev/disk" / f"by-{self._place}"
        for entry in sorted(directory.iterdir()) if directory.is_dir() else ():
            if self._same(_unescaped(entry.name)):
                return entry.readlink().name
        return None

    def filesystem(self) -> str:
        """The type that udev has found on the device; empty where it has none, or does not run."""
        name = self.find()
        try:
            number = (self._base / "sys/class/block" / str(name) / "dev").read_text().strip()
            data = (self._base / "run/udev/data" / f"b{number}").read_text(errors="surrogateescape")
        except OSError:
            return ""
        found = re.search(r"^E:ID_FS_TYPE=(.*)$", data, re.MULTILINE)
        return found[1] if found else ""

    def _same(self, name: str) -> bool:
        if self._place.endswith("uuid"):
            return name.lower() == self._value.lower()
        return name in (self._value, _unescaped(self._value))


def _parse(spec: str) -> tuple[str, str]:
    """Where to look, and for what."""
    for tag in _TAGS:
        for prefix in (f"{tag.upper()}=", f"/dev/disk/by-{tag}/"):
            value = spec.removeprefix(prefix)
            if value != spec and value and "/PARTNROFF=" not in value:
                return tag, value[1:-1] if re.fullmatch('".+"', value) else value
    if spec.startswith("/dev/") and spec != "/dev/" and not spec.startswith("/dev/disk/"):
        return "name", spec.removeprefix("/dev/")
    if re.fullmatch(r"\d+:\d+", spec):
        return "number", spec
    if re.fullmatch("[0-9a-fA-F]{1,8}", spec):
        number = int(spec, 16)
        # The kernel's name_to_dev_t(): 12 bits major, 20 bits minor.
        return "number", f"{number >> 8 & 0xFFF}:{(number & 0xFF) | (number >> 12 & 0xFFF00)}"
    raise TinykmodError(spec, "no form of root= that is known here")


def _unescaped(text: str) -> str:
    """A name without udev's escapes, which are of bytes."""
    raw = os.fsencode(text)
    return os.fsdecode(re.sub(rb"\\x([0-9a-fA-F]{2})", lambda match: bytes([int(match[1], 16)]), raw))
