"""What keeps, or kept, a module from being loaded, and what asks for it: a boot, its needs, the configuration."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.image.snapshot import Device
from tinykmod.inspect.alias_fields import nearest_aliases
from tinykmod.inspect.cause import NOT_FATAL, Cause, said_of
from tinykmod.inspect.devices import served
from tinykmod.inspect.examine import translated
from tinykmod.inspect.place import Place
from tinykmod.kmod.commandline import blacklisted
from tinykmod.kmod.glob import glob
from tinykmod.kmod.modinfo import read_image
from tinykmod.kmod.names import encoded, module_name
from tinykmod.modules.tree import read_elf

#: How many devices are told of a module.
_MOST = 4
#: The words of lines, in the order in which they are told.
WORDS = ("because", "but", "note", "for", "near")


class Line(NamedTuple):
    """Something that was found out: `because` is what keeps it from working, `but` and `note` are worth knowing,
    `for` is what asks for it, `near` what nearly does."""

    word: str
    text: str


def of_boot(place: Place, name: str, causes: Sequence[Cause]) -> Iterator[Line]:
    """What the trace and the log tell of a load of the module, for which CAUSES were found to refuse it."""
    events = [event for event in place.loads if event["name"] == name]
    for event in events:
        if event["result"]:
            cause = translated(-event["result"], name, causes, place.log, place.kernel)
            number = errno.errorcode.get(-event["result"], str(event["result"]))
            yield Line("because", cause.text)
            yield Line("note", f"the kernel's answer was {number} ({os.strerror(-event['result'])})")
        else:
            yield Line("note", f"it took {event['dur'] / 1e6:.1f} ms ({event['why']} {event['by']})")
    for event in place.trace:
        if event["ev"] == "dropped" and event["name"] == name:
            yield Line("because", "the root was mounted before its turn came")
        elif event["ev"] == "left" and event["name"] == name:
            yield Line("because", "it was still in its init when the boot went on without it: it timed out")
    if place.trace and not events and not any(event.get("name") == name for event in place.trace):
        yield Line("note", "in the boot of the trace nothing asked for it")
    if not events and said_of(name, place.log):
        cause = translated(0, name, causes, place.log, place.kernel)
        yield Line("because" if cause.fatal and cause.kind not in NOT_FATAL else "note", cause.text)


def of_needs(place: Place, name: str, path: Path) -> Iterator[Line]:
    """The modules that it depends on, as modpost wrote them down, that are not there or would be refused."""
    seen, pending = {name}, [(name, path)]
    while pending:
        by, file = pending.pop()
        try:
            modinfo = read_elf(read_image(file), str(file)).modinfo
        except TinykmodError:
            continue
        depends = [word for key, value in modinfo if key == "depends" for word in value.split(",") if word]
        for needed in map(module_name, depends):
            if needed in seen:
                continue
            seen.add(needed)
            found = place.kernel.path(needed)
            of = "" if by == name else f", which {by} needs"
            if needed in place.kernel.builtin:
                continue
            if found is None:
                yield Line("because", f"it needs {needed}{of}, and this tree has no such module")
                continue
            if place.image is not None and needed not in place.image:
                yield Line("because", f"it needs {needed}{of}, which is not in {place.image_name}")
            wrong = [cause.text for cause in place.causes(needed, found) if cause.fatal]
            if wrong:
                yield Line("because", f"it needs {needed}{of}, which would be refused: {wrong[0]}")
            for line in forbidden(place, needed, by_name=True):
                # A blacklist does not count for what is needed.
                if line.word == "because":
                    yield Line("because", f"it needs {needed}{of}: {line.text}")
            pending.append((needed, found))


def forbidden(place: Place, name: str, *, by_name: bool) -> Iterator[Line]:
    """What modprobe.d and the kernel command line say against it. BY_NAME: it is asked for by its name."""
    command = next((item for item in place.config.installs if glob(encoded(item.module), encoded(name))), None)
    if command is not None:
        no = command.command.split()[:1] in (["/bin/false"], ["false"], ["/usr/bin/false"], ["/bin/true"], ["true"])
        yield Line("because" if no else "note", f"install {command.module} {command.command} at {command.where}")
    text = place.read("proc/cmdline")
    for word in place.kernel.command_line:
        if word.key == "module_blacklist" and word.value and name in map(module_name, word.value.split(",")):
            yield Line("because", "module_blacklist= on the kernel command line forbids it")
    for item in place.config.blacklist:
        if item.module == name:
            yield _blacklisted(f"blacklisted at {item.where}", by_name)
    if name in blacklisted(text):
        yield _blacklisted("blacklisted on the kernel command line", by_name)


def _blacklisted(text: str, by_name: bool) -> Line:
    return Line("but", f"{text}: no device loads it, modprobe by its name does") if by_name else Line("because", text)


def asking(place: Place, name: str, path: Path) -> Iterator[Line]:
    """The machine's devices that one of its aliases matches."""
    try:
        modinfo = read_elf(read_image(path), str(path)).modinfo
    except TinykmodError:
        return
    aliases = [value for key, value in modinfo if key == "alias"]
    found = served(name, aliases, place.devices)
    for device, alias in found[:_MOST]:
        of = f", bound to {device.driver}" if device.driver else ""
        yield Line("for", f"{device.path.rpartition('/')[2]}{of} (by {alias or 'no alias'})")
    if len(found) > _MOST:
        yield Line("for", f"and {len(found) - _MOST} devices more")
    if place.devices and not found and aliases:
        near = _near_devices(name, aliases, place.devices)
        yield Line("note", f"none of its {len(aliases)} aliases matches a device here{near}")
    if not aliases:
        yield Line("note", "it has no alias: it is loaded by name, or because another module needs it")


def _near_devices(name: str, aliases: Iterable[str], devices: Iterable[Device]) -> str:
    patterns = [(alias, name) for alias in aliases]
    for device in devices:
        near = nearest_aliases(device.modalias, patterns) if device.modalias else []
        if near and near[0].differs.count(", not ") == 1:
            return f"; nearest is {device.path.rpartition('/')[2]}: {near[0].differs}"
    return ""
