"""Which core is in use: the compiled extension, or its pure-Python twin.

`TINYKMOD_PURE=1` in the environment forces the twin. Both give the same names with the same results; the
shared fixture in tests/ runs each case through both, and through the loader program.
"""

from __future__ import annotations

import os
from types import ModuleType

extension: ModuleType | None
try:
    if os.environ.get("TINYKMOD_PURE") == "1":
        raise ImportError
    from tinykmod import _core as extension
except ImportError:
    extension = None

#: What `tinykmod --version` prints.
NAME = "extension" if extension is not None else "pure Python"
