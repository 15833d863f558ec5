"""What depmod's files in lib/modules/VERSION know: which modules there are, what they need, who serves an alias."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import ConfigError
from tinykmod.kmod.binindex import BinIndex, Entry, write_index
from tinykmod.kmod.names import module_name, normalise_pattern

#: The parts of `modprobe -c`'s dump.
ALIASES, SYMBOLS = "modules.alias", "modules.symbols"
_DEP, _BUILTIN, _BUILTIN_ALIASES = "modules.dep", "modules.builtin", "modules.builtin.alias"


class Needs(NamedTuple):
    """A line of modules.dep."""

    path: str
    modules: tuple[str, ...]  # the names of all that it needs, in load order


class ModuleFiles:
    """A tree's directory, by its depmod files. Each index is opened when it is first needed; where it is not there,
    the text of the same name is read in its stead, and where that is not there either, it counts as empty.

    made, if given, are such files by name, which count instead of those in the directory.
    Every method raises BinIndexError or OSError naming the file that is damaged or cannot be read.
    """

    def __init__(self, directory: Path, made: Mapping[str, bytes] | None = None) -> None:
        self.directory = directory
        self._made = made
        self._added: dict[str, Needs] = {}
        self._index: Callable[[str], BinIndex] = cache(self._open)
        self.needs = cache(self._needs)

    def exists(self) -> bool:
        """Whether depmod has been here."""
        return any((self.directory / f"{_DEP}{suffix}").exists() for suffix in (".bin", ""))

    def add(self, name: str, needs: Needs) -> None:
        """From now on NAME, normalised, is this file, which depmod need not know."""
        self._added[name] = needs
        self.needs.cache_clear()

    def _needs(self, name: str) -> Needs | None:
        """The path of a module, and what it needs; None where there is no such module. NAME is normalised."""
        if name in self._added:
            return self._added[name]
        line = self._index(_DEP).get(name)
        return None if line is None else self._line(line)

    def _line(self, line: str) -> Needs:
        path, _, rest = line.partition(":")
        needed = tuple(module_name(needed) for needed in reversed(rest.split()))
        # An external module's path is absolute.
        return Needs(os.path.join(self.directory, path), needed)  # noqa: PTH118 - a Path would spell it anew

    def is_builtin(self, name: str) -> bool:
        """Whether the kernel itself holds the module. NAME is normalised."""
        return self._index(_BUILTIN).get(name) is not None

    def aliases(self, alias: str) -> list[str]:
        """The modules whose aliases match a normalised one, in depmod's order, one for each pattern."""
        return self._index(ALIASES).search(alias)

    def symbols(self, alias: str) -> list[str]:
        """The modules that export `symbol:NAME`."""
        return self._index(SYMBOLS).search(alias)

    def builtin_aliases(self, alias: str) -> list[str]:
        """As aliases(), of what the kernel itself holds."""
        return self._index(_BUILTIN_ALIASES).search(alias)

    def entries(self, which: str) -> list[Entry]:
        """All of ALIASES or SYMBOLS, by key."""
        return self._index(which).entries()

    def users(self, name: str) -> list[str]:
        """The modules that need a module, themselves or through others, by name. NAME is normalised."""
        return self._users.get(name, [])

    @cached_property
    def _users(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for entry in self._index(_DEP).entries():
            for needed in self._line(entry.value).modules:
                found.setdefault(needed, []).append(entry.key)
        return found

    def names(self) -> list[str]:
        """Every module, what the kernel itself holds included."""
        return [entry.key for which in (_DEP, _BUILTIN) for entry in self._index(which).entries()]

    def _open(self, which: str) -> BinIndex:
        if self._made is not None:
            return BinIndex(self._made[f"{which}.bin"], self.directory / which)
        index = BinIndex.open(self.directory / f"{which}.bin")
        if index is None:
            text = self.directory / which
            index = BinIndex(write_index(self._from_text(which), text), text)
        return index

    def _from_text(self, which: str) -> Iterator[Entry]:
        if which == _BUILTIN_ALIASES:
            lines = self._text("modules.builtin.modinfo", "\0")
        else:
            lines = self._text(which, "\n")
        for number, line in enumerate(lines):
            words = line.split()
            if which == _DEP and line.partition(":")[1]:
                yield Entry(module_name(line.partition(":")[0]), line, number)
            elif which == _BUILTIN and line:
                yield Entry(module_name(line), "", 0)
            elif which == _BUILTIN_ALIASES and line.partition("=")[0].endswith(".alias"):
                yield from _alias(line.partition("=")[2], module_name(line), 0)
            elif words[:1] == ["alias"] and len(words) == 3:
                yield from _alias(words[1], words[2], number)

    def _text(self, name: str, end: str) -> list[str]:
        try:
            return (self.directory / name).read_bytes().decode(errors="surrogateescape").split(end)
        except FileNotFoundError:
            return []


def _alias(pattern: str, module: str, priority: int) -> list[Entry]:
    try:
        return [Entry(normalise_pattern(pattern), module, priority)] if pattern.isascii() else []
    except ConfigError:
        return []
