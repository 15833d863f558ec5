"""What a name in a tree can stand for, and the names that are nearest to one that stands for nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property

from tinykmod.errors import ConfigError
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, normalise_pattern
from tinykmod.modules.tree import ModuleTree
from tinykmod.nearest import misspelled

_START = 4


class Aliases:
    """Patterns, each with its module, to be asked again and again for those that match. One that the kernel's tools
    do not take counts as not there."""

    def __init__(self, aliases: Iterable[tuple[str, str]]) -> None:
        self._by_start: dict[str, list[tuple[str, str]]] = {}  # under "" those that begin with a wildcard
        for alias, module in aliases:
            with suppress(ConfigError):
                pattern = normalise_pattern(alias)
                start = pattern[:_START]
                key = "" if any(char in start for char in "*?[\\") else start
                self._by_start.setdefault(key, []).append((pattern, module))

    def matching(self, name: str) -> Iterator[tuple[str, str]]:
        """The patterns that match a normalised name."""
        text = encoded(name)
        for pattern, module in (*self._by_start.get(name[:_START], ()), *self._by_start.get("", ())):
            if glob(encoded(pattern), text):
                yield pattern, module


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
        return list(dict.fromkeys(module for _, module in self._aliases.matching(name)))

    @cached_property
    def _aliases(self) -> Aliases:
        own = ((alias, module.name) for module in self.tree.modules for alias in module.aliases)
        fields = ((key, value, name) for name, told in self.tree.builtin_modinfo.items() for key, value in told)
        return Aliases([*own, *((value, name) for key, value, name in fields if key == "alias")])

    def nearest(self, name: str) -> str:
        """`; nearest: NAME` for a module's name that is nearly this; else empty."""
        return misspelled(name, (*self.tree.by_name, *self.builtin))


def several(words: Iterable[str], most: int = 3) -> str:
    """`a, b, c and 4 more`."""
    listed = list(words)
    more = len(listed) - most
    return ", ".join(listed[:most]) + (f" and {more} more" if more > 0 else "")
