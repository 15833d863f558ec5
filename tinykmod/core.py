"""Which core is in use: the compiled extension, or its pure-Python twin.

`TINYKMOD_PURE=1` in the environment forces the twin. Both give the same names with the same results; the
shared fixture in tests/ runs each case through both, and through the loader program.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType


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
