"""Opening a boot index with the core in use."""

from __future__ import annotations

import sys

from tinykmod import core
from tinykmod.index.reader import Index, byteorder_of
from tinykmod.index.records import BootIndex


def open_index(data: bytes, which: str = "boot index") -> BootIndex:
    """The boot index in DATA; one of the other byte order is opened with the twin, which reads both.

    Raises IndexFormatError.
    """
    if core.extension is None or byteorder_of(data, which) != sys.byteorder:
        return Index(data, which)
    opened: BootIndex = core.extension.Index(data, which)
    return opened
