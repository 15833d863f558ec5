"""Whether a module's BTF fits its kernel's (Documentation/bpf/btf.rst): a module's types count on from the kernel's.

Only what the kernel would stumble over is looked at: names and types that lie in neither. That a number means another
type than it did shows in the kernel's log alone.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAGIC = 0xEB9F
_HEADER = "HBBIIIII"
#: Bytes behind a type's record: a fixed number, and a number for each of its members (linux/btf.h).
_KINDS = {
    1: (4, 0), 2: (0, 0), 3: (12, 0), 4: (0, 12), 5: (0, 12), 6: (0, 8), 7: (0, 0), 8: (0, 0), 9: (0, 0),
    10: (0, 0), 11: (0, 0), 12: (0, 0), 13: (0, 8), 14: (4, 0), 15: (0, 12), 16: (0, 0), 17: (4, 0), 18: (0, 0),
    19: (0, 12),
}  # fmt: skip
#: Those whose record ends with a type's number, and not with a size.
_REFER = frozenset((2, 8, 9, 10, 11, 12, 13, 14, 17, 18))


class Sizes(NamedTuple):
    """What a module's types count on from."""

    types: int
    strings: int  # bytes


def read(data: bytes, order: str, base: Sizes | None = None) -> tuple[Sizes, str]:
    """The sizes of a .BTF section, and why it does not fit the kernel's, BASE; empty where it does.

    ORDER is `<` or `>`. Without BASE these are the kernel's own.
    """
    none = Sizes(0, 0)
    if len(data) < 24:
        return none, "it is cut short"
    magic, _, _, header, types_at, types_size, strings_at, strings_size = struct.unpack_from(order + _HEADER, data)
    if magic != MAGIC:
        return none, f"it begins with 0x{magic:04x}, not 0x{MAGIC:04x}"
    if header + max(types_at + types_size, strings_at + strings_size) > len(data):
        return none, "it is cut short"
    from_types, from_strings = base or none
    types = data[header + types_at : header + types_at + types_size]
    at, count, highest = 0, 0, 0
    names = from_strings + strings_size
    while at + 12 <= len(types):
        name, info, last = struct.unpack_from(f"{order}III", types, at)
        kind, members = info >> 24 & 0x1F, info & 0xFFFF
        if kind not in _KINDS:
            return Sizes(count, strings_size), f"its type {count + 1} is of unknown kind {kind}"
        if name >= names:
            return Sizes(count, strings_size), f"its type {count + 1} has its name outside the strings"
        if kind in _REFER:
            highest = max(highest, last)
        fixed, each = _KINDS[kind]
        at += 12 + fixed + each * members
        count += 1
    if base is not None and highest > from_types + count:
        return Sizes(count, strings_size), f"it refers to type {highest}, but there are {from_types + count}"
    return Sizes(count, strings_size), ""
