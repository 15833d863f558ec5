"""The seam to the kernel: what loading and removing modules takes. Tests put something else in its place."""

from __future__ import annotations

import ctypes
import errno
import os
import platform
from pathlib import Path
from typing import NamedTuple, Protocol

from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import encoded

#: finit_module's flags (linux/module.h): what it does not check, and that the kernel is to decompress (since 5.17).
MODULE_INIT_IGNORE_MODVERSIONS = 1
MODULE_INIT_IGNORE_VERMAGIC = 2
MODULE_INIT_COMPRESSED_FILE = 4


class _Numbers(NamedTuple):
    init_module: int
    delete_module: int
    finit_module: int


#: The system calls' numbers by uname -m (asm/unistd.h of each architecture).
_NUMBERS = {
    "x86_64": _Numbers(175, 176, 313),
    "aarch64": _Numbers(105, 106, 273),
    "riscv64": _Numbers(105, 106, 273),
    "armv7l": _Numbers(128, 129, 379),
    "i686": _Numbers(128, 129, 350),
    "ppc64le": _Numbers(128, 129, 353),
}


class System(Protocol):
    """What can be replaced."""

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        """Load the module file at PATH: 0, or a negative errno."""
        ...

    def init_module(self, image: bytes, options: str) -> int:
        """Load a module from its uncompressed bytes: 0, or a negative errno."""
        ...

    def delete_module(self, name: str, flags: int) -> int:
        """Remove a module; FLAGS are O_NONBLOCK, O_TRUNC (by force): 0, or a negative errno."""
        ...


class Linux:
    """The running kernel."""

    def __init__(self) -> None:
        machine = platform.machine()
        if machine not in _NUMBERS:
            raise TinykmodError(machine, "the module calls' numbers are not known for this machine")
        self._numbers = _NUMBERS[machine]
        self._libc = ctypes.CDLL(None, use_errno=True)

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        """As System.finit_module()."""
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            return -(error.errno or errno.EIO)
        try:
            return self._call(self._numbers.finit_module, fd, encoded(options), flags)
        finally:
            os.close(fd)

    def init_module(self, image: bytes, options: str) -> int:
        """As System.init_module()."""
        return self._call(self._numbers.init_module, image, ctypes.c_ulong(len(image)), encoded(options))

    def delete_module(self, name: str, flags: int) -> int:
        """As System.delete_module()."""
        return self._call(self._numbers.delete_module, encoded(name), flags)

    def _call(self, number: int, *arguments: object) -> int:
        return 0 if self._libc.syscall(number, *arguments) == 0 else -ctypes.get_errno()
