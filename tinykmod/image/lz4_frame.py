"""LZ4's legacy frame, the only one that the kernel unpacks (lib/decompress_unlz4.c).

It is a magic number, then blocks, each after its compressed size (u32, little-endian).
"""

from __future__ import annotations

import struct
from typing import BinaryIO

from tinykmod.errors import TinykmodError

MAGIC = b"\x02\x21\x4c\x18"
#: A block holds so much at most; only the last may hold less.
BLOCK = 8 << 20


class Lz4Writer:
    """A file that compresses into OUT. Its last block is written when the `with` ends well."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._left = bytearray()

    def __enter__(self) -> Lz4Writer:
        self._out.write(MAGIC)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None and self._left:
            self._block(bytes(self._left))

    def write(self, data: bytes, /) -> None:
        """Raises OSError."""
        self._left += data
        while len(self._left) >= BLOCK:
            self._block(bytes(self._left[:BLOCK]))
            del self._left[:BLOCK]

    def _block(self, data: bytes) -> None:
        import lz4.block

        packed = lz4.block.compress(data, mode="high_compression", store_size=False)
        self._out.write(struct.pack("<I", len(packed)) + packed)


def unpack(data: bytes, start: int, which: str) -> tuple[bytes, int]:
    """What the frame holds that begins at START, and where it ends: at a size of 0 or the end of DATA.

    Raises TinykmodError(WHICH) where it is damaged.
    """
    import lz4.block

    out, position = [], start + len(MAGIC)
    while position < len(data):
        if data.startswith(MAGIC, position):
            position += len(MAGIC)
            continue
        (size,) = struct.unpack("<I", data[position : position + 4].ljust(4, b"\0"))
        if size == 0:
            break
        block = data[position + 4 : position + 4 + size]
        if len(block) < size:
            raise TinykmodError(which, f"lz4 data at byte {start} are cut short")
        try:
            out.append(lz4.block.decompress(block, uncompressed_size=BLOCK))
        except lz4.block.LZ4BlockError as error:
            raise TinykmodError(which, f"lz4 data at byte {start} are damaged: {error}") from error
        position += 4 + size
    return b"".join(out), position
