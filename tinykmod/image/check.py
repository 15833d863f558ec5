"""Whether a machine would find its root and its displays with an image: told before the machine is booted with it."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.archive import read_image, unpack
from tinykmod.image.host import made_of_others
from tinykmod.image.reasons import File, file_of
from tinykmod.image.snapshot import Device, Root, Snapshot
from tinykmod.index.reader import Index
from tinykmod.index.records import Match, Step
from tinykmod.index.schema import FORBIDDEN
from tinykmod.index.schema import Root as Matcher
from tinykmod.modules.driver_class import DriverClass

#: uname -m -> e_machine (elf.h).
ELF_MACHINES = {
    "x86_64": 62, "i686": 3, "aarch64": 183, "armv7l": 40, "riscv64": 243, "ppc64": 21, "ppc64le": 21, "s390x": 22
}  # fmt: skip


@dataclass(frozen=True)
class Carried:
    """What an image can load: its boot index, and the modules that it has a file of; and the bytes of its /init."""

    index: Index
    modules: frozenset[str]
    init: bytes


class Verdict(NamedTuple):
    """Whether the root would be found, and what is wrong or was not looked at, a line each."""

    root: bool
    lines: list[str]


def carried(image: Path) -> Carried:
    """Reads an image. Raises TinykmodError where it is damaged or has no boot index, and OSError."""
    return _carried(read_image(image).entries, str(image))


def written(image: bytes, meant: Sequence[File], which: str) -> Carried:
    """What an image holds that was just written. MEANT is what was to be in it.

    Raises TinykmodError(WHICH): it does not unpack to that, or a module lacks what it needs.
    """
    entries = unpack(image, which).entries
    there = [file_of(entry) for entry in entries.values()]
    for file, entry in zip(meant, there, strict=False):
        if (file.path, file.mode, file.size) != (entry.path, entry.mode, entry.size):
            raise TinykmodError(which, f"/{file.path} was not written as it is")
    if len(there) != len(meant):
        raise TinykmodError(which, f"{len(there)} files were written of {len(meant)}")
    image_carries = _carried(entries, which)
    for name in image_carries.index.names:
        if missing := {name, *image_carries.index.module(name).deps} - image_carries.modules:
            raise TinykmodError(which, f"{name} was written without {', '.join(sorted(missing))}")
    return image_carries


def _carried(files: Mapping[str, cpio.Entry], image: str) -> Carried:
    found = [path for path in files if re.fullmatch(r"(usr/)?lib/modules/[^/]+/tinykmod\.tki", path)]
    if len(found) != 1:
        raise TinykmodError(image, f"has {len(found)} boot indexes, where one is expected")
    index = Index(files[found[0]].data, f"{image}: {found[0]}")
    home = found[0].rpartition("/")[0]
    if "init" not in files:
        raise TinykmodError(image, "has no /init")
    modules = frozenset(name for name in index.names if f"{home}/{index.path(name)}" in files)
    return Carried(index, modules, files["init"].data)


def check(image: Carried, machine: Snapshot, who: str) -> Verdict:
    """What MACHINE, which lines call WHO, would do with IMAGE.

    Raises TinykmodError where its root is on no device.
    """
    root = machine.root
    if root is None or not root.blocks:
        raise TinykmodError(who, f"its root {root.source + ' ' if root else ''}is on no disk: nothing to check")
    paths = [block.path for block in root.blocks]
    lines = [*_lacking(image, machine, paths, who), *_undriven(image, machine, paths, who)]
    lines += _filesystem(image, root, who)
    lines += _other_machine(image, machine, who)
    found = not lines
    lines += _other_root(machine, root, who)
    if made_of_others(root):
        lines.append(f"{who}'s root {root.source} is made of other devices: not checked what sets it up")
    if machine.displays and DriverClass.GPU not in image.index.classes:
        lines.append("image is not for displays (class gpu): their drivers are left to the root")
    else:
        for card in machine.displays:
            lines += [f"{card.name}: {line}" for line in _lacking(image, machine, [card.path], who)]
    return Verdict(found, lines)


def _lacking(image: Carried, machine: Snapshot, paths: Iterable[str], who: str) -> list[str]:
    """For each device on PATHS, or that these sit behind, that would be without a driver, why."""
    found: dict[str, None] = {}
    for device in machine.behind(paths):
        choices = _choices(image.index, device)
        wrong = [_hindrance(image, choice) for choice in choices]
        if wrong and all(wrong):
            found[f"{who} uses {choices[0].module}, {wrong[0]}"] = None
    return list(found)


def _choices(index: Index, device: Device) -> list[Match]:
    """The modules, built in or not, of which one has to drive DEVICE: that which does, then those that match.

    None for a device without a driver, nor where no more is known of the driver than its name: mostly it is built in.
    """
    if not device.driver:
        return []
    own = (index.lookup(device.module) or [Match(device.module, "")]) if device.module else []
    return [*own, *(index.match(device.modalias) if device.modalias else ())]


def _undriven(image: Carried, machine: Snapshot, paths: Iterable[str], who: str) -> list[str]:
    """For disks on PATHS whose drivers' modules the kernel does not tell (SD cards'): that nothing in IMAGE matches.

    Drivers of disks have aliases where they are built in too; it says nothing where the index does not know of those.
    """
    if not image.index.aliases(Matcher.BUILTIN):
        return []
    disks = {device.path: device for device in machine.devices if device.driver and device.modalias}
    lines = []
    for path in paths:
        disk = next((disks[place] for place in map(str, PurePosixPath(path).parents) if place in disks), None)
        if disk and not disk.module and not image.index.match(disk.modalias):
            lines.append(f"{who} uses driver {disk.driver} for {disk.modalias}, image lacks one")
    return lines


def _hindrance(image: Carried, match: Match) -> str:
    """Why the image would not load a module for a device; empty where it would, or the kernel has it built in."""
    module = match.module
    if match.builtin:
        return ""
    if module not in image.index.names:
        return f"image lacks {module}"
    if image.index.module(module).flags & FORBIDDEN:
        return f"image's configuration forbids {module}"
    if image.index.is_blacklisted(module):
        return f"image's configuration blacklists {module}"
    needed = [step.module for step in image.index.order([Step(module, "request", module)])]
    missing = [step for step in needed if step not in image.modules]
    return f"image lacks {', '.join(missing)}" if missing else ""


def _other_machine(image: Carried, machine: Snapshot, who: str) -> list[str]:
    """Whether the image's /init, where it is a program and not a script, is for another machine's instructions."""
    wanted = ELF_MACHINES.get(machine.arch)
    head = image.init[:20]
    if wanted is None or not head.startswith(b"\x7fELF") or len(head) < 20:
        return []
    (found,) = struct.unpack_from(">H" if head[5] == 2 else "<H", head, 18)
    return [] if found == wanted else [f"{who} is {machine.arch}, image's /init is for ELF machine {found}"]


def _other_root(machine: Snapshot, root: Root, who: str) -> list[str]:
    """Where root= on the command line names another file system or partition than the root's."""
    spec = next((word[5:] for word in reversed(machine.cmdline.split()) if word.startswith("root=")), "")
    kind, _, value = spec.partition("=")
    own = {"UUID": root.uuid, "LABEL": root.label, "PARTUUID": root.partuuid}.get(kind, "")
    # With PARTNROFF it is about another partition of the same disk.
    if not own or "/PARTNROFF=" in value or value.strip('"').lower() == own.lower():
        return []
    return [f"{who}'s command line has root={spec}, its root {root.source} is {own}"]


def _filesystem(image: Carried, root: Root, who: str) -> list[str]:
    found = image.index.lookup(f"fs-{root.type}") or image.index.lookup(root.type)
    wrong = [_hindrance(image, match) for match in found]
    if found and not all(wrong):
        return []
    return [f"{who}'s root is {root.type}, {wrong[0] if wrong else f'image lacks {root.type}'}"]
