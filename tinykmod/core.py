"""Which core is in use: the compiled extension, or its pure-Python twin.

`TINYKMOD_PURE=1` in the environment forces the twin. Both give the same names with the same results; the
shared fixture in tests/ runs each case through both, and through the loader program.
"""

from __future__ import annotations

import importlib
import os
import sys
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tinykmod.index.records import BootIndex



def _import() -> ModuleType | None:
    if os.environ.get("TINYKMOD_PURE") == "1":
        return None
    try:
        return importlib.import_module("tinykmod._core")
    except ImportError:
        return None


#: The compiled core, or None.
extension = _import()

#: What `tinykmod --version` prints.
NAME = "extension" if extension is not None else "pure Python"


def open_index(data: bytes, which: str = "boot index", *, verify: bool = True) -> BootIndex:
    """Open a boot index with the core in use; one of the other byte order with the twin, which reads both.

    Raises IndexFormatError.
    """
    from tinykmod.index.reader import Index, byteorder_of

    if extension is None or byteorder_of(data, which) != sys.byteorder:
        return Index(data, which, verify=verify)
    opened: BootIndex = extension.Index(data, which, verify=verify)
    return opened
