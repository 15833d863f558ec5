"""What a module file holds once it is uncompressed. The type is read from the first bytes, never from the suffix."""

from __future__ import annotations

import gzip
import lzma
import zlib
from collections.abc import Iterator

from tinykmod import core
from tinykmod.errors import ModuleFormatError
from tinykmod.modules import packed

MAGIC = {"gzip": b"\x1f\x8b", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd", "packed": packed.MAGIC}

PIECE = 1 << 17


def compression(data: bytes) -> str:
    """`gzip`, `xz`, `zstd` or `packed` where the bytes begin as such a file does, else empty."""
    return next((name for name, magic in MAGIC.items() if data.startswith(magic)), "")


def decompress(data: bytes, which: str) -> bytes:
    """The bytes within a gzip, xz, zstd or packed file; anything else comes back as it is.

    Raises ModuleFormatError(which, ...) where the compressed data are damaged or cut short.
    """
    return b"".join(pieces(data, which)) if compression(data) else data


def pieces(data: bytes, which: str) -> Iterator[bytes]:
    """As decompress(), of an xz file in pieces of at most PIECE bytes: a module may have tens of megabytes."""
    try:
        match compression(data):
            case "gzip":
                yield gzip.decompress(data)
            case "xz":
                yield from _xz(data)
            case "zstd":
                yield _zstd(data)
            case "packed":
                yield (packed.unpack if core.extension is None else core.extension.unpack)(data, which)
            case _:
                yield data
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, _ZstdDamageError) as error:
        raise ModuleFormatError(which, f"compressed data are damaged: {error}") from error


def _xz(data: bytes) -> Iterator[bytes]:
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    while not stream.eof:
        piece = stream.decompress(data, PIECE)
        if not piece and stream.needs_input:
            raise EOFError("cut short")
        yield piece
        data = b""
    # The kernel reads one stream, and so do we; what pads it to a multiple of 4 is no fault.
    if stream.unused_data.strip(b"\0"):
        raise lzma.LZMAError("something follows the stream")


class _ZstdDamageError(Exception):
    pass


def _zstd(data: bytes) -> bytes:
    # Imported here, since few systems have such modules and all tools pay for it.
    import zstandard

    # ZstdDecompressor.decompress() reads neither several frames nor one that does not tell its size.
    out = []
    try:
        while data:
            frame = zstandard.ZstdDecompressor().decompressobj()
            out.append(frame.decompress(data))
            if not frame.eof:
                raise _ZstdDamageError("cut short")
            data = frame.unused_data
    except zstandard.ZstdError as error:
        raise _ZstdDamageError(error) from error
    return b"".join(out)
