"""Where things are kept that can be had again: fetched packages, what was read of module trees."""

from __future__ import annotations

import os
from pathlib import Path


def cache_dir() -> Path:
    """$XDG_CACHE_HOME/tinykmod, else ~/.cache/tinykmod; /var/cache/tinykmod for a user without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The XDG base directory specification: a relative path there is to be ignored.
    if base.startswith("/"):
        return Path(base) / "tinykmod"
    try:
        return Path.home() / ".cache/tinykmod"
    except RuntimeError:
        return Path("/var/cache/tinykmod")
