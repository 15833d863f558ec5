"""The sections of a .ko, and what they take once the kernel has loaded them."""

from __future__ import annotations

import struct
from typing import NamedTuple

from tinykmod.errors import ModuleFormatError

NO_BITS = 8  # sh_type of what takes memory but no bytes in the file
WRITE, ALLOCATE, EXECUTE = 1, 2, 4  # sh_flags
SHN_XINDEX = 0xFFFF

#: What the linker marks as to be loaded and the kernel leaves out (kernel/module/main.c: rewrite_section_headers).
NOT_LOADED = (".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names")


class Section(NamedTuple):
    """One section header; `size` and `align` are bytes."""

    name: str
    kind: int  # sh_type
    flags: int  # sh_flags
    offset: int
    size: int
    align: int


class Memory(NamedTuple):
    """Bytes of a module in the kernel's memory, as its sections tell: each kernel rounds them up to pages in its own
    way, and adds the symbol table."""

    core: int  # for as long as it is loaded
    init: int  # until its init function has returned


def read_sections(data: bytes, which: str) -> list[Section]:
    """Every section of an uncompressed module, in the file's order, without the empty first.

    Raises ModuleFormatError(which, ...) for what is not ELF or is cut short.
    """
    if data[:4] != b"\x7fELF" or len(data) < 16 or data[4] not in (1, 2) or data[5] not in (1, 2):
        raise ModuleFormatError(which, "not an ELF file")
    wide, order = data[4] == 2, "<" if data[5] == 1 else ">"
    word = "Q" if wide else "I"
    row = struct.Struct(f"{order}II{word * 4}II{word * 2}")
    try:
        (table,) = struct.unpack_from(order + word, data, 40 if wide else 32)  # e_shoff
        size, count, names = struct.unpack_from(f"{order}3H", data, 58 if wide else 46)
        if size != row.size:
            raise ModuleFormatError(which, "its section headers make no sense")
        # Section 0 holds the numbers that do not fit into the ELF header's 16 bits.
        first = row.unpack_from(data, table)
        count, names = count or first[5], first[6] if names == SHN_XINDEX else names
        rows = list(row.iter_unpack(data[table : table + count * size]))
        at, length = rows[names][4:6]
    except (struct.error, IndexError):
        raise ModuleFormatError(which, "cut short: the section headers lie outside the file") from None
    texts = data[at : at + length]
    return [
        Section(_text(texts, name), kind, flags, offset, length, align)
        for name, kind, flags, _, offset, length, _, _, align, _ in rows[1:]
    ]


def memory(sections: list[Section]) -> Memory:
    """What a module's sections take in memory."""
    sizes = [0, 0]
    for section in sections:
        if section.flags & ALLOCATE and section.name not in NOT_LOADED:
            part = section.name.startswith(".init")
            sizes[part] += -sizes[part] % max(1, section.align) + section.size
    return Memory(*sizes)


def _text(texts: bytes, offset: int) -> str:
    end = texts.find(b"\0", offset)
    return texts[offset : end if end >= 0 else len(texts)].decode(errors="surrogateescape")
