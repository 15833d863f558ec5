"""The root's modules-load.d: its files, and the modules that they name (modules-load.d(5))."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinykmod.image import cpio

#: In order of precedence, as in cext/core/requested.pxi; /run is of the running system, not of the root.
DIRECTORIES = tuple(f"{parent}/modules-load.d" for parent in ("etc", "usr/local/lib", "usr/lib", "lib"))


def read(root: Path) -> list[cpio.Entry]:
    """Its files as entries of an image, at the same places; of those of one name only the first.

    One that is empty or a link to /dev/null hides those of its name, and is left out with them. Raises OSError.
    """
    found: dict[str, cpio.Entry] = {}
    for directory in DIRECTORIES:
        for path in sorted(Path(root, directory).glob("*.conf")):
            if path.name not in found:
                found[path.name] = cpio.regular(f"{directory}/{path.name}", _text(root, path))
    return [found[name] for name in sorted(found) if found[name].data]


def names(files: Iterable[cpio.Entry]) -> dict[str, str]:
    """The names and aliases in FILES, each with the file that has it first."""
    listed: dict[str, str] = {}
    for file in files:
        for line in file.data.decode(errors="surrogateescape").splitlines():
            name = line.strip()
            if name and not name.startswith(("#", ";")):
                listed.setdefault(name, f"/{file.path}")
    return listed


def _text(root: Path, path: Path) -> bytes:
    target = path.readlink() if path.is_symlink() else path
    if path.is_symlink() and target.is_absolute():
        # An absolute link means a place of the root, not of this machine.
        path = Path(root, *target.parts[1:])
    return b"" if target == Path("/dev/null") else path.read_bytes()
