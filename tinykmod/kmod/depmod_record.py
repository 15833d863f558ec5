"""What depmod wants to know of one module, as bytes: so the extension keeps it, and the cache of `depmod -A`.

A record is a run of entries: a tag, for tags in upper case a u32 in this machine's byte order, a text, NUL.

    a, s, w     an alias, a softdep, a weakdep of .modinfo, in the file's order
    e, E        an exported symbol, E with its CRC
    i, o        a needed symbol; o one that may be missing (weak)
    I           a needed symbol with the CRC that it had when the module was built

cext/depmod/record.pxi writes and reads the same.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tinykmod.kmod.names import encoded
from tinykmod.modules.elf_module import ElfModule

_MODINFO = {"alias": b"a", "softdep": b"s", "weakdep": b"w"}
_KEYS = {ord(tag): key for key, tag in _MODINFO.items()}
_CRC = struct.Struct("=I")


def pack(module: ElfModule) -> bytes:
    """The record of a module."""

    def entries() -> Iterator[bytes]:
        for symbol, crc in module.exports.items():
            yield (b"e" if crc is None else b"E" + _CRC.pack(crc)) + encoded(symbol)
        for symbol in module.imports:
            yield (b"o" if symbol in module.weak else b"i") + encoded(symbol)
        for symbol, crc in module.imports.items():
            if crc is not None:
                yield b"I" + _CRC.pack(crc) + encoded(symbol)
        for key, value in module.modinfo:
            if key in _MODINFO:
                yield _MODINFO[key] + encoded(value)

    return b"".join(entry + b"\0" for entry in entries())


def unpack(record: bytes) -> ElfModule:
    """The module of a record: of modinfo it has aliases, softdeps and weakdeps only."""
    modinfo = []
    exports: dict[str, int | None] = {}
    imports: dict[str, int | None] = {}
    weak = set()
    at = 0
    while at < len(record):
        tag = record[at]
        begin = at + (5 if tag in b"EI" else 1)
        at = record.index(b"\0", begin) + 1
        text = record[begin : at - 1].decode(errors="surrogateescape")
        if tag in _KEYS:
            modinfo.append((_KEYS[tag], text))
        elif tag == ord("E"):
            exports[text] = _CRC.unpack_from(record, begin - 4)[0]
        elif tag == ord("e"):
            exports.setdefault(text, None)
        else:
            imports[text] = _CRC.unpack_from(record, begin - 4)[0] if tag == ord("I") else None
            if tag == ord("o"):
                weak.add(text)
    return ElfModule(tuple(modinfo), exports, imports, frozenset(weak))
