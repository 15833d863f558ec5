"""Why a module is, is not or would not be loaded, and why a device has the driver that it has, or none."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod.boot import snapshot as taking
from tinykmod.errors import TinykmodError
from tinykmod.image import snapshot
from tinykmod.image.snapshot import Device
from tinykmod.inspect.alias_fields import nearest_aliases
from tinykmod.inspect.cause import Cause, explain, said_of
from tinykmod.inspect.examine import examine
from tinykmod.inspect.kernel import Kernel, read_module
from tinykmod.kmod.commandline import blacklisted, parameters
from tinykmod.kmod.config import Config
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, module_name, normalise_modalias, normalise_pattern
from tinykmod.modules.tree import read_elf
from tinykmod.nearest import hint
from tinykmod.trace.events import Event

_MODULE = re.compile(r"(?:usr/)?lib/modules/[^/]+/.+\.ko(?:\.\w+)?")
#: How many devices are told of a module.
_MOST = 4


class Line(NamedTuple):
    """Something that was found out: `because` is what keeps it from working, `but` and `note` are worth knowing,
    `for` is what asks for it, `near` what nearly does."""

    word: str
    text: str


class Verdict(NamedTuple):
    """What became, or would become, of a module or a device."""

    about: str  # what was asked for
    text: str  # `is loaded`, `would not be loaded`, ...
    good: bool
    lines: list[Line]


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
            return snapshot.parse(taking.text(taking.take(self.kernel.root)), str(self.kernel.root)).devices
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


def why(place: Place, word: str) -> list[Verdict]:
    """What is asked for by WORD: a module's file, name or alias, a device, or a device's modalias.

    Raises TinykmodError for a word that is none of these, with the nearest names.
    """
    if ".ko" in word and Path(word).is_file():
        return [why_module(place, module_name(word), Path(word))]
    device, name = _device(place, word), module_name(word)
    found = [why_device(place, device)] if device is not None else []
    # pcspkr is both.
    if "/" not in word and (name in place.kernel.names or name in place.kernel.builtin):
        found.insert(0, why_module(place, name))
    if found:
        return found
    if ":" in word:
        return [why_modalias(place, word)]
    served = [found.module for found in _served(place, word)]
    if served:
        return [why_module(place, name) for name in dict.fromkeys(served)]
    near = hint(name, place.kernel.names | place.kernel.builtin)
    raise TinykmodError(word, f"no module, alias or device of {place.kernel.release} below {place.kernel.root}{near}")


def why_module(place: Place, name: str, file: Path | None = None) -> Verdict:
    """Of one module of the tree, or of a file for it. Raises TinykmodError, OSError."""
    kernel = place.kernel
    path = file or kernel.path(name)
    if path is None:
        return Verdict(name, f"is built into {kernel.release}: there is nothing to load", True, [])
    lines = list(_of_boot(place, name, path))
    causes = list(_causes(place, name, path))
    told = {line.text for line in lines}
    lines += [Line("because" if cause.fatal else "note", cause.line) for cause in causes if cause.text not in told]
    lines += _needs(place, name, path)
    lines += _forbidden(place, name, by_name=True)
    if place.image is not None and name not in place.image and file is None:
        lines.append(Line("because", f"it is not in {place.image_name}"))
    state = kernel.state_of(name)
    if state:
        lines = [line._replace(word="but") if line.word == "because" else line for line in lines]
    bad = any(line.word == "because" for line in lines)
    asked = list(_asking(place, name, path))
    lines += asked
    failed = any(event["name"] == name and event["result"] for event in _loads(place))
    loaded = any(event["name"] == name and not event["result"] for event in _loads(place))
    where = f"{name} ({_below(path, kernel)})"
    if state:
        return Verdict(where, {"live": "is loaded", "coming": "is still in its init"}.get(state, f"is {state}"),
                       state == "live", lines)  # fmt: skip
    if failed:
        return Verdict(where, "was not loaded", False, lines)
    if loaded:
        return Verdict(where, "was loaded", True, lines)
    if bad:
        return Verdict(where, "would not be loaded", False, lines)
    if any(line.word == "for" for line in asked) or not place.devices:
        return Verdict(where, "would be loaded" if place.devices else "can be loaded", True, lines)
    return Verdict(where, "can be loaded, but no device of this machine asks for it", True, lines)


def why_device(place: Place, device: Device) -> Verdict:
    """Of a device of the machine. Raises TinykmodError, OSError."""
    name = device.path.rpartition("/")[2]
    about = f"{name} ({device.path})"
    verdict = why_modalias(place, device.modalias) if device.modalias else None
    lines = verdict.lines if verdict else [Line("because", "it has no modalias: nothing can be found for it")]
    if device.driver:
        of = f" of the module {device.module}" if device.module and device.module != device.driver else ""
        others = [found.module for found in _served(place, device.modalias) if found.module != device.module]
        lines = [Line("but", f"{other} matches it as well: the driver that came first has it")
                 for other in dict.fromkeys(others) if device.module]  # fmt: skip
        return Verdict(about, f"is bound to {device.driver}{of}", True, lines)
    if name in place.deferred:
        reason = place.deferred[name]
        lines.insert(0, Line("because", f"its probe was put off: {reason or 'the kernel gives no reason'}"))
    if device.waiting:
        lines.insert(0, Line("because", "it waits for a supplier that has not appeared"))
    known = {each.path: each for each in place.devices}
    for path in device.suppliers:
        if path not in known or not known[path].driver:
            lines.insert(0, Line("because", f"it waits for {path}, which has no driver"))
    candidates = dict.fromkeys(found.module for found in _served(place, device.modalias))
    for candidate in candidates:
        if place.kernel.state_of(candidate) == "live":
            lines.append(Line("but", f"{candidate} is loaded, and has not bound to it"))
    words = [text for text in place.log if re.search(rf"{re.escape(name)}\b.*(fail|error -\d+)", text)]
    lines += [Line("because", f"the kernel's log: {text}") for text in words[-2:]]
    return Verdict(about, "has no driver", False, lines)


def why_modalias(place: Place, modalias: str) -> Verdict:
    """Of what a device is called. Raises TinykmodError, OSError."""
    found = _served(place, modalias)
    if not found:
        aliases = [*place.kernel.aliases, *place.kernel.builtin_aliases]
        near = [Line("near", str(each)) for each in nearest_aliases(modalias, aliases)]
        why = f"no alias of {place.kernel.release}'s {len(place.kernel.names)} modules matches"
        return Verdict(modalias, "no driver", False, [Line("because", why), *near])
    lines: list[Line] = []
    good = False
    for match in dict.fromkeys(found):
        if match.module in place.kernel.builtin:
            good = True
            lines.append(Line("for", f"{match.module}, which is built in, has {match.pattern}"))
            continue
        lines.append(Line("for", f"{match.module} has {match.pattern}{match.where}"))
        verdict = why_module(place, match.module) if match.module in place.kernel.names else None
        if verdict is None:
            lines.append(Line("because", f"there is no module {match.module} in this tree"))
            continue
        wrong = [line for line in verdict.lines if line.word == "because"]
        wrong += _forbidden(place, match.module, by_name=False)
        lines += [line._replace(text=f"{match.module}: {line.text}") for line in dict.fromkeys(wrong)]
        good = good or not wrong
    names = ", ".join(dict.fromkeys(match.module for match in found))
    return Verdict(modalias, f"would load {names}" if good else f"would not get {names}", good, lines)


class _Match(NamedTuple):
    pattern: str
    module: str
    where: str = ""


def _served(place: Place, modalias: str) -> list[_Match]:
    """The modules that a modalias leads to, in kmod's order of lookup: the first that is not empty."""
    text = encoded(normalise_modalias(modalias))
    configured = [
        _Match(item.pattern, item.module, f", by {item.where}")
        for item in place.config.aliases
        if glob(encoded(normalise_pattern(item.pattern)), text)
    ]
    for aliases in (place.kernel.aliases, place.kernel.builtin_aliases):
        if configured:
            break
        configured = [_Match(pattern, name) for pattern, name in aliases
                      if pattern[:3] == modalias[:3] and glob(encoded(pattern), text)]  # fmt: skip
    return configured


