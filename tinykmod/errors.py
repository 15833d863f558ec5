"""What the build side raises when its input or its surroundings are at fault."""

from __future__ import annotations

import os


class TinykmodError(Exception):
    """Bad input or a missing need, told in one line: what it is about, and why it failed.

    The command line prints it as `tinykmod: WHICH: WHY` and exits 1.
    """

    def __init__(self, which: str | os.PathLike[str], why: str) -> None:
        self.which = os.fspath(which)
        self.why = why
        super().__init__(f"{self.which}: {why}")


class ModuleFormatError(TinykmodError):
    """A .ko file that is cut short, is not ELF, or contradicts itself."""


class ConfigError(TinykmodError):
    """A modprobe.d line that means nothing."""


class IndexFormatError(TinykmodError):
    """A boot index that is damaged, of another version or of another byte order."""


class BinIndexError(TinykmodError):
    """One of depmod's .bin indexes that is damaged, or what such an index cannot hold."""


class SnapshotError(TinykmodError):
    """A snapshot of a machine that is damaged or of another version."""
