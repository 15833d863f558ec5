"""What a name in a tree can stand for, and the names that are nearest to one that stands for nothing."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

from tinykmod.errors import ConfigError
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, normalise_pattern
from tinykmod.modules.tree import ModuleTree
from tinykmod.nearest import misspelled

_START = 4


class Names:
    """The names and aliases of a tree and of what is built into its kernel."""

    def __init__(self, tree: ModuleTree) -> None:
        self.tree = tree
        self.builtin = frozenset((*tree.builtin, *tree.builtin_modinfo))

    def is_module(self, name: str) -> bool:
        """Whether a normalised name is that of a module, built in or not."""
        return name in self.tree.by_name or name in self.builtin

    def stand_for(self, word: str) -> bool:
        """Whether a word, as softdep takes it, is a module or an alias of one, built in or not."""
        try:
            name = normalise_pattern(word)
        except ConfigError:
            return False
        return self.is_module(name) or bool(self.matching(name))

    def matching(self, name: str) -> list[str]:
        """The modules, built in or not, one of whose aliases matches a normalised name."""
        found = []
        text = encoded(name)
        for alias, module in (*self._aliases.get(name[:_START], ()), *self._aliases.get("", ())):
            try:
                if glob(encoded(normalise_pattern(alias)), text):
                    found.append(module)
            except ConfigError:
                continue
        return list(dict.fromkeys(found))

    @cached_property
    def _aliases(self) -> dict[str, list[tuple[str, str]]]:
        """Aliases with their modules, by how they begin; under "" those that begin with a wildcard."""
        found: dict[str, list[tuple[str, str]]] = {}
        for module in self.tree.modules:
            for alias in module.aliases:
                found.setdefault(_start(alias), []).append((alias, module.name))
        for name, fields in self.tree.builtin_modinfo.items():
            for key, value in fields:
                if key == "alias":
                    found.setdefault(_start(value), []).append((value, name))
        return found

    def nearest(self, name: str) -> str:
        """`; nearest: NAME` for a module's name that is nearly this; else empty."""
        return misspelled(name, (*self.tree.by_name, *self.builtin))


def _start(alias: str) -> str:
    start = alias[:_START].replace("-", "_")
    return "" if any(char in start for char in "*?[\\") else start


def several(words: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    listed = list(words)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
