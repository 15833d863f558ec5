"""The .bin indexes that depmod leaves for modprobe: a trie from keys to values, big-endian, without alignment.

    u32 0xB007F457, u32 0x00020001 (a reader asks for major version 2), u32 root
    node        [prefix, NUL] [u8 first, u8 last, u32 child x (last - first + 1)]
                [u32 count, count x (u32 priority, value, NUL)]
    root, child flags | offset of a node, 28 bits; 0 is no child. The flags say which parts the node has:
                0x80000000 prefix, 0x40000000 values, 0x20000000 children

The arc to a child stands for one character of the key, the child's prefix for those that follow. Keys are of 7 bits.
"""

from __future__ import annotations

import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

from tinykmod.errors import BinIndexError
from tinykmod.kmod.glob import in_class

MAGIC = 0xB007F457
VERSION = 0x00020001
HEADER = struct.Struct(">III")
PREFIX, VALUES, CHILDREN = 0x80000000, 0x40000000, 0x20000000
OFFSET = 0x0FFFFFFF

_U32 = struct.Struct(">I")
_WILDCARDS = b"*?["
_T = TypeVar("_T")


class Entry(NamedTuple):
    """One value of a key. Strings are UTF-8 with surrogateescape."""

    key: str
    value: str
    priority: int  # of a key's values the lower comes first


class _Place(NamedTuple):
    """Where the parts of a node lie."""

    prefix: bytes
    first: int  # the character of the first child
    children: range  # the places of the references to them
    values: int  # where they begin; 0 is none


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


class BinIndex:
    """An index, read in place: a search touches only the nodes on its way. Nodes may lie in any order, since kmod
    has had two layouts.

    Raises BinIndexError(which, ...), here and in each search, for what is no index, is cut short, or leads out of the
    file or back to itself.
    """

    def __init__(self, data: bytes | mmap.mmap, which: str | os.PathLike[str]) -> None:
        if len(data) < HEADER.size:
            raise BinIndexError(which, "cut short within the header")
        magic, version, self._root = HEADER.unpack_from(data)
        if magic != MAGIC:
            raise BinIndexError(which, "not an index of depmod")
        if version >> 16 != VERSION >> 16:
            raise BinIndexError(which, f"version {version >> 16} is unknown")
        self._data = data
        self._which = which

    @classmethod
    def open(cls, path: Path) -> BinIndex | None:
        """The index in a file; None where there is no such file, or it is empty, which stands for no index.

        Raises OSError where it cannot be read.
        """
        try:
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                return cls(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), path) if size else None
        except FileNotFoundError:
            return None

    def entries(self) -> list[Entry]:
        """All, by key, and a key's values in their order."""
        found = []
        for raw, values in self._walk(b"", lambda key, char: key + bytes([char]), lambda _, chars: chars):
            try:
                key = raw.decode("ascii")
            except UnicodeDecodeError as error:
                raise BinIndexError(self._which, f"a key is not of 7 bits: {raw!r}") from error
            found += [Entry(key, _text(value), priority) for priority, value in values]
        return sorted(found, key=lambda entry: entry.key)

    def get(self, key: str) -> str | None:
        """The first value of just this key."""
        rest = _bytes(key)
        reference = self._root
        while reference:
            node = self._node(reference)
            if not rest.startswith(node.prefix):
                break
            rest = rest[len(node.prefix) :]
            if not rest:
                return next((_text(value) for _, value in self._values(node)), None)
            reference = self._child(node, rest[0])
            rest = rest[1:]
        return None

    def search(self, text: str) -> list[str]:
        """The values of all keys that match as patterns, by priority; of equal ones the last found comes first."""
        search = _Search(_bytes(text))
        walk = self._walk(_Matched(1, False, b""), search.step, search.order)
        found = [value for state, values in walk if search.ends(state) for value in values]
        found.reverse()
        return [_text(value) for _, value in sorted(found, key=lambda pair: pair[0])]

    def _walk(
        self, start: _T, step: Callable[[_T, int], _T | None], order: Callable[[_T, range], Iterable[int]]
    ) -> Iterator[tuple[_T, list[tuple[int, bytes]]]]:
        """Go through the keys whose every character takes a step from a state to a next one: the state at a key's
        end, and the key's values; children, in the given order of those that a node can have, before their parent."""
        seen: set[int] = set()
        pending: list[tuple[int, _T, _Place | None]] = [(self._root, start, None)]
        while pending:
            reference, state, place = pending.pop()
            if place is not None:
                yield state, self._values(place)
                continue
            if reference & OFFSET in seen:
                raise BinIndexError(self._which, f"two ways lead to the node at {reference & OFFSET}")
            seen.add(reference & OFFSET)
            node = self._node(reference)
            after: _T | None = state
            for char in node.prefix:
                if after is None:
                    break
                after = step(after, char)
            if after is None:
                continue
            if node.values:
                pending.append((reference, after, node))
            below = []
            for char in order(after, range(node.first, node.first + len(node.children))):
                child = self._child(node, char)
                if child and (next_state := step(after, char)) is not None:
                    below.append((child, next_state, None))
            pending += reversed(below)

    def _node(self, reference: int) -> _Place:
        at = reference & OFFSET
        prefix, first, children, values = b"", 0, range(0), 0
        # A node without any part takes no bytes: the root of an empty index.
        if reference & ~OFFSET and at < HEADER.size:
            raise BinIndexError(self._which, f"node at {at} lies in the header")
        if reference & PREFIX:
            end = self._end(at)
            prefix = self._data[at:end]
            at = end + 1
        if reference & CHILDREN:
            if at + 2 > len(self._data) or self._data[at + 1] < self._data[at]:
                raise self._cut(reference)
            first = self._data[at]
            children = range(at + 2, at + 2 + 4 * (self._data[at + 1] - first + 1), 4)
            at = children.stop
        if reference & VALUES:
            values = at
            at += 4
        if at > len(self._data):
            raise self._cut(reference)
        return _Place(prefix, first, children, values)

    def _child(self, node: _Place, char: int) -> int:
        """The reference to a node's child; 0 is none."""
        if not 0 <= char - node.first < len(node.children):
            return 0
        reference: int = _U32.unpack_from(self._data, node.children[char - node.first])[0]
        return reference

    def _values(self, node: _Place) -> list[tuple[int, bytes]]:
        """Each value with its priority, in the file's order."""
        found: list[tuple[int, bytes]] = []
        if node.values:
            at = node.values + 4
            for _ in range(_U32.unpack_from(self._data, node.values)[0]):
                end = self._end(at + 4)
                found.append((_U32.unpack_from(self._data, at)[0], self._data[at + 4 : end]))
                at = end + 1
        return found

    def _end(self, at: int) -> int:
        """Where the string ends that begins here."""
        end = self._data.find(b"\0", at)
        if end < 0:
            raise self._cut(at)
        return end

    def _cut(self, reference: int) -> BinIndexError:
        return BinIndexError(self._which, f"cut short: what begins at {reference & OFFSET} does not end")


