"""What a module file holds once it is uncompressed. The type is read from the first bytes, never from the suffix."""

from __future__ import annotations

import gzip
import lzma
import zlib

import zstandard

from tinykmod.errors import ModuleFormatError

MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}


def compression(data: bytes) -> str:
    """`gzip`, `xz` or `zstd` where the bytes begin as such a file does, else empty."""
    return next((name for name, magic in MAGIC.items() if data.startswith(magic)), "")


def decompress(data: bytes, which: str) -> bytes:
    """The bytes within a gzip, xz or zstd file; anything else comes back as it is.

    Raises ModuleFormatError(which, ...) where the compressed data are damaged or cut short.
    """
    try:
        match compression(data):
            case "gzip":
                return gzip.decompress(data)
            case "xz":
                return lzma.decompress(data, lzma.FORMAT_XZ)
            case "zstd":
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