def _causes(place: Place, name: str, path: Path) -> Iterator[Cause]:
    options = [item.text for item in place.config.options if item.module == name]
    options += [text for module, text in parameters(place.read("proc/cmdline")) if module == name]
    yield from examine(path.read_bytes(), str(path), place.kernel, " ".join(options))


def _of_boot(place: Place, name: str, path: Path) -> Iterator[Line]:
    """What the trace and the log tell of a load of the module, the cause of a failure first."""
    events = [event for event in _loads(place) if event["name"] == name]
    for event in events:
        if event["result"]:
            cause = explain(-event["result"], name, _causes(place, name, path), place.log)
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
        yield Line("because", explain(0, name, _causes(place, name, path), place.log).text)


def _loads(place: Place) -> list[Event]:
    return [event for event in place.trace if event["ev"] == "module"]


def _needs(place: Place, name: str, path: Path) -> Iterator[Line]:
    """The modules that it depends on, as modpost wrote them down, that are not there or would be refused."""
    seen, pending = {name}, [(name, path)]
    while pending:
        by, file = pending.pop()
        try:
            modinfo = read_elf(read_module(file), str(file)).modinfo
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
            wrong = [cause.text for cause in _causes(place, needed, found) if cause.fatal]
            if wrong:
                yield Line("because", f"it needs {needed}{of}, which would be refused: {wrong[0]}")
            for line in _forbidden(place, needed, by_name=True):
                yield Line("because", f"it needs {needed}{of}: {line.text}")
            pending.append((needed, found))


