"""What was read of a .ko, and what can be wrong with one: for both of its readers, elf.py and cext/core/elf.pxi."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class ElfModule(NamedTuple):
    """What was read of one .ko; names and values are UTF-8, decoded with surrogateescape."""

    modinfo: tuple[tuple[str, str], ...]  # key, value in the file's order
    exports: dict[str, int | None]  # symbol -> CRC, None without MODVERSIONS
    imports: dict[str, int | None]  # needed symbol -> CRC that it had when the module was built
    weak: frozenset[str]  # the imports that may stay unresolved


class Fault(IntEnum):
    """What can be wrong with a file. cext/core/elf.pxi counts them alike."""

    NOT_ELF = 1
    CUT = 2
    CLASS = 3
    ORDER = 4
    TYPE = 5
    HEADERS = 6
    SECTION = 7
    NAMES = 8
    SECTION_NAME = 9
    SYMBOLS = 10
    SYMBOL_NAME = 11
    CRC = 12
    VERSIONS = 13
    VERSION_NAME = 14
    EXTENDED = 15
    MODINFO = 16


#: The reason that ModuleFormatError gives; {} is the number of the section, symbol or record.
WHY = {
    Fault.NOT_ELF: "not an ELF file",
    Fault.CUT: "cut short within the ELF header",
    Fault.CLASS: "ELF of {} bits is unknown",
    Fault.ORDER: "ELF byte order {} is unknown",
    Fault.TYPE: "not a relocatable object but ELF type {}",
    Fault.HEADERS: "cut short: the section headers lie outside the file",
    Fault.SECTION: "cut short: section {} lies outside the file",
    Fault.NAMES: "section {}, which should name the sections, is not there",
    Fault.SECTION_NAME: "section {} has no name",
    Fault.SYMBOLS: "symbol table in section {} makes no sense",
    Fault.SYMBOL_NAME: "symbol {} has no name",
    Fault.CRC: "symbol {} points at no CRC",
    Fault.VERSIONS: "__versions is no whole number of records",
    Fault.VERSION_NAME: "record {} of __versions has no end",
    Fault.EXTENDED: "__version_ext_crcs and __version_ext_names do not agree",
    Fault.MODINFO: ".modinfo ends within a string",
}
