"""Packed modules, `.ko.tkp`: what the loader decompresses itself. docs/packed-module.md draws the format. unpack() is
the twin of cext/core/packed.pxi, turn() of cext/faces/packed.pxi.

An LZ4 block is the quickest to undo, and too large: relocations and symbols are records whose bytes hardly repeat in
a row, though each resembles the record before. So those tables are first turned round, all first bytes of the records
before all second ones, with a relocation's place as the difference to the last one's. Debian's modules are then
three quarters of the size that LZ4 alone gives them.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from tinykmod import core
from tinykmod.errors import ModuleFormatError

SUFFIX = ".ko.tkp"
MAGIC = b"\x89TKP"
#: After the magic: the module's size in bytes, the number of tables. Every number is little-endian.
_HEADER = struct.Struct("<4sII")
#: Offset, records, planes (bit N: not all bytes N are 0), bytes a record, bytes of its first number where that is a
#: difference. Then the LZ4 block.
_TABLE = struct.Struct("<IIIHH")
#: Bytes of a record at most, one for each bit of `planes`.
WIDEST = 32
#: A table takes 16 bytes of its own.
FEWEST = 16
#: Each further level of LZ4's takes a fifth more of the time, for 1.7 percent of Debian's modules and then less.
LEVEL = 3

_SYMBOLS, _RELA, _REL = 2, 4, 9  # sh_type
#: Bytes of a number -> array's code for it.
_CODES = {array(code).itemsize: code for code in "IQ"}
#: No byte of an LZ4 block stands for more.
_LZ4_MOST = 255


class _Table(NamedTuple):
    offset: int
    records: int
    planes: int
    width: int
    word: int

    @property
    def end(self) -> int:
        return self.offset + self.records * self.width


def pack(module: bytes) -> bytes:
    """The packed form of a module's uncompressed bytes; the same for the same bytes."""
    import lz4.block

    turned = bytearray(module)
    tables = list(_tables(module))
    planes = (turn if core.extension is None else core.extension.turn)(turned, tables)
    block = lz4.block.compress(turned, mode="high_compression", compression=LEVEL, store_size=False)
    rows = [_TABLE.pack(*table._replace(planes=each)) for table, each in zip(tables, planes, strict=True)]
    return b"".join([_HEADER.pack(MAGIC, len(module), len(tables)), *rows, block])


def turn(module: bytearray, tables: Sequence[_Table]) -> list[int]:
    """Turn the tables of a module round, in place; the planes of each."""
    found = []
    for table in tables:
        records = module[table.offset : table.end]
        if table.word:
            _differences(records, table)
        columns = [records[place :: table.width] for place in range(table.width)]
        module[table.offset : table.end] = b"".join(columns)
        found.append(sum(1 << place for place, column in enumerate(columns) if column.strip(b"\0")))
    return found


def unpack(data: bytes, which: str) -> bytes:
    """The module within. Raises ModuleFormatError(which, ...) where DATA are damaged."""
    import lz4.block

    try:
        _, size, count = _HEADER.unpack_from(data)
        body = _HEADER.size + count * _TABLE.size
        if body > len(data) or size > _LZ4_MOST * len(data):
            raise ValueError("its header tells more than there is")
        tables = [_Table._make(fields) for fields in _TABLE.iter_unpack(data[_HEADER.size : body])]
        for table in tables:
            if not 0 < table.width <= WIDEST or table.end > size or not _word_fits(table):
                raise ValueError("a table lies outside")
        module = bytearray(lz4.block.decompress(memoryview(data)[body:], uncompressed_size=size))
        if len(module) != size:
            raise ValueError("its header tells another size")
    except (struct.error, ValueError, lz4.block.LZ4BlockError) as error:
        raise ModuleFormatError(which, f"packed data are damaged: {error}") from error
    for table in tables:
        _turn_back(module, table)
    return bytes(module)


def _tables(module: bytes) -> Iterator[_Table]:
    """The relocations and symbols of a little-endian ELF file, in the file's order; of anything else nothing."""
    if module[:4] != b"\x7fELF" or module[4:6] not in (b"\1\1", b"\2\1"):
        return
    wide = module[4] == 2
    try:
        (start,) = struct.unpack_from("<Q" if wide else "<I", module, 40 if wide else 32)
        size, count = struct.unpack_from("<HH", module, 58 if wide else 46)
        layout = "<4xI16xQQ16xQ" if wide else "<4xI8xII12xI"
        sections = [struct.unpack_from(layout, module, start + number * size) for number in range(count)]
    except (struct.error, OverflowError):
        return
    last = 0
    for kind, offset, length, width in sorted(sections, key=lambda section: section[1]):
        if kind not in (_SYMBOLS, _RELA, _REL) or not 0 < width <= WIDEST or length // width < FEWEST:
            continue
        word = 0 if kind == _SYMBOLS else 8 if wide else 4
        table = _Table(offset, length // width, 0, width, word)
        if last <= offset and table.end <= len(module) and _word_fits(table):
            yield table
            last = table.end


def _word_fits(table: _Table) -> bool:
    """Whether each record begins at a multiple of its first number's size."""
    return table.word == 0 or (table.word in _CODES and table.offset % table.word == table.width % table.word == 0)


def _first_numbers(records: bytearray, table: _Table) -> tuple[array[int], array[int]]:
    """All numbers of the records, and the first of each."""
    numbers = array(_CODES[table.word], records)
    if struct.pack("=I", 1) != struct.pack("<I", 1):
        raise ModuleFormatError("packed module", "is neither made nor read on a big-endian machine")
    return numbers, numbers[:: table.width // table.word]


def _differences(records: bytearray, table: _Table) -> None:
    numbers, first = _first_numbers(records, table)
    mask = (1 << 8 * table.word) - 1
    last = array(first.typecode, [0]) + first
    numbers[:: table.width // table.word] = array(
        first.typecode, [(number - before) & mask for number, before in zip(first, last, strict=False)]
    )
    records[:] = numbers.tobytes()


def _turn_back(module: bytearray, table: _Table) -> None:
    columns = bytes(module[table.offset : table.end])
    records = bytearray(len(columns))
    for place in range(table.width):
        if table.planes >> place & 1:
            records[place :: table.width] = columns[place * table.records : (place + 1) * table.records]
    if table.word:
        numbers, first = _first_numbers(records, table)
        mask = (1 << 8 * table.word) - 1
        sums = accumulate(first, lambda total, number: (total + number) & mask)
        numbers[:: table.width // table.word] = array(first.typecode, sums)
        records[:] = numbers.tobytes()
    module[table.offset : table.end] = records