def _forbidden(place: Place, name: str, *, by_name: bool) -> Iterator[Line]:
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


def _asking(place: Place, name: str, path: Path) -> Iterator[Line]:
    """The machine's devices that one of its aliases matches."""
    try:
        modinfo = read_elf(read_module(path), str(path)).modinfo
    except TinykmodError:
        return
    aliases = [value for key, value in modinfo if key == "alias"]
    found = [
        (device, alias) for device in place.devices if device.modalias for alias in aliases
        if alias[:3] == device.modalias[:3]
        and glob(encoded(alias.replace("-", "_")), encoded(normalise_modalias(device.modalias)))
    ]  # fmt: skip
    for device, alias in found[:_MOST]:
        of = f", bound to {device.driver}" if device.driver else ""
        yield Line("for", f"{device.path.rpartition('/')[2]}{of} (by {alias})")
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


def _device(place: Place, word: str) -> Device | None:
    """The device that is meant: its path in /sys or below /sys/devices, its name on its bus, or a node in /dev."""
    path = word.removeprefix(str(place.kernel.root).rstrip("/")) if word.startswith("/") else word
    if path.startswith("/dev/"):
        links = sorted(place.kernel.root.glob(f"sys/class/*/{Path(path).name}"))
        path = str(links[0].resolve()) if links else path
    elif path.startswith("/sys/"):
        path = str((place.kernel.root / path.lstrip("/")).resolve())
    _, inside, below = path.partition("/sys/devices/")
    if inside:
        # A node, or what has no driver of its own, is of the device that it sits behind.
        around = [device for device in place.devices if f"{below}/".startswith(f"{device.path}/")]
        return max(around, key=lambda device: len(device.path), default=None)
    ends = (f"/{word}", f":{word}") if re.fullmatch(r"[0-9a-f]{2}:[0-9a-f]{2}\.\d", word) else (f"/{word}",)
    return next((device for device in place.devices if f"/{device.path}".endswith(ends)), None)


def modules_in(paths: Iterable[str]) -> frozenset[str]:
    """The names of the modules among the paths in an image."""
    return frozenset(module_name(path) for path in paths if _MODULE.fullmatch(path))


def _below(path: Path, kernel: Kernel) -> str:
    try:
        return f"{kernel.release}, {path.relative_to(kernel.directory)}"
    except ValueError:
        return str(path)
