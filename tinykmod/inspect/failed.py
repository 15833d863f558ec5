"""The cause of a load that has just failed on the running kernel, for the tools that asked for it."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.inspect.cause import Cause, explain
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
        if number not in _REFUSALS:
            return self._told(explain(number, name, (), self._log.since()), number)
        from tinykmod.inspect.examine import examine, translated
        from tinykmod.inspect.kernel import Kernel

        log, kernel = self._log.since(), Kernel(self._root, self._release)
        found: list[Cause] = []
        # What cannot be read ends the look; what was seen until then counts.
        with suppress(TinykmodError, OSError):
            found.extend(examine(path.read_bytes(), str(path), kernel, options, quick=True))
        with suppress(TinykmodError, OSError):
            return self._told(translated(number, name, found, log, kernel), number)
        return self._told(explain(number, name, found, log), number)

    @staticmethod
    def _told(cause: Cause, number: int) -> str:
        return cause.text if cause.text != os.strerror(number) else ""
