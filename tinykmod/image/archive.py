"""Reading an initramfs image as the kernel unpacks it (init/initramfs.c): archives one after the other, each plain or
compressed by itself, zero bytes between them, and what comes later replaces what was there by that name."""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

import zstandard

from tinykmod.errors import TinykmodError
from tinykmod.image import cpio, lz4_frame

#: The first bytes of what the kernel can unpack (lib/decompress.c) -> its name.
MAGIC = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\x5d\x00": "lzma",
    b"\xfd7zXZ\0": "xz",
    b"\x89LZO": "lzo",
    lz4_frame.MAGIC: "lz4",
    b"\x28\xb5\x2f\xfd": "zstd",
}


_ZEROS = re.compile(rb"\0*")


class Part(NamedTuple):
    """One stretch of an image: how it is compressed ("" for plain), and its bytes in the file and unpacked."""

    compression: str
    packed: int
    unpacked: int


class Archive(NamedTuple):
    """What an image unpacks to: path without a leading slash -> entry, the last of each; and what it is made of."""

    entries: dict[str, cpio.Entry]
    parts: list[Part]


class _Decoder(Protocol):
    @property
    def unused_data(self) -> bytes: ...

    @property
    def eof(self) -> bool: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def read_image(path: Path) -> Archive:
    """The contents of an image. Raises OSError, and TinykmodError where the kernel could not unpack it."""
    return unpack(path.read_bytes(), str(path))


def unpack(data: bytes, which: str) -> Archive:
    """The contents of the image DATA. Raises TinykmodError(WHICH) where the kernel could not unpack it."""
    if _skip_zeros(data, 0) == len(data):
        raise TinykmodError(which, "holds no archive")
    archive = Archive({}, [])
    position = 0
    while (position := _skip_zeros(data, position)) < len(data):
        name = next((name for magic, name in MAGIC.items() if data.startswith(magic, position)), "")
        if name:
            plain, end = _decompress(name, data, position, which)
            inner = 0
            while (inner := _skip_zeros(plain, inner)) < len(plain):
                inner = _add(archive, plain, inner, f"{which}, within {name}")
        elif position % 4:
            raise TinykmodError(which, f"an archive begins at byte {position}, which is no multiple of 4")
        else:
            end = _add(archive, data, position, which)
        size = end - position
        archive.parts.append(Part(name, size, len(plain) if name else size))
        position = end
    return archive


def _add(archive: Archive, data: bytes, position: int, which: str) -> int:
    entries, end = cpio.read_at(data, position, which)
    for entry in entries:
        path = "/".join(part for part in PurePosixPath(entry.path).parts if part != "/")
        if path:
            archive.entries[path] = replace(entry, path=path)
    return end


def _skip_zeros(data: bytes, position: int) -> int:
    zeros = _ZEROS.match(data, position)
    return zeros.end() if zeros else position


def _decompress(name: str, data: bytes, start: int, which: str) -> tuple[bytes, int]:
    """What a stream holds that begins at START, and where it ends."""
    if name == "lz4":
        return lz4_frame.unpack(data, start, which)
    decoder: _Decoder
    match name:
        case "gzip":
            decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
        case "bzip2":
            decoder = bz2.BZ2Decompressor()
        case "lzma":
            decoder = lzma.LZMADecompressor(lzma.FORMAT_ALONE)
        case "xz":
            decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        case "zstd":
            decoder = zstandard.ZstdDecompressor().decompressobj()
        case _:
            raise TinykmodError(which, f"is compressed with {name}, which is not read here")
    try:
        plain = decoder.decompress(data[start:])
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError) as error:
        raise TinykmodError(which, f"{name} data at byte {start} are damaged: {error}") from error
    if not decoder.eof:
        raise TinykmodError(which, f"{name} data at byte {start} are cut short")
    return plain, len(data) - len(decoder.unused_data)
