"""The static loader programs, one file tinykmod-ARCH for each machine architecture (as `uname -m` spells it)."""

from __future__ import annotations

import platform
from pathlib import Path

from tinykmod.errors import TinykmodError

PREFIX = "tinykmod-"


def at_hand() -> dict[str, Path]:
    """Every loader in the package: architecture -> program."""
    here = Path(__file__).resolve().parent
    return {path.name.removeprefix(PREFIX): path for path in sorted(here.glob(f"{PREFIX}*"))}


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
