"""Whether the kernel would give a module the symbols that it needs, as its resolve_symbol() decides
(kernel/module/main.c, kernel/module/version.c)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

from tinykmod.inspect.symbols import Export
from tinykmod.kmod.depmod import PROVIDED
from tinykmod.kmod.modinfo import Field
from tinykmod.modules.elf_module import ElfModule

#: What the kernel takes for licenses that GPL-only exports are open to (include/linux/license.h).
GPL_COMPATIBLE = frozenset(
    ("GPL", "GPL v2", "GPL and additional rights", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL")
)
_OF_MODULES = "module:"


class Fault(IntEnum):
    """Why a module does not get a symbol."""

    UNKNOWN = 1  # nothing exports it
    CRC = 2  # it is exported in another version than the module was built with
    GPL_ONLY = 3  # the module's license does not get it
    NAMESPACE = 4  # it is in a namespace that the module does not import


class Refusal(NamedTuple):
    """A symbol that a module does not get."""

    fault: Fault
    symbol: str
    export: Export | None  # None: nobody's
    crc: int | None  # that the module was built with


class User(NamedTuple):
    """What a module says of itself as a user of symbols."""

    name: str  # normalised
    licenses: tuple[str, ...]
    namespaces: frozenset[str]

    @classmethod
    def of(cls, name: str, modinfo: Iterable[Field]) -> User:
        """That of a module's name and .modinfo."""
        fields = list(modinfo)
        licenses = tuple(value for key, value in fields if key == "license")
        return cls(name, licenses, frozenset(value for key, value in fields if key == "import_ns"))

    @property
    def is_gpl(self) -> bool:
        """Whether GPL-only exports are open to it: all of its licenses must be compatible, and there must be one (it
        is `unspecified` where none is given)."""
        return bool(self.licenses) and all(license in GPL_COMPATIBLE for license in self.licenses)

    def may_use(self, namespace: str | None) -> bool:
        """Whether it gets exports of a namespace; None, which is not known, and none are open to all.

        `module:a,b-*` are the modules that may use a symbol (Linux 6.16), which import nothing for it.
        """
        if namespace and namespace.startswith(_OF_MODULES):
            names = namespace.removeprefix(_OF_MODULES).replace("-", "_").split(",")
            return any(self.name == name or (name.endswith("*") and self.name.startswith(name[:-1]))
                       for name in names)  # fmt: skip
        return not namespace or namespace in self.namespaces


def is_other(crc: int | None, theirs: int | None) -> bool:
    """Whether two versions of a symbol differ; one that is not known does not."""
    return crc is not None and theirs is not None and crc != theirs


def refusals(elf: ElfModule, user: User, find: Callable[[str], Export | None]) -> Iterator[Refusal]:
    """The symbols that a module does not get, in its file's order, each with all reasons in the kernel's order.

    FIND tells who exports a symbol.
    """
    gpl = user.is_gpl
    for symbol, crc in elf.imports.items():
        if symbol in PROVIDED:
            continue
        export, may_lack = find(symbol), symbol in elf.weak
        if export is None:
            if not may_lack:
                yield Refusal(Fault.UNKNOWN, symbol, export, crc)
            continue
        # To a module of another license it is as if it were not there.
        if export.gpl_only and not gpl and not may_lack:
            yield Refusal(Fault.GPL_ONLY, symbol, export, crc)
        if is_other(crc, export.crc):
            yield Refusal(Fault.CRC, symbol, export, crc)
        if not user.may_use(export.namespace):
            yield Refusal(Fault.NAMESPACE, symbol, export, crc)