class _Matched(NamedTuple):
    """How a text can have been matched by the beginning of a pattern."""

    ends: int  # bit N: the first N characters are matched
    wild: bool  # a wildcard has come
    unread: bytes  # the beginning of a bracket, or a backslash


class _Search:
    """Patterns, as fnmatch(3) has them, against one text: character by character, so that what patterns share, as
    the keys of an index do, is looked at once, and what no longer fits is left."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._full = (1 << len(text) + 1) - 1
        self._at: dict[int, int] = {}  # character -> bit N: the text has it at N
        for place, char in enumerate(text):
            self._at[char] = self._at.get(char, 0) | 1 << place

    def step(self, state: _Matched, char: int) -> _Matched | None:
        """One more character of a pattern; None where nothing can match it."""
        ends, wild, unread = state
        if unread[:1] == b"[":
            unread += bytes([char])
            if char != ord("]"):
                return _Matched(ends, True, unread)
            ends = (ends & sum(at for other, at in self._at.items() if in_class(unread, other))) << 1
        elif unread or char not in b"*?[\\" or (char == ord("\\") and not wild):
            ends = (ends & self._at.get(char, 0)) << 1
        elif char == ord("*"):
            # All ends from the first on.
            ends, wild = self._full & -(ends & -ends), True
        elif char == ord("?"):
            ends, wild = self._full & ends << 1, True
        else:
            return _Matched(ends, True, bytes([char]))
        return _Matched(ends, wild, b"") if ends else None

    def order(self, state: _Matched, chars: range) -> Iterable[int]:
        """In which order kmod goes to a node's children."""
        if state.wild:
            return chars
        place = state.ends.bit_length() - 1
        return dict.fromkeys(_WILDCARDS + self._text[place : place + 1])

    def ends(self, state: _Matched) -> bool:
        """Whether a pattern that leads here matches the whole text."""
        return not state.unread and state.ends >> len(self._text) == 1


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


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _text(raw: bytes) -> str:
    return raw.decode(errors="surrogateescape")
