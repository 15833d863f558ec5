"""The .bin indexes that depmod leaves for modprobe: a trie from keys to values, big-endian, without alignment.

    u32 0xB007F457, u32 0x00020001 (a reader asks for major version 2), u32 root
    node        [prefix, NUL] [u8 first, u8 last, u32 child x (last - first + 1)]
                [u32 count, count x (u32 priority, value, NUL)]
    root, child flags | offset of a node, 28 bits; 0 is no child. The flags say which parts the node has:
                0x80000000 prefix, 0x40000000 values, 0x20000000 children

The arc to a child stands for one character of the key, the child's prefix for those that follow. Keys are of 7 bits.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable
from typing import NamedTuple

from tinykmod.errors import BinIndexError

MAGIC = 0xB007F457
VERSION = 0x00020001
HEADER = struct.Struct(">III")
PREFIX, VALUES, CHILDREN = 0x80000000, 0x40000000, 0x20000000
OFFSET = 0x0FFFFFFF

_U32 = struct.Struct(">I")


class Entry(NamedTuple):
    """One value of a key. Strings are UTF-8 with surrogateescape."""

    key: str
    value: str
    priority: int  # of a key's values the lower comes first


class _Node:
    """A node of which not all children are written yet."""

    __slots__ = ("children", "depth", "values")

    def __init__(self, depth: int) -> None:
        self.depth = depth  # length of the key that leads here
        self.values: list[tuple[int, bytes]] = []
        self.children: list[tuple[int, int]] = []  # character, flags | offset; ascending


def write_index(entries: Iterable[Entry], which: str | os.PathLike[str]) -> bytes:
    """The index of these entries. A key's values are put in order of priority, of equal ones the last given first.

    Raises BinIndexError(which, ...) for a key that is not of 7 bits, for a NUL, and beyond 256 MiB.
    """
    values: dict[bytes, list[tuple[int, bytes]]] = {}
    for name, value, priority in entries:
        values.setdefault(_bytes(name), []).append((priority, _bytes(value)))
    out = bytearray(HEADER.size)
    path = [_Node(0)]  # from the root to the last node; all else is written
    last = b""
    for key in sorted(values):
        held = values[key]
        if not key.isascii() or b"\0" in key:
            raise BinIndexError(which, f"a key must be of 7 bits, without NUL: {key!r}")
        for _, raw in held:
            if b"\0" in raw:
                raise BinIndexError(which, f"a value of {key!r} has a NUL")
        _close(out, path, last, _common(last, key))
        if len(key) > path[-1].depth:
            path.append(_Node(len(key)))
        if len(held) > 1:
            held.reverse()
            held.sort(key=lambda pair: pair[0])
        path[-1].values = held
        last = key
    _close(out, path, last, 0)
    reference = _write(out, path[0], b"")
    if len(out) > OFFSET:
        raise BinIndexError(which, f"{len(out)} bytes are more than an index can hold")
    HEADER.pack_into(out, 0, MAGIC, VERSION, reference)
    return bytes(out)


def read_index(data: bytes, which: str | os.PathLike[str]) -> list[Entry]:
    """All entries, by key, and a key's values in their order. Nodes may lie in any order: kmod has had two layouts.

    Raises BinIndexError(which, ...) for what is no index, is cut short, or leads out of the file or back to itself.
    """
    if len(data) < HEADER.size:
        raise BinIndexError(which, "cut short within the header")
    magic, version, root = HEADER.unpack_from(data)
    if magic != MAGIC:
        raise BinIndexError(which, "not an index of depmod")
    if version >> 16 != VERSION >> 16:
        raise BinIndexError(which, f"version {version >> 16} is unknown")
    found: list[Entry] = []
    seen: set[int] = set()
    pending: list[tuple[int, bytes]] = [(root, b"")]
    while pending:
        reference, key = pending.pop()
        at = reference & OFFSET
        # A node without any part takes no bytes: the root of an empty index.
        if not reference & (PREFIX | VALUES | CHILDREN):
            continue
        if at in seen or at < HEADER.size:
            raise BinIndexError(which, f"node at {at} makes no sense")
        seen.add(at)
        try:
            key, values, children = _read(data, reference, at, key)
        except (struct.error, ValueError, IndexError) as error:
            raise BinIndexError(which, f"cut short: the node at {at} does not end") from error
        try:
            name = key.decode("ascii")
        except UnicodeDecodeError as error:
            raise BinIndexError(which, f"node at {at} has a key that is not of 7 bits") from error
        found.extend(Entry(name, value.decode(errors="surrogateescape"), priority) for priority, value in values)
        pending.extend((child, key + bytes([char])) for char, child in reversed(children) if child)
    return found


def _common(a: bytes, b: bytes) -> int:
    """The length of what both begin with."""
    length = min(len(a), len(b))
    differing = int.from_bytes(a[:length], "big") ^ int.from_bytes(b[:length], "big")
    return length - (differing.bit_length() + 7) // 8


def _close(out: bytearray, path: list[_Node], key: bytes, depth: int) -> None:
    """Write every node of the path below a depth; then the path ends in a node of just that depth."""
    while path[-1].depth > depth:
        node = path.pop()
        if path[-1].depth < depth:
            path.append(_Node(depth))
        above = path[-1]
        above.children.append((key[above.depth], _write(out, node, key[above.depth + 1 : node.depth])))


def _write(out: bytearray, node: _Node, prefix: bytes) -> int:
    reference = len(out)
    if prefix:
        reference |= PREFIX
        out += prefix + b"\0"
    if node.children:
        reference |= CHILDREN
        first, last = node.children[0][0], node.children[-1][0]
        table = [0] * (last - first + 1)
        for char, child in node.children:
            table[char - first] = child
        out += struct.pack(f">BB{len(table)}I", first, last, *table)
    if node.values:
        reference |= VALUES
        out += _U32.pack(len(node.values))
        for priority, value in node.values:
            out += _U32.pack(priority) + value + b"\0"
    return reference


def _read(
    data: bytes, reference: int, at: int, key: bytes
) -> tuple[bytes, list[tuple[int, bytes]], list[tuple[int, int]]]:
    """A node's key, values and children. Raises struct.error, ValueError or IndexError where the file ends before."""
    children: list[tuple[int, int]] = []
    values: list[tuple[int, bytes]] = []
    if reference & PREFIX:
        end = data.index(b"\0", at)
        key += data[at:end]
        at = end + 1
    if reference & CHILDREN:
        first, last = data[at], data[at + 1]
        # struct refuses a first that is above last.
        table = struct.unpack_from(f">{last - first + 1}I", data, at + 2)
        children = list(zip(range(first, last + 1), table, strict=True))
        at += 2 + 4 * (last - first + 1)
    if reference & VALUES:
        (count,) = _U32.unpack_from(data, at)
        at += 4
        for _ in range(count):
            (priority,) = _U32.unpack_from(data, at)
            end = data.index(b"\0", at + 4)
            values.append((priority, data[at + 4 : end]))
            at = end + 1
    return key, values, children


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
