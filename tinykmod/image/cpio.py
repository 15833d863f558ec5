"""The newc cpio archive, the only one that the kernel unpacks as an initramfs.

The format is the kernel's Documentation/driver-api/early-userspace/buffer-format.rst: `070701`, thirteen
fields of eight hex digits, the NUL-ended name, then the data, both padded to 4 bytes. What the writer decides
itself is fixed (inode numbers count up, uid and gid 0, one mtime), so equal entries give equal bytes.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Protocol

from tinykmod.errors import TinykmodError

MAGIC = b"070701"
TRAILER = "TRAILER!!!"
HEADER = 110
#: A data field is 32 bits wide.
LARGEST = 0xFFFFFFFF


@dataclass(frozen=True)
class Entry:
    """One file: its path without a leading slash, st_mode, contents (a link's target), and a node's device."""

    path: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def directory(path: str, mode: int = 0o755) -> Entry:
    """A directory."""
    return Entry(path, stat.S_IFDIR | mode)


def regular(path: str, data: bytes, mode: int = 0o644) -> Entry:
    """A regular file."""
    return Entry(path, stat.S_IFREG | mode, data)


def symlink(path: str, target: str) -> Entry:
    """A symbolic link."""
    return Entry(path, stat.S_IFLNK | 0o777, os.fsencode(target))


def character_device(path: str, major: int, minor: int, mode: int) -> Entry:
    """A character device node; an archive can hold one without root."""
    return Entry(path, stat.S_IFCHR | mode, device=(major, minor))


class Writer(Protocol):
    """A file, or a compressor that stands before one."""

    def write(self, data: bytes, /) -> object: ...


def write(out: Writer, entries: Iterable[Entry], mtime: int = 0) -> None:
    """Write ENTRIES in their order, which puts a directory before what is in it, and the trailer.

    Raises TinykmodError for a file too large for the format.
    """
    for inode, entry in enumerate(entries, 1):
        if len(entry.data) > LARGEST:
            raise TinykmodError(entry.path, f"{len(entry.data)} bytes, more than a cpio archive can hold")
        _write_entry(out, entry, inode, mtime)
    _write_entry(out, Entry(TRAILER, 0), 0, 0)


def _write_entry(out: Writer, entry: Entry, inode: int, mtime: int) -> None:
    name = os.fsencode(entry.path) + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (inode, entry.mode, 0, 0, links, mtime, len(entry.data), 0, 0, *entry.device, len(name), 0)
    head = MAGIC + b"".join(b"%08X" % field for field in fields) + name
    out.write(head + _padding(len(head)))
    out.write(entry.data)
    out.write(_padding(len(entry.data)))


def _padding(length: int) -> bytes:
    return b"\0" * (-length % 4)


def read(data: bytes) -> list[Entry]:
    """The entries of an archive, the trailer left out. Raises TinykmodError where it is cut short or not newc."""
    return read_at(data, 0)[0]


def read_at(data: bytes, position: int, which: str = "cpio archive") -> tuple[list[Entry], int]:
    """The entries of the archive that begins at POSITION, and where it ends.

    Of a file's several names only one need come with its contents; each has them here. Raises TinykmodError(WHICH).
    """
    entries: list[Entry] = []
    names: dict[tuple[int, ...], list[int]] = {}
    while True:
        header = data[position : position + HEADER]
        if len(header) < HEADER or not header.startswith(MAGIC):
            raise TinykmodError(which, f"no newc header at byte {position}")
        try:
            fields = [int(header[start : start + 8], 16) for start in range(len(MAGIC), HEADER, 8)]
        except ValueError:
            raise TinykmodError(which, f"no newc header at byte {position}") from None
        inode, mode, _, _, links, _, size, *device, major, minor, name_size, _ = fields
        start = position + HEADER
        end = start + name_size
        body = end + -end % 4
        position = body + size + -size % 4
        if position > len(data) or name_size == 0:
            raise TinykmodError(which, f"cut short at byte {len(data)}")
        path = os.fsdecode(data[start : end - 1])
        if path == TRAILER:
            break
        if links > 1 and stat.S_ISREG(mode):
            names.setdefault((inode, *device), []).append(len(entries))
        entries.append(Entry(path, mode, data[body : body + size], (major, minor)))
    for same in names.values():
        contents = next((entries[number].data for number in reversed(same) if entries[number].data), b"")
        for number in same:
            entries[number] = replace(entries[number], data=contents)
    return entries, position
