"""What `tinykmod stats` counts: the modules of a tree, or those that are loaded."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.image import firmware
from tinykmod.inspect.devices import State, by_bus
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.memory import Memory, memory
from tinykmod.kmod.depends import resolve
from tinykmod.kmod.signature import MAGIC
from tinykmod.modules.classes import driver_class
from tinykmod.modules.compression import compression, decompress
from tinykmod.modules.directory import module_directory
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.files import ModuleFile, find_modules
from tinykmod.modules.tree import Module, read_elf, tree_of

#: What a module is counted as that is of no class.
NO_CLASS = "other"
#: Entries of the lists of the largest, the most needed and so on.
MOST = 10
#: Directories that are so large that those in them count.
_SPLIT = ("drivers", "arch")
_BATCH = 16


class Share(NamedTuple):
    """Some of the modules: how many, and their bytes."""

    modules: int
    bytes: int


class Bin(NamedTuple):
    """The modules of at least LEAST bytes and of less than twice that."""

    least: int
    modules: int
    bytes: int


class Chain(NamedTuple):
    """A module and what it needs, each needing the next."""

    names: tuple[str, ...]


@dataclass
class Statistics:
    """The modules of one tree; bytes are those on disk where nothing else is said."""

    release: str
    tree: str
    modules: dict[str, Share] = field(default_factory=dict)  # name -> 1 and its bytes; in memory for loaded ones
    builtin: int = 0
    memory: dict[str, Memory] = field(default_factory=dict)  # name -> what it takes once it is loaded
    sizes: list[Bin] = field(default_factory=list)
    classes: dict[str, Share] = field(default_factory=dict)  # one of several classes counts in each
    kinds: dict[str, str] = field(default_factory=dict)  # name -> the first of its classes
    directories: dict[str, Share] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)  # name -> its directory
    compression: dict[str, Share] = field(default_factory=dict)
    licenses: dict[str, int] = field(default_factory=dict)
    signed: int = 0
    parameters: int = 0
    most_needed: dict[str, int] = field(default_factory=dict)  # by how many modules, through others too
    deepest: list[Chain] = field(default_factory=list)
    aliases: dict[str, tuple[int, int]] = field(default_factory=dict)  # bus -> patterns, modules that have them
    firmware: tuple[int, int, int] = (0, 0, 0)  # names, of modules, of which there are

    @property
    def total(self) -> int:
        """Bytes of all modules."""
        return sum(share.bytes for share in self.modules.values())

    @property
    def total_memory(self) -> Memory:
        """That of all modules."""
        every = self.memory.values()
        return Memory(sum(each.core for each in every), sum(each.init for each in every))

    def largest(self) -> list[tuple[str, int]]:
        """The modules by their bytes, the largest first."""
        sizes = [(name, share.bytes) for name, share in self.modules.items()]
        return sorted(sizes, key=lambda item: (-item[1], item[0]))

    def quantile(self, part: float) -> int:
        """The size that so great a part of the modules does not exceed."""
        sizes = sorted(share.bytes for share in self.modules.values())
        return sizes[min(len(sizes) - 1, int(part * len(sizes)))]


class _Read(NamedTuple):
    module: Module
    memory: Memory
    signed: bool


def of_tree(root: Path, release: str, progress: Callable[[int, int], None] | None = None) -> Statistics:
    """Count the modules of RELEASE below ROOT.

    Raises TinykmodError where there are none, or they need each other in a circle; ModuleFormatError, OSError.
    """
    directory = module_directory(root.absolute(), release)
    read = list(_read_all(directory, find_modules(directory), progress))
    if not read:
        raise TinykmodError(directory, "holds no module")
    modules = [each.module for each in read]
    out = Statistics(release, str(directory), {module.name: Share(1, module.size) for module in modules})
    out.builtin = len(set(tree_of(directory, release, [], b"").builtin))
    out.memory = {each.module.name: each.memory for each in read}
    out.sizes = _bins(module.size for module in modules)
    classes = {module.name: classes_of(module) for module in modules}
    _classes(out, classes)
    out.places = {module.name: _directory(module.path) for module in modules}
    out.directories = _shares((out.places[module.name], module.size) for module in modules)
    out.compression = _shares((module.compression or "none", module.size) for module in modules)
    out.licenses = _counted("".join(module.values("license")[:1]) or "none" for module in modules)
    out.signed = sum(each.signed for each in read)
    out.parameters = sum(key == "parmtype" for module in modules for key, _ in module.elf.modinfo)
    _dependencies(out, modules)
    groups = [by_bus(module.aliases) for module in modules]
    patterns: Counter[str] = Counter()
    for group in groups:
        patterns.update({bus: len(found) for bus, found in group.items()})
    having = Counter(bus for group in groups for bus in group)
    out.aliases = {bus or "names": (count, having[bus]) for bus, count in patterns.most_common()}
    names = {module.name: module.values("firmware") for module in modules if module.values("firmware")}
    wanted = {name for each in names.values() for name in each}
    missing = firmware.collect(names, firmware.search(root, release), {}).missing
    out.firmware = (len(wanted), len(names), len(wanted - {name for each in missing.values() for name in each}))
    return out


def of_running(
    loaded: Mapping[str, State], release: str, classes: Callable[[Iterable[str]], Mapping[str, Sequence[str]]]
) -> Statistics:
    """Count LOADED modules; bytes are those in memory. CLASSES tells the classes of modules by their names."""
    out = Statistics(release, "", {name: Share(1, state.size or 0) for name, state in loaded.items()})
    out.sizes = _bins(state.size or 0 for state in loaded.values())
    _classes(out, classes(loaded))
    holders = {name: len(state.holders) for name, state in loaded.items() if state.holders}
    out.most_needed = dict(sorted(holders.items(), key=lambda item: (-item[1], item[0]))[:MOST])
    return out


def classes_of(module: Module) -> list[str]:
    """The names of a module's classes, or NO_CLASS."""
    found = driver_class(module)
    return [str(kind.name).lower() for kind in DriverClass if kind in found] or [NO_CLASS]


