"""What takes long to make is made once a session, whichever of xdist's workers comes first."""

from __future__ import annotations

import fcntl
from collections.abc import Callable
from pathlib import Path


def once(path: Path, make: Callable[[Path], object]) -> Path:
    """PATH, which make(PATH beside it) has made: here and now, or in another worker."""
    with path.with_name(f".{path.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            beside = path.with_name(f".{path.name}.new")
            make(beside)
            beside.rename(path)
    return path
