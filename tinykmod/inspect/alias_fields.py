"""What a device's modalias and an alias pattern have in common, field by field (scripts/mod/file2alias.c)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, normalise_modalias
from tinykmod.nearest import nearest as by_spelling

#: The fields of a bus's modaliases in their order: the letters in front of each, and what it is.
_FIELDS = {
    "pci": (("v", "vendor"), ("d", "device"), ("sv", "subsystem vendor"), ("sd", "subsystem device"),
            ("bc", "class"), ("sc", "subclass"), ("i", "interface")),
    "usb": (("v", "vendor"), ("p", "product"), ("d", "release"), ("dc", "device class"), ("dsc", "device subclass"),
            ("dp", "device protocol"), ("ic", "interface class"), ("isc", "interface subclass"),
            ("ip", "interface protocol"), ("in", "interface number")),
    "virtio": (("d", "device"), ("v", "vendor")),
    "hid": (("b", "bus"), ("g", "group"), ("v", "vendor"), ("p", "product")),
    "sdio": (("c", "class"), ("v", "vendor"), ("d", "device")),
    "ssb": (("v", "vendor"), ("id", "core"), ("rev", "revision")),
    "bcma": (("m", "manufacturer"), ("id", "core"), ("rev", "revision"), ("cl", "class")),
    "serio": (("ty", "type"), ("pr", "protocol"), ("id", "id"), ("ex", "extra")),
}  # fmt: skip
_FORMS = {
    bus: re.compile(rf"{bus}:" + "".join(rf"{letters}([0-9A-F*?\[\]-]*)" for letters, _ in fields))
    for bus, fields in _FIELDS.items()
}
#: How many patterns are told.
_MOST = 3


class Near(NamedTuple):
    """A pattern that nearly matches."""

    pattern: str
    module: str
    differs: str  # `vendor 1AF4, not 1AF5`; empty for a bus whose fields are not known here

    def __str__(self) -> str:
        return f"{self.pattern} of {self.module}" + (f" ({self.differs})" if self.differs else "")


def nearest_aliases(modalias: str, aliases: Iterable[tuple[str, str]]) -> list[Near]:
    """The patterns of ALIASES (normalised) that differ least from what a device is called, one of each module."""
    text = normalise_modalias(modalias)
    bus = text.partition(":")[0]
    same = [(pattern, module) for pattern, module in aliases if pattern.startswith(f"{bus}:")]
    form = _FORMS.get(bus)
    own = form.match(text) if form else None
    if form is None or own is None:
        return _by_spelling(text, same)
    ranked = []
    for pattern, module in same:
        theirs = form.match(pattern)
        if theirs is None:
            continue
        # A field that may be anything is neither alike nor different.
        said = [number for number, value in enumerate(theirs.groups(), 1) if value.strip("*")]
        differ = [number for number in said if not glob(encoded(theirs[number]), encoded(own[number]))]
        if differ and len(differ) < len(said):
            names = [_FIELDS[bus][number - 1][1] for number in differ]
            told = ", ".join(f"{name} {theirs[number].rstrip('*')}, not {own[number]}"
                             for name, number in zip(names, differ, strict=True))  # fmt: skip
            far = sum(_distance(theirs[number], own[number]) for number in differ)
            ranked.append((len(differ), len(differ) - len(said), far, Near(pattern, module, told)))
    ranked.sort(key=lambda each: each[:3])
    least = ranked[0][0] if ranked else 0
    return _one_each(near for differ, *_, near in ranked if differ == least)


def _distance(one: str, other: str) -> int:
    """How far apart two numbers are; as far as can be where either is none."""
    try:
        return abs(int(one, 16) - int(other, 16))
    except ValueError:
        return 1 << 32


def _by_spelling(text: str, aliases: Iterable[tuple[str, str]]) -> list[Near]:
    known = dict(aliases)
    return _one_each(Near(pattern, known[pattern], "") for pattern in by_spelling(text, known))


def _one_each(found: Iterable[Near]) -> list[Near]:
    chosen: dict[str, Near] = {}
    for near in found:
        chosen.setdefault(near.module, near)
    return list(chosen.values())[:_MOST]
