"""The exports of a kernel that is only an image of memory: arm64's Image, and others without sections.

Their tables lie one behind the other (include/asm-generic/vmlinux.lds.h): __ksymtab and __ksymtab_gpl, each sorted by
name, of entries of three s32 that count from their own place (value, name, namespace); then the CRCs of both, u32;
then the names. They are found by a name that every kernel with modules exports. What does not hold together in all of
this counts as no table.
"""

from __future__ import annotations

import re
import struct
from typing import NamedTuple

_ANCHOR = b"module_layout"  # exported wherever CRCs are (kernel/module/version.c)
_ENTRY = struct.Struct("<3i")
_REACH = 1 << 22  # bytes before a name in which its entry lies
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.$]*\0")


class RawExport(NamedTuple):
    """One export."""

    name: str
    namespace: str
    gpl_only: bool
    crc: int


def raw_exports(image: bytes) -> list[RawExport]:
    """The exports in an uncompressed little-endian image; none where no table is found."""
    at = image.find(b"\0" + _ANCHOR + b"\0")
    while at >= 0:
        if found := _tables(image, at + 1):
            return found
        at = image.find(b"\0" + _ANCHOR + b"\0", at + 1)
    return []


def _tables(image: bytes, name: int) -> list[RawExport]:
    """The tables in which an entry names the string at this place."""
    begin = max(0, name - _REACH) & ~3
    words = struct.unpack_from(f"<{(name - begin) // 4}i", image, begin)
    for place, word in enumerate(words):
        if begin + 4 * place + word == name:
            first = last = begin + 4 * place - 4
            while _name(image, first - _ENTRY.size):
                first -= _ENTRY.size
            while _name(image, last + _ENTRY.size):
                last += _ENTRY.size
            if exports := _with_crcs(image, range(first, last + 1, _ENTRY.size)):
                return exports
    return []


def _with_crcs(image: bytes, entries: range) -> list[RawExport]:
    names = [_name(image, at) for at in entries]
    gpl = [number for number in range(1, len(names)) if names[number] < names[number - 1]]
    crcs = entries[-1] + _ENTRY.size
    # Just two sorted runs, and behind their CRCs the names.
    if len(gpl) != 1 or crcs + 4 * len(names) > len(image):
        return []
    known = struct.unpack_from(f"<{len(names)}I", image, crcs)
    return [
        RawExport(name.decode(), _namespace(image, at), number >= gpl[0], crc)
        for number, (at, name, crc) in enumerate(zip(entries, names, known, strict=True))
    ]


def _name(image: bytes, at: int) -> bytes:
    """The name of the entry here; none where it leads to no name."""
    if at < 0 or at + _ENTRY.size > len(image):
        return b""
    target = at + 4 + _ENTRY.unpack_from(image, at)[1]
    # The names come behind the entries.
    found = _NAME.match(image, target) if at < target < len(image) else None
    return found[0][:-1] if found else b""


def _namespace(image: bytes, at: int) -> str:
    target = at + 8 + _ENTRY.unpack_from(image, at)[2]
    found = _NAME.match(image, target) if at < target < len(image) else None
    return found[0][:-1].decode() if found else ""
