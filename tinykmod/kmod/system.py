"""The seam to the kernel: what loading a module takes. Tests put something else in its place."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from pathlib import Path
from typing import Protocol

from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import encoded

#: finit_module's flag for a file that the kernel is to decompress (linux/module.h, since 5.17).
MODULE_INIT_COMPRESSED_FILE = 4

#: finit_module's number by uname -m (asm/unistd.h of each architecture).
_FINIT_MODULE = {
    "x86_64": 313,
    "aarch64": 273,
    "riscv64": 273,
    "armv7l": 379,
    "i686": 350,
    "ppc64le": 353,
}


class System(Protocol):
    """What can be replaced."""

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        """Load the module file at PATH: 0, or a negative errno."""
        ...


class Linux:
    """The running kernel."""

    def __init__(self) -> None:
        machine = platform.machine()
        if machine not in _FINIT_MODULE:
            raise TinykmodError(machine, "finit_module's number is not known for this machine")
        self._number = _FINIT_MODULE[machine]
        self._libc = ctypes.CDLL(None, use_errno=True)

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        """As System.finit_module()."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return -(error.errno or errno.EIO)
        try:
            if self._libc.syscall(self._number, fd, encoded(options), flags) == 0:
                return 0
            return -ctypes.get_errno()
        finally:
            os.close(fd)
