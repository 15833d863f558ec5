"""The reason of each file in an image that was read back, by the rules that chose them, from what is in it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from tinykmod.image import cpio, firmware, modules_load
from tinykmod.image.reasons import File, file_of
from tinykmod.image.select import select
from tinykmod.index.reader import Index
from tinykmod.kmod.names import module_name
from tinykmod.modules.compression import compression, decompress
from tinykmod.modules.tree import Module, ModuleTree, read_elf

_HOME = r"(?:usr/)?lib/modules/([^/]+)/"
_MODULE = re.compile(_HOME + r"(.+\.ko(?:\.\w+)?)")
_INDEX = re.compile(_HOME + r"tinykmod\.tki")
_LOADS = tuple(f"{directory}/" for directory in modules_load.DIRECTORIES)


class _Tree(ModuleTree):
    """The modules of an image, as those of a module tree."""

    def __init__(self, release: str, entries: Mapping[str, cpio.Entry]) -> None:
        self.paths: dict[str, str] = {}
        self.entries = entries
        modules = []
        for path, entry in entries.items():
            if (found := _MODULE.fullmatch(path)) and found[1] == release and entry.data:
                name = module_name(path)
                elf = read_elf(decompress(entry.data, f"/{path}"), f"/{path}")
                modules.append(Module(name, found[2], len(entry.data), elf, compression(entry.data)))
                self.paths[name] = path
        super().__init__(Path("/"), release, modules, builtin=[], builtin_modinfo={}, digest=b"")

    def read(self, module: Module) -> bytes:
        path = self.paths[module.name]
        return decompress(self.entries[path].data, f"/{path}")


def explain(entries: Mapping[str, cpio.Entry]) -> list[File]:
    """Each entry with its reason; of an image without a boot index only firmware has one.

    What was asked for by name when the image was built is found as what nothing else in it asks for.
    Raises TinykmodError for an index or a module that is damaged.
    """
    indexes = {found[1]: path for path in entries if (found := _INDEX.fullmatch(path))}
    releases = dict.fromkeys(found[1] for path in entries if (found := _MODULE.fullmatch(path)))
    reasons: dict[str, str] = {}
    for release in releases:
        tree = _Tree(release, entries)
        reasons |= _of_firmware(tree, entries)
        if release in indexes:
            path = indexes[release]
            reasons |= _of_modules(tree, Index(entries[path].data, f"/{path}"), entries)
    return [file_of(entry, reasons.get(path, ""), by_place=bool(indexes)) for path, entry in entries.items()]


def _of_modules(tree: _Tree, index: Index, entries: Mapping[str, cpio.Entry]) -> dict[str, str]:
    listed = modules_load.names(entry for path, entry in entries.items() if path.startswith(_LOADS))
    # What the index has and the image has not cannot be a reason.
    absent = {name: name for name in index.names if name not in tree.by_name}
    # In the order in which they were chosen.
    tree.modules = known = [tree.by_name[name] for name in index.names if name in tree.by_name]
    chosen = select(tree, index, index.classes, (), {}, listed, absent).modules
    rest = [module.name for module in known if module.name not in chosen]
    if rest:
        needed = {other for name in rest for other in _wants(index, name)}
        named = {name: _by_name(name) for name in rest if name not in needed} or dict.fromkeys(rest, _by_name(""))
        chosen = select(tree, index, index.classes, (), {}, {**named, **listed}, absent).modules
    return {tree.paths[name]: reason for name, reason in chosen.items()}


def _wants(index: Index, name: str) -> Iterator[str]:
    record = index.module(name)
    yield from (other for other in (*record.deps, *record.pre, *record.post, *record.weak) if other != name)


def _by_name(name: str) -> str:
    # The kernel's options say which; the image does not have them.
    return "a character set of the kernel's options" if name.startswith("nls_") else "asked for by name (--add)"


def _of_firmware(tree: ModuleTree, entries: Mapping[str, cpio.Entry]) -> dict[str, str]:
    exact: dict[str, list[str]] = {}
    patterns: list[tuple[str, str]] = []
    for module in tree.modules:
        for name in dict.fromkeys(module.values("firmware")):
            if firmware.is_pattern(name):
                patterns.append((name, module.name))
            else:
                exact.setdefault(name, []).append(module.name)
    reasons = {}
    for path in entries:
        for name in _names(path):
            users = [*exact.get(name, ()), *(user for pattern, user in patterns if _matches(name, pattern))]
            if users:
                reasons[path] = f"firmware of {', '.join(sorted(set(users)))}"
    return reasons


def _names(path: str) -> Iterable[str]:
    """The names by which modules may mean a file of the image."""
    found = re.fullmatch(r"(?:usr/)?lib/firmware/(.+)", path)
    return dict.fromkeys((found[1], firmware.uncompressed(found[1]))) if found else ()


def _matches(name: str, pattern: str) -> bool:
    parts, patterns = PurePosixPath(name).parts, PurePosixPath(pattern).parts
    return len(parts) == len(patterns) and all(map(fnmatchcase, parts, patterns))
