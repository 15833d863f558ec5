"""The static loader programs, one file tinykmod-ARCH for each machine architecture (as `uname -m` spells it)."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from tinykmod.errors import TinykmodError

PREFIX = "tinykmod-"


def at_hand() -> dict[str, Path]:
    """Every loader in the package and in the directory $TINYKMOD_LOADERS, which wins: architecture -> program."""
    places = [Path(__file__).resolve().parent]
    if further := os.environ.get("TINYKMOD_LOADERS"):
        places.append(Path(further))
    found = {path.name.removeprefix(PREFIX): path for place in places for path in place.glob(f"{PREFIX}*")}
    return dict(sorted(found.items()))


def find(arch: str | None = None) -> Path:
    """The loader for ARCH (default: this machine's).

    Raises TinykmodError where it has not been built.
    """
    arch = arch or platform.machine()
    there = at_hand()
    if arch not in there:
        known = f" (there: {', '.join(there)})" if there else ""
        raise TinykmodError(
            f"loader for {arch}", f"not built{known}; in the source tree run scripts/build_loader.py --arch {arch}"
        )
    return there[arch]
