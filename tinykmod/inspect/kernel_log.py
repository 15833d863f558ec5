"""The kernel's log: the lines that tell of a module, and what it told while one was loaded.

Lines come as dmesg(1) prints them, as /dev/kmsg has them (`6,1234,5678,-;text`), or bare.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

_RECORD = re.compile(r"^\d+,\d+,\d+,[^;]*;")
_DMESG = re.compile(r"^(?:<\d+>)?(?:\[ *\d+\.\d+\](?:\[ *[TC]\d+\])? ?)?")
_LONGEST = 8192  # bytes of a record, its dictionary included


def texts(lines: Iterable[str]) -> list[str]:
    """The messages of a log without their times; the dictionary's lines of /dev/kmsg are left out."""
    return [
        _RECORD.sub("", line) if _RECORD.match(line) else _DMESG.sub("", line)
        for line in (line.rstrip("\r\n") for line in lines)
        if not line.startswith(" ")
    ]


def read_file(path: Path) -> list[str]:
    """The messages in a file. Raises OSError."""
    return texts(path.read_bytes().decode(errors="replace").split("\n"))


class Running:
    """The running kernel's log. Where it may not be read it is as if it were empty."""

    def __init__(self, device: Path = Path("/dev/kmsg")) -> None:
        self._device = device
        self._file = -1

    def mark(self) -> None:
        """From here on since() tells."""
        self._open(os.SEEK_END)

    def since(self) -> list[str]:
        """The messages since mark(), the oldest first."""
        return self._read()

    def all(self) -> list[str]:
        """The messages that the kernel still has, the oldest first."""
        self._open(os.SEEK_SET)
        return self._read()

    def _open(self, whence: int) -> None:
        self._close()
        try:
            self._file = os.open(self._device, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            os.lseek(self._file, 0, whence)
        except OSError:
            self._close()

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1

    def _read(self) -> list[str]:
        found: list[str] = []
        while self._file >= 0:
            try:
                record = os.read(self._file, _LONGEST)
            except BrokenPipeError:  # the log has run over what was to come next
                continue
            except OSError:
                break
            if not record:
                break
            found += texts(record.decode(errors="replace").split("\n")[:1])
        self._close()
        return found
