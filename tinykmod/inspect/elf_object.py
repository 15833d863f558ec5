"""The sections and symbols of an ELF file, for what tinykmod.modules.elf does not look at.

Only what is asked for is read: of a module that is a header, a table of sections and those that are named.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from tinykmod.errors import ModuleFormatError

SHT_SYMTAB, SHT_RELA, SHT_NOBITS, SHT_REL = 2, 4, 8, 9
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR = 1, 2, 4
SHN_UNDEF, SHN_XINDEX = 0, 0xFFFF
STT_OBJECT, STT_FUNC = 1, 2


class Architecture(NamedTuple):
    """What an ELF file is for."""

    machine: int  # EM_ number
    wide: bool  # 64 bits, not 32
    order: str  # `<` little, `>` big endian

    def __str__(self) -> str:
        # Imported here: it takes as long as to read hundreds of modules.
        from elftools.elf.enums import ENUM_E_MACHINE

        names = {value: name for name, value in ENUM_E_MACHINE.items() if isinstance(value, int)}
        name = names.get(self.machine, f"ELF machine {self.machine}").removeprefix("EM_").lower()
        return f"{name} ({64 if self.wide else 32} bits, {'little' if self.order == '<' else 'big'} endian)"


class Section(NamedTuple):
    """One section; its number is its place in ElfObject.sections."""

    name: str
    kind: int
    flags: int
    address: int
    offset: int  # in the file
    size: int  # bytes
    link: int
    info: int


class Symbol(NamedTuple):
    """One symbol of .symtab."""

    name: str
    info: int  # binding << 4 | type
    section: int  # number, or an SHN_ constant
    value: int
    size: int  # bytes

    @property
    def type(self) -> int:
        """STT_OBJECT, STT_FUNC, ..."""
        return self.info & 15


class Relocation(NamedTuple):
    """One place that the kernel fills in when it loads a module."""

    offset: int  # within the section that is relocated
    symbol: int  # number in ElfObject.symbols
    addend: int  # 0 where the addend is in the section's bytes (SHT_REL)


class ElfObject:
    """An ELF file of either size and byte order. Raises ModuleFormatError(which, ...), here and where it is read,
    for what is no ELF file or is cut short."""

    def __init__(self, data: bytes | mmap.mmap, which: str) -> None:
        self.data = data
        self.which = which
        if data[:4] != b"\x7fELF" or len(data) < 52 or data[4] not in (1, 2) or data[5] not in (1, 2):
            raise ModuleFormatError(which, "not an ELF file")
        self.wide = data[4] == 2
        self.order = "<" if data[5] == 1 else ">"
        try:
            self.type, self.machine = struct.unpack_from(f"{self.order}HH", data, 16)
            self.sections = self._sections()
        except struct.error:
            raise ModuleFormatError(which, "cut short: the section headers lie outside the file") from None

    @property
    def architecture(self) -> Architecture:
        """What it is for."""
        return Architecture(self.machine, self.wide, self.order)

    def _sections(self) -> list[Section]:
        at, tail = (40, 58) if self.wide else (32, 46)
        start: int = struct.unpack_from(self.order + ("Q" if self.wide else "I"), self.data, at)[0]
        _, count, names_at = struct.unpack_from(f"{self.order}HHH", self.data, tail)
        form = struct.Struct(self.order + ("IIQQQQIIQQ" if self.wide else "10I"))
        first = form.unpack_from(self.data, start)
        # Section 0 is no section: it holds the numbers that do not fit into the ELF header's 16 bits.
        count, names_at = count or first[5], first[6] if names_at == SHN_XINDEX else names_at
        if start + count * form.size > len(self.data) or names_at >= count:
            raise struct.error
        raw = [form.unpack_from(self.data, start + number * form.size) for number in range(count)]
        names = self.data[raw[names_at][4] : raw[names_at][4] + raw[names_at][5]]
        return [Section(_string(names, each[0]), *each[1:8]) for each in raw]

    @cached_property
    def by_name(self) -> dict[str, Section]:
        """The first section of each name."""
        found: dict[str, Section] = {}
        for section in self.sections:
            found.setdefault(section.name, section)
        return found

    def contents(self, section: Section | None) -> bytes:
        """A section's bytes; none for None, and for one that takes none in the file."""
        if section is None or section.kind == SHT_NOBITS:
            return b""
        if section.offset + section.size > len(self.data):
            raise ModuleFormatError(self.which, f"cut short: section {section.name} lies outside the file")
        return self.data[section.offset : section.offset + section.size]

    @cached_property
    def symbols(self) -> list[Symbol]:
        """All of .symtab, in its order."""
        table = next((section for section in self.sections if section.kind == SHT_SYMTAB), None)
        if table is None or table.link >= len(self.sections):
            return []
        strings = self.contents(self.sections[table.link])
        form = struct.Struct(self.order + ("IBBHQQ" if self.wide else "IIIBBH"))
        data = self.contents(table)
        data = data[: len(data) // form.size * form.size]
        if self.wide:
            return [
                Symbol(_string(strings, name), info, section, value, size)
                for name, info, _, section, value, size in form.iter_unpack(data)
            ]
        return [
            Symbol(_string(strings, name), info, section, value, size)
            for name, value, size, info, _, section in form.iter_unpack(data)
        ]

    def relocations(self, number: int) -> Iterator[Relocation]:
        """Of the section of this number, in the file's order."""
        word = "Q" if self.wide else "I"
        for section in self.sections:
            if section.info != number or section.kind not in (SHT_RELA, SHT_REL):
                continue
            form = struct.Struct(self.order + word * 2 + (word.lower() if section.kind == SHT_RELA else ""))
            data = self.contents(section)
            for offset, info, *addend in form.iter_unpack(data[: len(data) // form.size * form.size]):
                yield Relocation(offset, info >> (32 if self.wide else 8), addend[0] if addend else 0)

    def number(self, name: str) -> int | None:
        """The number of the first section of this name."""
        return next((number for number, section in enumerate(self.sections) if section.name == name), None)


def string_at(data: bytes, offset: int) -> str:
    """The string that begins at an offset, up to its NUL or the end of DATA."""
    return _string(data, offset)


def _string(data: bytes, offset: int) -> str:
    end = data.find(b"\0", offset)
    return data[offset : end if end >= 0 else len(data)].decode("utf-8", "surrogateescape")
