"""What a module needs and who needs it, each with the symbols that make it so."""

from __future__ import annotations

from collections.abc import Iterator

from tinykmod.errors import TinykmodError
from tinykmod.inspect.about import Need
from tinykmod.inspect.known import Known
from tinykmod.modules.tree import Module


def needs(known: Known | None, module: Module) -> tuple[Need, ...]:
    """What a module needs, each with the symbols of it, and below each what that needs, once; nothing where no tree
    is KNOWN. Raises TinykmodError, OSError."""
    return _below(known, module, set()) if known is not None else ()


def _below(known: Known, module: Module, seen: set[str]) -> tuple[Need, ...]:
    others = known.modules(_needed(known, module))
    exporter = {symbol: other.name for other in others for symbol in other.elf.exports}
    symbols: dict[str, list[str]] = {}
    for symbol in module.elf.imports:
        if symbol in exporter:
            symbols.setdefault(exporter[symbol], []).append(symbol)
    found = []
    for other in others[::-1]:
        if other.name in symbols:
            again = other.name in seen
            seen.add(other.name)
            below = () if again else _below(known, other, seen)
            found.append(Need(other.name, tuple(symbols[other.name]), below, again and bool(_needed(known, other))))
    return tuple(found)


def _needed(known: Known, module: Module) -> tuple[str, ...]:
    needs = known.files.needs(module.name)
    return needs.modules if needs is not None else ()


def users(known: Known | None, name: str) -> tuple[Need, ...]:
    """Who needs a module, each with the symbols that it imports from the one above, and below each who needs that,
    once. Raises TinykmodError, OSError."""
    if known is None:
        raise TinykmodError(name, "there is no module tree to look in for those that need it")
    everyone = {module.name: module for module in known.modules([name, *known.files.users(name)])}
    owner = {symbol: module.name for module in everyone.values() for symbol in module.elf.exports}
    direct: dict[str, dict[str, list[str]]] = {}
    for module in everyone.values():
        for symbol in module.elf.imports:
            if owner.get(symbol, module.name) != module.name:
                direct.setdefault(owner[symbol], {}).setdefault(module.name, []).append(symbol)
    seen: set[str] = set()

    def above(which: str) -> Iterator[Need]:
        for user, symbols in sorted(direct.get(which, {}).items()):
            again = user in seen
            seen.add(user)
            yield Need(user, tuple(symbols), () if again else tuple(above(user)), again and user in direct)

    return tuple(above(name))
