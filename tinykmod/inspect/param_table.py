"""A module's table of parameters, __param: what the kernel goes by, and .modinfo does not tell in full.

struct kernel_param (include/linux/moduleparam.h): pointers to name, module and operations, u16 permissions, s8 level,
u8 flags, a pointer to the value. The pointers are relocations.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from tinykmod.inspect.elf_object import ElfObject, Relocation, string_at

_STRING = "__param_str_"


class TableEntry(NamedTuple):
    """One parameter as the kernel gets it."""

    name: str  # empty where it cannot be told
    permissions: int  # of its file in /sys/module/MODULE/parameters; 0: there is none
    operations: str  # the symbol of its kernel_param_ops, such as param_ops_charp; empty where it has no symbol


def param_table(elf: ElfObject) -> list[TableEntry]:
    """The parameters in the table's order. Raises ModuleFormatError for a file that is cut short."""
    number = elf.number("__param")
    if number is None:
        return []
    word = 8 if elf.wide else 4
    data = elf.contents(elf.sections[number])
    places = {place.offset: place for place in elf.relocations(number)}
    size = 5 * word if elf.wide else 20
    found = []
    for at in range(0, len(data) - size + 1, size):
        # Where relocations have no addend (SHT_REL, as of 32-bit Arm), it stands in the pointer's own place.
        (pointer,) = struct.unpack_from(f"{elf.order}{'Q' if elf.wide else 'I'}", data, at)
        (permissions,) = struct.unpack_from(f"{elf.order}H", data, at + 3 * word)
        name = _name(elf, places.get(at), pointer)
        found.append(TableEntry(name, permissions, _symbol(elf, places.get(at + 2 * word))))
    return found


def _symbol(elf: ElfObject, place: Relocation | None) -> str:
    if place is None or place.symbol >= len(elf.symbols):
        return ""
    return elf.symbols[place.symbol].name


def _name(elf: ElfObject, place: Relocation | None, pointer: int) -> str:
    symbol = _symbol(elf, place)
    if symbol.startswith(_STRING):
        return symbol[len(_STRING) :]
    if place is None or place.symbol >= len(elf.symbols):
        return ""
    # The string itself, through the symbol of its section.
    target = elf.symbols[place.symbol]
    if not 0 < target.section < len(elf.sections):
        return ""
    return string_at(elf.contents(elf.sections[target.section]), target.value + place.addend + pointer)
