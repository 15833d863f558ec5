"""What a module file holds once it is uncompressed. The type is read from the first bytes, never from the suffix."""

from __future__ import annotations

import gzip
import lzma
import zlib

import zstandard

from tinykmod.errors import ModuleFormatError

GZIP = b"\x1f\x8b"
XZ = b"\xfd7zXZ\0"
ZSTD = b"\x28\xb5\x2f\xfd"


def is_compressed(data: bytes) -> bool:
    """Whether the bytes begin as a gzip, xz or zstd file does."""
    return data.startswith((GZIP, XZ, ZSTD))


def decompress(data: bytes, which: str) -> bytes:
    """The bytes within a gzip, xz or zstd file; anything else comes back as it is.

    Raises ModuleFormatError(which, ...) where the compressed data are damaged or cut short.
    """
    try:
        if data.startswith(GZIP):
            return gzip.decompress(data)
        if data.startswith(XZ):
            return lzma.decompress(data, lzma.FORMAT_XZ)
        if data.startswith(ZSTD):
            return _zstd(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError) as error:
        raise ModuleFormatError(which, f"compressed data are damaged: {error}") from error
    return data


def _zstd(data: bytes) -> bytes:
    # ZstdDecompressor.decompress() reads neither several frames nor one that does not tell its size.
    out = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        out.append(frame.decompress(data))
        if not frame.eof:
            raise zstandard.ZstdError("cut short")
        data = frame.unused_data
    return b"".join(out)
