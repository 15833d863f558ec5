"""How an image can be compressed, and what the kernel must be able to undo for it."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

import zstandard

from tinykmod.errors import TinykmodError
from tinykmod.image import cpio, kernel_config
from tinykmod.image.lz4_frame import Lz4Writer

#: Each module by itself. Of a generic image few are ever loaded, and only those are then decompressed.
BY_MODULE = "modules"
#: Compression -> the kernel's option that it takes; the loader has a packed module loaded from a file in memory.
COMPRESSIONS = {
    BY_MODULE: "CONFIG_MEMFD_CREATE",
    "zstd": "CONFIG_RD_ZSTD",
    "xz": "CONFIG_RD_XZ",
    "gzip": "CONFIG_RD_GZIP",
    "lz4": "CONFIG_RD_LZ4",
    "none": "",
}
# Level 19 makes an image of Debian's storage modules 11 % smaller and takes twenty times as long.
ZSTD_LEVEL = 9


def choose(wanted: str, root: Path, release: str, config: Mapping[str, str]) -> str:
    """WANTED, or where it is empty the first of COMPRESSIONS that the kernel of these options can undo.

    Raises TinykmodError for one that there is not, or that the kernel cannot undo.
    """
    if wanted and wanted not in COMPRESSIONS:
        raise TinykmodError(wanted, f"no such compression; there are {', '.join(COMPRESSIONS)}")
    able = [name for name, option in COMPRESSIONS.items() if not (config and option) or config.get(option) == "y"]
    chosen = wanted or able[0]
    if chosen not in able:
        where = kernel_config.path(root, release)
        raise TinykmodError(where, f"the kernel cannot unpack {chosen} ({COMPRESSIONS[chosen]} is not set)")
    return chosen


@contextlib.contextmanager
def compressor(name: str, out: BinaryIO) -> Iterator[cpio.Writer]:
    """A file that compresses into OUT as the kernel can undo it, one way for the same bytes."""
    if name in (BY_MODULE, "none"):
        yield out
    elif name == "gzip":
        with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
            yield packed
    elif name == "lz4":
        with Lz4Writer(out) as packed:
            yield packed
    elif name == "xz":
        # The kernel's decoder knows no check but CRC32.
        with lzma.LZMAFile(out, "wb", check=lzma.CHECK_CRC32) as packed:
            yield packed
    else:
        # The bytes are the same for any number of threads but 0.
        zstd = zstandard.ZstdCompressor(ZSTD_LEVEL, threads=os.cpu_count() or 1)
        with zstd.stream_writer(out, closefd=False) as packed:
            yield packed
