"""The cause of a load that has just failed on the running kernel, for the tools that asked for it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.inspect.kernel_log import Running

#: Those with which the kernel refuses a module for what it is; the others are what the module's own init answered.
_REFUSALS = frozenset((
    errno.ENOENT, errno.ENOEXEC, errno.EINVAL, errno.EKEYREJECTED, errno.ENOKEY, errno.EBADMSG, errno.EPERM,
    errno.ERANGE, errno.ENOSPC, errno.EOPNOTSUPP, errno.ENOSYS, errno.ESRCH,
))  # fmt: skip


class Watch:
    """Reads the kernel's log from mark() on, and what is needed of the tree of RELEASE below ROOT only then."""

    def __init__(self, root: Path, release: str) -> None:
        self._root = root
        self._release = release
        self._log = Running()

    def mark(self) -> None:
        """A load begins."""
        self._log.mark()

    def cause(self, name: str, path: Path, options: str, number: int) -> str:
        """Why the load of the module's file failed with NUMBER, a positive errno: one line; empty where
        there is no more to say than the errno. Raises nothing."""
        from tinykmod.inspect.cause import Cause, explain

        found: list[Cause] = []
        if number in _REFUSALS:
            from tinykmod.inspect.examine import examine
            from tinykmod.inspect.kernel import Kernel

            kernel = Kernel(self._root, self._release)
            # What cannot be read ends the look; what was seen until then counts.
            with suppress(TinykmodError, OSError):
                found.extend(examine(path.read_bytes(), str(path), kernel, options, quick=True))
        text = explain(number, name, found, self._log.since()).text
        return text if text != os.strerror(number) else ""
