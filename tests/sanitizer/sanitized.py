"""Puts the sanitized core in the place of tinykmod._core: imported before all else, or as `pytest -p sanitized`.

scripts/build_sanitized.py builds it and makes the environment in which this works.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

#: What build_sanitized.build() filled.
DIRECTORY = Path(os.environ["TINYKMOD_SANITIZED"])

# Children are as they always are.
os.environ.pop("LD_PRELOAD", None)
_spec = importlib.util.spec_from_file_location("tinykmod._core", DIRECTORY / "_core.so")
assert _spec is not None
assert _spec.loader is not None
core = importlib.util.module_from_spec(_spec)
sys.modules[_spec.name] = core
_spec.loader.exec_module(core)

import tinykmod  # noqa: E402

tinykmod._core = core  # type: ignore[attr-defined]
