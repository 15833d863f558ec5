"""Handing one module's file to the kernel, compressed or not."""

from __future__ import annotations

import errno
from pathlib import Path

from tinykmod.kmod.system import MODULE_INIT_COMPRESSED_FILE, System
from tinykmod.modules.compression import MAGIC, compression, decompress

#: What a kernel answers that does not decompress modules, or whose decoder does not take this file.
NOT_DECOMPRESSED = (-errno.ENOSYS, -errno.EOPNOTSUPP, -errno.EINVAL)


def insert(system: System, path: Path, options: str, flags: int = 0) -> int:
    """Load the file: 0, or a negative errno. FLAGS are finit_module's, but for MODULE_INIT_COMPRESSED_FILE.

    The kernel decompresses; where it cannot, as it never can a packed module, this process does. Raises OSError where
    the file cannot be read, ModuleFormatError where it then turns out to be damaged.
    """
    with path.open("rb") as file:
        compressed = compression(file.read(max(map(len, MAGIC.values()))))
    if not compressed:
        return system.finit_module(path, options, flags)
    result = -errno.EOPNOTSUPP
    if compressed != "packed":
        result = system.finit_module(path, options, flags | MODULE_INIT_COMPRESSED_FILE)
    # init_module knows no flags, so what is to be forced stays refused.
    if result in NOT_DECOMPRESSED and not flags:
        result = system.init_module(decompress(path.read_bytes(), str(path)), options)
    return result