def told(stats: Statistics) -> dict[str, Any]:
    """What --json prints."""

    def shares(table: Mapping[str, Share]) -> dict[str, dict[str, int]]:
        return {name: share._asdict() for name, share in table.items()}

    return {
        "release": stats.release,
        "tree": stats.tree or None,
        "modules": len(stats.modules),
        "builtin": stats.builtin,
        "bytes": stats.total,
        "memory": stats.total_memory._asdict(),
        "sizes": [each._asdict() for each in stats.sizes],
        "median": stats.quantile(0.5) if stats.modules else None,
        "module_sizes": {name: share.bytes for name, share in stats.modules.items()},
        "class": shares(stats.classes),
        "directory": shares(stats.directories),
        "compression": shares(stats.compression),
        "license": stats.licenses,
        "signed": stats.signed,
        "parameters": stats.parameters,
        "most_needed": stats.most_needed,
        "deepest": [list(each.names) for each in stats.deepest],
        "aliases": {bus: {"patterns": count, "modules": having} for bus, (count, having) in stats.aliases.items()},
        "firmware": dict(zip(("names", "modules", "there"), stats.firmware, strict=True)),
    }


def _read_all(
    directory: Path, files: Sequence[ModuleFile], progress: Callable[[int, int], None] | None
) -> list[_Read]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_read, directory, files[at : at + _BATCH]) for at in range(0, len(files), _BATCH)]
        found: list[_Read] = []
        try:
            for job in jobs:
                found += job.result()
                if progress is not None:
                    progress(len(found), len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _read(directory: Path, files: Sequence[ModuleFile]) -> list[_Read]:
    found = []
    for file in files:
        path = directory / file.path
        raw = path.read_bytes()
        image = decompress(raw, str(path))
        module = Module(file.name, file.path, len(raw), read_elf(image, str(path)), compression(raw))
        found.append(_Read(module, memory(ElfObject(image, str(path)).sections), image.endswith(MAGIC)))
    return found


def _classes(out: Statistics, classes: Mapping[str, Sequence[str]]) -> None:
    out.classes = _shares((kind, out.modules[name].bytes) for name, kinds in classes.items() for kind in kinds)
    out.kinds = {name: kinds[0] for name, kinds in classes.items()}


def _dependencies(out: Statistics, modules: Sequence[Module]) -> None:
    resolved = resolve(modules)
    needed = Counter(number for closure in resolved.closure for number in closure)
    out.most_needed = {modules[number].name: count for number, count in needed.most_common(MOST)}
    longest: dict[int, tuple[int, ...]] = {}
    # Of those that a module needs, a longer closure has all of a shorter one's: shorter ones first.
    for number in sorted(range(len(modules)), key=lambda number: len(resolved.closure[number])):
        below = max((longest[each] for each in resolved.direct[number]), key=len, default=())
        longest[number] = (number, *below)
    # Each ends in something else: a family of modules has one line.
    seen: set[tuple[int, ...]] = set()
    for chain in sorted(longest.values(), key=len, reverse=True):
        if chain[1:] not in seen and len(out.deepest) < MOST // 2:
            seen.add(chain[1:])
            out.deepest.append(Chain(tuple(modules[number].name for number in chain)))


def _bins(sizes: Iterable[int]) -> list[Bin]:
    """SIZES in bins, each twice as wide as the one before, empty ones between others included."""
    counted: dict[int, list[int]] = {}
    for size in sizes:
        counted.setdefault(max(size, 1).bit_length() - 1, []).append(size)
    if not counted:
        return []
    return [
        Bin(1 << power, len(counted.get(power, ())), sum(counted.get(power, ())))
        for power in range(min(counted), max(counted) + 1)
    ]


def _shares(items: Iterable[tuple[str, int]]) -> dict[str, Share]:
    """By name, the most bytes first."""
    found: dict[str, list[int]] = {}
    for name, size in items:
        found.setdefault(name, []).append(size)
    shares = {name: Share(len(sizes), sum(sizes)) for name, sizes in found.items()}
    return dict(sorted(shares.items(), key=lambda item: (-item[1].bytes, item[0])))


def _counted(items: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(items).items(), key=lambda item: (-item[1], item[0])))


def _directory(path: str) -> str:
    """Where a module is in the kernel's source, or in its tree: `drivers/net`, `fs`, `updates`."""
    parts = path.removeprefix("kernel/").split("/")[:-1]
    return "/".join(parts[: 2 if parts[:1] and parts[0] in _SPLIT else 1]) or "."
