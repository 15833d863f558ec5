"""What a .ko says of itself: modinfo, the symbols it exports, the symbols it needs. The twin of cext/core/elf.pxi.

A module is a relocatable ELF object of 32 or 64 bits in either byte order. Its pieces are where modpost(8) and
the kernel's <linux/export.h>, <linux/moduleparam.h> put them:

    .modinfo            `key=value` strings, each with its NUL
    __crc_SYMBOL        symbols: an export's CRC, as an absolute value, or (architectures with relative CRCs,
                        all since Linux 5.19) the place of a u32
    __ksymtab_SYMBOL    symbols: exports of a kernel without MODVERSIONS
    __ksymtab_strings   the exports' names, for a module whose local symbols were stripped
    __versions          64-byte records: unsigned long CRC, symbol: what was needed when the module was built
    __version_ext_crcs, __version_ext_names
                        u32 CRCs and as many strings: the same since Linux 6.13, for names of any length
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from elftools.construct import ConstructError
from elftools.elf.structs import ELFStructs

from tinykmod.errors import ModuleFormatError
from tinykmod.modules.elf_module import WHY, ElfModule, Fault

CRC = "__crc_"
KSYMTAB = "__ksymtab_"
VERSION_RECORD = 64

SHN_UNDEF = 0
SHN_ABS = 0xFFF1
SHN_XINDEX = 0xFFFF
STB_GLOBAL, STB_WEAK = 1, 2
STT_NOTYPE, STT_OBJECT, STT_SPARC_REGISTER = 0, 1, 13


class _Section(NamedTuple):
    name: bytes
    kind: str
    data: bytes
    link: int


class _DamageError(Exception):
    def __init__(self, fault: Fault, number: int = 0) -> None:
        self.why = WHY[fault].format(number)


def read_elf(data: bytes, which: str) -> ElfModule:
    """Read a module from its uncompressed bytes.

    Raises ModuleFormatError(which, ...) for what is not a relocatable ELF object, is cut short or contradicts itself.
    """
    try:
        return _Reader(data).module()
    except _DamageError as damage:
        raise ModuleFormatError(which, damage.why) from None


def read_versions(data: bytes, which: str) -> list[tuple[str, int]]:
    """The symbols that a module needed when it was built, with their CRCs, in the file's order.

    Raises ModuleFormatError as read_elf().
    """
    try:
        return list(_Reader(data).versions())
    except _DamageError as damage:
        raise ModuleFormatError(which, damage.why) from None


@cache
def _structs(little_endian: bool, bits: int) -> ELFStructs:
    structs = ELFStructs(little_endian, bits)
    structs.create_basic_structs()
    structs.create_advanced_structs()
    return structs


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        if data[:4] != b"\x7fELF":
            raise _DamageError(Fault.NOT_ELF)
        if len(data) < 16:
            raise _DamageError(Fault.CUT)
        if data[4] not in (1, 2):
            raise _DamageError(Fault.CLASS, data[4])
        if data[5] not in (1, 2):
            raise _DamageError(Fault.ORDER, data[5])
        self.bits = 32 * data[4]
        self.order = "<" if data[5] == 1 else ">"
        self.structs = _structs(self.order == "<", self.bits)
        try:
            header = self.structs.Elf_Ehdr.parse(data[:64])
        except ConstructError:
            raise _DamageError(Fault.CUT) from None
        if header.e_type != "ET_REL":
            raise _DamageError(Fault.TYPE, struct.unpack_from(f"{self.order}H", data, 16)[0])
        self.machine = header.e_machine
        self.sections = self._sections(header.e_shoff, header.e_shentsize, header.e_shnum, header.e_shstrndx)
        self.by_name: dict[bytes, _Section] = {}
        for section in self.sections:
            self.by_name.setdefault(section.name, section)

    def _range(self, offset: int, size: int, fault: Fault, number: int = 0) -> bytes:
        if offset + size > len(self.data):
            raise _DamageError(fault, number)
        return self.data[offset : offset + size]

    def _sections(self, offset: int, entry: int, count: int, names_at: int) -> list[_Section]:
        parse = self.structs.Elf_Shdr.parse
        size = 40 if self.bits == 32 else 64
        if entry != size or offset == 0:
            raise _DamageError(Fault.HEADERS)
        # Section 0 is no section: it holds the numbers that do not fit into the ELF header's 16 bits.
        first = parse(self._range(offset, size, Fault.HEADERS))
        count = count or first.sh_size
        names_at = first.sh_link if names_at == SHN_XINDEX else names_at
        table = self._range(offset, size * count, Fault.HEADERS)
        headers = [parse(table[at : at + size]) for at in range(0, len(table), size)]
        empty = ("SHT_NULL", "SHT_NOBITS")
        contents = [
            b"" if h.sh_type in empty else self._range(h.sh_offset, h.sh_size, Fault.SECTION, number)
            for number, h in enumerate(headers)
        ]
        if not 0 < names_at < count:
            raise _DamageError(Fault.NAMES, names_at)
        names = contents[names_at]
        return [
            _Section(
                b"" if number == 0 else _string(names, h.sh_name, Fault.SECTION_NAME, number),
                h.sh_type,
                contents[number],
                h.sh_link,
            )
            for number, h in enumerate(headers)
        ]

    def _section_data(self, name: bytes) -> bytes:
        return self.by_name[name].data if name in self.by_name else b""

    def module(self) -> ElfModule:
        exports: dict[str, int | None] = {}
        imports: dict[str, int | None] = {}
        weak = set()
        for number, name, kind, place, value in self._symbols():
            if place == SHN_UNDEF:
                if needed := self._needed(name, kind):
                    imports[needed] = None
                    if kind >> 4 == STB_WEAK:
                        weak.add(needed)
            elif name.startswith(CRC):
                exports[name[len(CRC) :]] = self._crc(number, place, value)
            elif name.startswith(KSYMTAB):
                exports.setdefault(name[len(KSYMTAB) :], None)
        if not exports:
            exports = {_text(name): None for name in self._section_data(b"__ksymtab_strings").split(b"\0") if name}
        for name, crc in self.versions():
            imports[name] = crc
        return ElfModule(tuple(self._modinfo()), exports, imports, frozenset(weak))

    def _modinfo(self) -> Iterator[tuple[str, str]]:
        data = self._section_data(b".modinfo")
        if data and data[-1] != 0:
            raise _DamageError(Fault.MODINFO)
        for line in data.split(b"\0"):
            key, equals, value = line.partition(b"=")
            if equals:
                yield _text(key), _text(value)

    def _symbols(self) -> Iterator[tuple[int, str, int, int, int]]:
        """The symbols that can be an import or mark an export: number, name, info, section, value."""
        at, table = next(((n, s) for n, s in enumerate(self.sections) if s.kind == "SHT_SYMTAB"), (0, None))
        if table is None:
            return
        records = struct.Struct(self.order + ("IIIBBH" if self.bits == 32 else "IBBHQQ"))
        if len(table.data) % records.size or not 0 < table.link < len(self.sections):
            raise _DamageError(Fault.SYMBOLS, at)
        strings = self.sections[table.link].data
        wide = self.bits == 64
        for number, record in enumerate(records.iter_unpack(table.data)):
            name, info, place, value = (
                (record[0], record[1], record[3], record[4]) if wide else (record[0], record[3], record[5], record[1])
            )
            if place == SHN_UNDEF:
                if info >> 4 not in (STB_GLOBAL, STB_WEAK):
                    continue
            elif info & 15 not in (STT_NOTYPE, STT_OBJECT):
                continue
            yield number, _text(_string(strings, name, Fault.SYMBOL_NAME, number)), info, place, value

    def _needed(self, name: str, info: int) -> str:
        """The name under which an undefined symbol is exported; "" where none exports it."""
        if self.machine in ("EM_SPARC", "EM_SPARCV9") and info & 15 == STT_SPARC_REGISTER:
            return ""
        return self._undotted(name)

    def _undotted(self, name: str) -> str:
        # On ppc64 a function's entry point has a dot before its name (ELF ABI v1); .TOC. is the linker's (v2).
        if self.machine != "EM_PPC64" or not name.startswith("."):
            return name
        return "" if name == ".TOC." else name[1:]

    def _crc(self, number: int, place: int, value: int) -> int:
        if place == SHN_ABS:
            return value & 0xFFFFFFFF
        data = self.sections[place].data if place < len(self.sections) else b""
        if value + 4 > len(data):
            raise _DamageError(Fault.CRC, number)
        crc: int = struct.unpack_from(f"{self.order}I", data, value)[0]
        return crc

    def versions(self) -> Iterator[tuple[str, int]]:
        data = self._section_data(b"__versions")
        if len(data) % VERSION_RECORD:
            raise _DamageError(Fault.VERSIONS)
        record = struct.Struct(self.order + ("I60s" if self.bits == 32 else "Q56s"))
        for number, (crc, field) in enumerate(record.iter_unpack(data)):
            if name := self._undotted(_text(_string(field, 0, Fault.VERSION_NAME, number))):
                yield name, crc & 0xFFFFFFFF
        crcs, names = self._section_data(b"__version_ext_crcs"), self._section_data(b"__version_ext_names")
        if len(crcs) % 4 or (names and names[-1] != 0):
            raise _DamageError(Fault.EXTENDED)
        values, fields = struct.unpack(f"{self.order}{len(crcs) // 4}I", crcs), names.split(b"\0")[:-1]
        if len(values) != len(fields):
            raise _DamageError(Fault.EXTENDED)
        for crc, field in zip(values, fields, strict=True):
            if name := self._undotted(_text(field)):
                yield name, crc


def _string(table: bytes, offset: int, fault: Fault, number: int) -> bytes:
    end = table.find(b"\0", offset)
    if end < 0:
        raise _DamageError(fault, number)
    return table[offset:end]


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")
