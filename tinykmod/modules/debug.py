"""Debug sections of a module (DWARF's `.debug_*`, and the relocations of these): larger than all the rest of it, and
nothing that the kernel reads."""

from __future__ import annotations

import re
import struct

_IS_DEBUG = re.compile(rb"(\.rela?)?\.debug")

_PROGRESS_BITS, _RELOCATIONS = 1, (4, 9)  # sh_type
_EMPTY = (0, 8)  # SHT_NULL, SHT_NOBITS: no bytes in the file
_ALLOCATED, _COMPRESSED = 2, 0x800  # sh_flags


def without_debug(module: bytes) -> bytes:
    """An unsigned module without what is in its debug sections; as it is where that makes it no smaller, or it is
    no relocatable ELF file whose sections can be made out.

    The sections themselves stay, empty, so that each has its number still, by which symbols and relocations name it.
    """
    try:
        return _Sections(module).stripped()
    except (struct.error, IndexError, OverflowError):
        return module


class _Sections:
    def __init__(self, module: bytes) -> None:
        self.module = module
        if module[:4] != b"\x7fELF" or module[4] not in (1, 2) or module[5] not in (1, 2):
            raise IndexError
        wide = module[4] == 2
        order = "<" if module[5] == 1 else ">"
        word = "Q" if wide else "I"
        self.start = struct.Struct(order + word), 40 if wide else 32  # e_shoff
        self.row = struct.Struct(f"{order}II{word * 4}II{word * 2}")
        (table,) = self.start[0].unpack_from(module, self.start[1])
        # Of the header: its size, program headers, then sections: the size of a row, how many, which has the names.
        self.header, _, segments, size, count, names = struct.unpack_from(f"{order}6H", module, 52 if wide else 40)
        if segments or size != self.row.size or not 0 < names < count:
            raise IndexError
        self.rows = [list(self.row.unpack_from(module, table + number * size)) for number in range(count)]
        self.names = self._contents(names)

    def _contents(self, number: int) -> bytes:
        _, kind, _, _, offset, size, *_ = self.rows[number]
        if kind in _EMPTY:
            return b""
        if offset + size > len(self.module):
            raise IndexError
        return self.module[offset : offset + size]

    def _is_debug(self, number: int) -> bool:
        name, kind, flags, *_ = self.rows[number]
        known = kind == _PROGRESS_BITS or kind in _RELOCATIONS
        return known and not flags & _ALLOCATED and _IS_DEBUG.match(self.names, name) is not None

    def stripped(self) -> bytes:
        debug = {number for number in range(len(self.rows)) if self._is_debug(number)}
        if not debug:
            return self.module
        kept = [number for number, row in enumerate(self.rows) if number not in debug and row[1] not in _EMPTY]
        # All that is laid out anew, each with room to align it: what is not smaller is left alone.
        if sum(self.rows[number][5] + self.rows[number][8] for number in kept) > len(self.module) - self.header:
            return self.module
        out = bytearray(self.module[: self.header])
        for number in sorted(kept, key=lambda number: (self.rows[number][4], number)):
            contents = self._contents(number)
            out += bytes(-len(out) % max(1, self.rows[number][8]))
            self.rows[number][4] = len(out)
            out += contents
        out += bytes(-len(out) % 8)
        for number in debug:
            self.rows[number][2] &= ~_COMPRESSED
            self.rows[number][4:6] = len(out), 0
        packer, at = self.start
        packer.pack_into(out, at, len(out))
        out += b"".join(self.row.pack(*row) for row in self.rows)
        return bytes(out) if len(out) < len(self.module) else self.module
