"""Where a module tree lies below its root."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tinykmod.errors import TinykmodError

#: The first is a link to the second on a merged-/usr system, and may be missing in an image.
PARENTS = ("lib/modules", "usr/lib/modules")


def releases(root: Path, parents: Sequence[str] = PARENTS) -> list[str]:
    """The kernel releases that have a module tree below a root, sorted."""
    there = [root / parent for parent in parents if (root / parent).is_dir()]
    return sorted({entry.name for parent in there for entry in parent.iterdir() if entry.is_dir()})


def directory_of(root: Path, release: str, parents: Sequence[str] = PARENTS) -> Path:
    """ROOT/lib/modules/RELEASE, or the same below ROOT/usr; where neither is there, where it would be.

    parents, if given, are looked into instead of these two.
    """
    places = [root / parent / release for parent in parents]
    return next((place for place in places if place.is_dir()), places[0])


def module_directory(root: Path, release: str, parents: Sequence[str] = PARENTS) -> Path:
    """As directory_of(). Raises TinykmodError where no tree is there."""
    if release in ("", ".", "..") or "/" in release:
        raise TinykmodError(repr(release), "is no kernel release")
    directory = directory_of(root, release, parents)
    if not directory.is_dir():
        found = ", ".join(releases(root, parents))
        why = f"there is {found}" if found else f"there is no module tree below {root}"
        raise TinykmodError(directory, f"no such directory; {why}")
    return directory
