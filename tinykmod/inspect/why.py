"""Why a module is, is not or would not be loaded, and why a device has the driver that it has, or none."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.image.snapshot import Device
from tinykmod.inspect.alias_fields import nearest_aliases
from tinykmod.inspect.cause import shortened
from tinykmod.inspect.hindrances import WORDS, Line, asking, forbidden, of_boot, of_needs
from tinykmod.inspect.kernel import Kernel
from tinykmod.inspect.place import Place
from tinykmod.kmod.names import module_name
from tinykmod.nearest import hint


class Verdict(NamedTuple):
    """What became, or would become, of a module or a device."""

    about: str  # what was asked for
    text: str  # `is loaded`, `would not be loaded`, ...
    good: bool
    lines: list[Line]


def why(place: Place, word: str) -> list[Verdict]:
    """What is asked for by WORD: a module's file, name or alias, a device, or a device's modalias.

    Raises TinykmodError for a word that is none of these, with the nearest names.
    """
    if ".ko" in word and Path(word).is_file():
        return [why_module(place, module_name(word), Path(word))]
    device, name = place.device(word), module_name(word)
    found = [why_device(place, device)] if device is not None else []
    # pcspkr is both.
    if "/" not in word and (name in place.kernel.names or name in place.kernel.builtin):
        found.insert(0, why_module(place, name))
    if found:
        return found
    if ":" in word:
        return [why_modalias(place, word)]
    if named := [match.module for match in place.matches(word)]:
        return [why_module(place, name) for name in dict.fromkeys(named)]
    near = hint(name, place.kernel.names | place.kernel.builtin)
    raise TinykmodError(word, f"no module, alias or device of {place.kernel.release} below {place.kernel.root}{near}")


def why_module(place: Place, name: str, file: Path | None = None) -> Verdict:
    """Of one module of the tree, or of a file for it. Raises TinykmodError, OSError."""
    kernel = place.kernel
    path = file or kernel.path(name)
    if path is None and name in kernel.builtin:
        return Verdict(name, f"is built into {kernel.release}: there is nothing to load", True, [])
    if path is None:
        return Verdict(name, "would not be loaded", False, [Line("because", "there is no such module in this tree")])
    causes = list(place.causes(name, path))
    lines = list(of_boot(place, name, causes))
    told = tuple(line.text for line in lines)
    lines += [Line("because" if cause.fatal else "note", cause.line) for cause in shortened(causes)
              if not any(text.startswith(cause.text) for text in told)]  # fmt: skip
    lines += of_needs(place, name, path)
    lines += forbidden(place, name, by_name=True)
    if place.read("proc/sys/kernel/modules_disabled").strip() == "1":
        lines.append(Line("because", "the kernel takes no more modules until it is started anew (modules_disabled)"))
    if place.image is not None and name not in place.image and file is None:
        lines.append(Line("because", f"it is not in {place.image_name}"))
    state = kernel.state_of(name)
    if state:
        lines = [line._replace(word="but") if line.word == "because" else line for line in lines]
    bad = any(line.word == "because" for line in lines)
    asked = list(asking(place, name, path))
    lines = _ordered([*lines, *asked])
    failed = any(event["name"] == name and event["result"] for event in place.loads)
    loaded = any(event["name"] == name and not event["result"] for event in place.loads)
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
        others = [found.module for found in place.matches(device.modalias) if found.module != device.module]
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
    candidates = dict.fromkeys(found.module for found in place.matches(device.modalias))
    for candidate in candidates:
        if place.kernel.state_of(candidate) == "live":
            lines.append(Line("but", f"{candidate} is loaded, and has not bound to it"))
    words = [text for text in place.log if re.search(rf"{re.escape(name)}\b.*(fail|error -\d+)", text)]
    lines += [Line("because", f"the kernel's log: {text}") for text in words[-2:]]
    return Verdict(about, "has no driver", False, _ordered(lines))


def why_modalias(place: Place, modalias: str) -> Verdict:
    """Of what a device is called. Raises TinykmodError, OSError."""
    found = place.matches(modalias)
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
        wrong += forbidden(place, match.module, by_name=False)
        lines += [line._replace(text=f"{match.module}: {line.text}") for line in dict.fromkeys(wrong)]
        good = good or not wrong
    names = ", ".join(dict.fromkeys(match.module for match in found))
    return Verdict(modalias, f"would load {names}" if good else f"would not get {names}", good, _ordered(lines))


def _ordered(lines: Iterable[Line]) -> list[Line]:
    """Each once, by its word."""
    return sorted(dict.fromkeys(lines), key=lambda line: WORDS.index(line.word))


def _below(path: Path, kernel: Kernel) -> str:
    try:
        return f"{kernel.release}, {path.relative_to(kernel.directory)}"
    except ValueError:
        return str(path)
