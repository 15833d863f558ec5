"""A module's parameters: what it says of them, and what they are now (/sys/module/NAME/parameters)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tinykmod.kmod import modinfo
from tinykmod.kmod.modinfo import Field


class Parameter(NamedTuple):
    """One parameter. What is not known, or not told, is None."""

    name: str
    type: str | None  # as modinfo writes it: int, bool, charp, array of uint, ...
    description: str | None
    value: str | None = None  # now; None also where only root may read it
    writable: bool | None = None  # while it is loaded; None where sysfs does not have it


def parameters(fields: Iterable[Field], live: Path | None = None) -> list[Parameter]:
    """The parameters that .modinfo's FIELDS tell, in the file's order.

    LIVE is the directory in /sys/module of the module where it is loaded.
    """
    told = reversed(modinfo.parameters(fields)[0])
    return [_with_value(Parameter(each.name, each.type, each.description), live) for each in told]


def _with_value(parameter: Parameter, live: Path | None) -> Parameter:
    if live is None:
        return parameter
    file = live / "parameters" / parameter.name
    try:
        writable = bool(file.stat().st_mode & 0o222)
    except OSError:
        return parameter
    try:
        value = file.read_text(errors="surrogateescape").removesuffix("\n")
    except OSError:
        value = None
    return parameter._replace(value=value, writable=writable)
