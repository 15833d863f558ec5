"""Which modules a module needs, from the symbols that it imports, and in which order they are loaded.

`depends=` in modinfo is not read: depmod does not either, and symbols cannot be out of date.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.modules.tree import Module


class Dependencies(NamedTuple):
    """Both are indexed by a module's number in the list that was resolved, and hold such numbers."""

    direct: list[list[int]]  # whose symbols it imports, in the order in which it first names them
    closure: list[list[int]]  # all that must be loaded before it, in load order


def resolve(modules: Sequence[Module]) -> Dependencies:
    """Resolve the symbols of all modules among each other; of two exporters of a symbol the last counts,
    as for depmod.

    A symbol that no module exports is the kernel's own, or will be missed when the module is loaded. The load order
    is the one that kmod 30 has: for every module of Debian 6.1 `modprobe -D` prints the same.
    Raises TinykmodError naming the modules that depend on each other in a circle.
    """
    exporter = {symbol: number for number, module in enumerate(modules) for symbol in module.elf.exports}
    direct = []
    for number, module in enumerate(modules):
        needed = dict.fromkeys(exporter[symbol] for symbol in module.elf.imports if symbol in exporter)
        needed.pop(number, None)
        direct.append(list(needed))
    order = _dependents_first(modules, direct)
    rank = {number: place for place, number in enumerate(order)}
    closure: list[list[int]] = [[] for _ in modules]
    for number in reversed(order):
        found = set(direct[number]).union(*(closure[needed] for needed in direct[number]))
        closure[number] = sorted(found, key=rank.__getitem__, reverse=True)
    return Dependencies(direct, closure)


def _dependents_first(modules: Sequence[Module], direct: list[list[int]]) -> list[int]:
    """Every module before those that it needs. Which of the possible orders, was found out from depmod's output."""
    users = [0] * len(modules)
    for needed in direct:
        for number in needed:
            users[number] += 1
    ready = [number for number, count in enumerate(users) if count == 0]
    order = []
    while ready:
        order.append(ready.pop())
        for number in direct[order[-1]]:
            users[number] -= 1
            if users[number] == 0:
                ready.append(number)
    if len(order) < len(modules):
        circle = _cycle(direct, {number for number, count in enumerate(users) if count})
        raise TinykmodError(
            modules[circle[0]].path,
            "its dependencies lead back to it: " + " -> ".join(modules[number].name for number in circle),
        )
    return order


def _cycle(direct: list[list[int]], left: set[int]) -> list[int]:
    """One circle among the modules that are left, its first module again at the end."""
    # Each that is left has a user that is left as well: so go from user to user until one comes again.
    user = {needed: number for number in sorted(left, reverse=True) for needed in direct[number]}
    path = [min(left)]
    while user[path[-1]] not in path:
        path.append(user[path[-1]])
    circle = path[path.index(user[path[-1]]) :]
    return [circle[0], *reversed(circle)]
