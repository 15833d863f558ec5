"""The boot index, version 3: what is where in a `.tki` file. docs/index-format.md draws it.

This is the only place where the format is written down. The compiler and the reader use it as it is, and
scripts/generate_format.py turns it into cext/core/format.pxi for the Cython core.
"""

from __future__ import annotations

import struct
import sys
from array import array
from enum import IntEnum, IntFlag
from itertools import accumulate

#: A byte above 0x7f, a CR-LF and a ^Z, as in PNG: a copy made in text mode no longer begins with this.
MAGIC = b"\x89TKI\r\n\x1a\n"
VERSION = 3
#: Stands in the file in the target's byte order; read as 0x04030201, the index is of the other order.
BYTE_ORDER = 0x01020304

#: "no such thing" wherever a u32 refers to a module, a node or a value.
NONE = 0xFFFFFFFF


class Section(IntEnum):
    """The tables, in the order of the header's directory."""

    STRINGS = 0
    MODULES = 1
    BY_NAME = 2
    LINKS = 3
    NODES = 4
    VALUES = 5
    BUILTINS = 6
    STATEMENTS = 7
    PLAN = 8


class Root(IntEnum):
    """The alias matchers, in the order of the header's roots (kmod's lookup order)."""

    CONFIG = 0
    ALIAS = 1
    BUILTIN = 2


class NodeKind(IntEnum):
    """What a matcher node consumes."""

    LITERAL = 0
    STAR = 1
    ANY = 2
    CLASS = 3
    TAIL = 4


class ModuleFlag(IntFlag):
    """Bits of a module record's flags."""

    BLACKLISTED = 1
    COMPRESSED = 2
    INSTALL = 4  # the configuration has an install command for it
    REFUSED = 8  # that command is `false`: it is not loaded, and what needs it is not either
    SKIPPED = 16  # that command is `true`: it is not loaded, and what needs it is loaded without it
    PROCESSOR = 32  # it asks for a feature of the processor (an alias `cpu:...`) and finds nothing to do without
    HASH = 64  # such a one that checks modules' signatures: what is loaded after it is checked sooner
    DRIVER = 128  # devices ask for it; one that none asks for has nothing to probe


#: The module is not loaded, whoever asks.
FORBIDDEN = ModuleFlag.REFUSED | ModuleFlag.SKIPPED


class StatementKind(IntEnum):
    """What a statement of modprobe.d says, by its keyword; in the order in which `modprobe -c` prints them."""

    BLACKLIST = 0
    INSTALL = 1
    REMOVE = 2
    ALIAS = 3
    OPTIONS = 4
    SOFTDEP = 5
    WEAKDEP = 6


class PlanFlag(IntFlag):
    """Bits of a planned module's flags."""

    ROOT = 1  # it leads to the root's device
    FILESYSTEM = 2  # it is for the root's filesystem


#: Record layouts: field name -> struct format character (B u8, H u16, I u32, Q u64). Every record is a multiple
#: of 4 bytes and every field is naturally aligned, so a C struct of the same fields has the same layout.
HEADER = {
    "magic": "8s",
    "byte_order": "I",
    "version": "I",
    "size": "Q",  # of the whole file in bytes; a multiple of 8
    "sum": "Q",  # sum of the u64 words after `weighted`, modulo 2**64
    "weighted": "Q",  # sum of the running values of `sum`: sees words that changed places
    "digest": "32s",  # SHA-256 of what the index was made from
    "release": "I",  # string: the kernel release, as uname -r
    "classes": "I",  # class bits that the index was made for
    "roots": "3I",  # node of each Root, or NONE
    "stars": "I",  # STAR nodes: how many marks a search needs
}
#: A directory of len(Section) of these follows the header.
TABLE = {
    "offset": "I",  # from the start of the file; a multiple of 8
    "count": "I",  # records (for STRINGS: bytes)
}
MODULE = {
    "name": "I",  # string, normalised
    "path": "I",  # string, relative to /lib/modules/RELEASE
    "options": "I",  # string: every `options` line that applies, joined with spaces
    "deps": "I",  # LINKS[deps]: n_deps modules in load order, closure; then n_direct of them that this one names
    "soft": "I",  # LINKS[soft]: n_pre, then n_post, then n_weak modules
    "size": "I",  # of the file in bytes
    "classes": "H",  # driver class bits
    "flags": "H",  # ModuleFlag
    "n_deps": "H",
    "n_direct": "H",
    "n_pre": "H",
    "n_post": "H",
    "n_weak": "H",
    "unused": "H",
}
NODE = {
    "text": "I",  # string: LITERAL its characters, CLASS the bracket, TAIL the rest of the pattern; STAR: its number
    "first": "I",  # NODES: first child, always further on than this node; TAIL: first of VALUES
    "count": "H",  # children, sorted by key; TAIL: values
    "kind": "B",  # NodeKind
    "key": "B",  # first character, normalised, where it is an ordinary one; else 0, and the child is always tried
}
VALUE = {
    "module": "I",  # module; with root BUILTIN the position in BUILTINS; NONE: an alias that leads nowhere
    "raw": "I",  # string: the pattern as it was written, where the path through the nodes spells it otherwise; else 0
}
STATEMENT = {
    "name": "I",  # string: the module or pattern that it is about, normalised
    "text": "I",  # string: what it says of it; empty for a blacklist
    "file": "I",  # string: where it stands, as seen below the root
    "line": "I",
    "kind": "I",  # StatementKind
}
PLANNED = {
    "module": "I",
    "length": "I",  # microseconds from its start to the end of all that waits for it, as a boot took them
    "flags": "I",  # PlanFlag
}
#: BY_NAME, LINKS: u32 module numbers. BUILTINS: u32 strings, sorted by byte value.

RECORDS = {"Header": HEADER, "Table": TABLE, "Module": MODULE, "Node": NODE, "Value": VALUE, "Statement": STATEMENT,
           "Planned": PLANNED}  # fmt: skip


def layout(record: dict[str, str]) -> str:
    """The struct format of a record, without the byte-order prefix."""
    return "".join(record.values())


def record_size(record: dict[str, str]) -> int:
    """Bytes a record takes, the same in either byte order."""
    return struct.calcsize("<" + layout(record))


#: Bytes a record of each section takes.
ITEM = {
    Section.STRINGS: 1,
    Section.MODULES: record_size(MODULE),
    Section.BY_NAME: 4,
    Section.LINKS: 4,
    Section.NODES: record_size(NODE),
    Section.VALUES: record_size(VALUE),
    Section.BUILTINS: 4,
    Section.STATEMENTS: record_size(STATEMENT),
    Section.PLAN: record_size(PLANNED),
}
#: The checksum covers the u64 words from here to the end: everything but what finds them and the sums themselves.
SUMMED_FROM = 40


def checksum(data: bytes | bytearray | memoryview, byteorder: str) -> tuple[int, int]:
    """The header's (`sum`, `weighted`) of an index whose size is a multiple of 8.

    Fletcher's two sums over u64 words, modulo 2**64. They cost the loader a few instructions a word, which is why
    they are not a CRC: one changed byte always changes `sum`, two words that changed places change `weighted`.
    """
    words = array("Q")
    words.frombytes(data[SUMMED_FROM:])
    if byteorder != sys.byteorder:
        words.byteswap()
    mask = (1 << 64) - 1
    return sum(words) & mask, sum(accumulate(words)) & mask
