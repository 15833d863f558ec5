"""Where an inspecting command looks: a root directory, or an initramfs image as if it were one."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tinykmod.errors import TinykmodError
from tinykmod.image.archive import read_image
from tinykmod.image.firmware import resolve as resolve_links
from tinykmod.modules.directory import releases

#: What is looked at of an image.
_LOOKED_AT = re.compile(r"((usr/)?lib/(modules|firmware)|((usr/(local/)?)?lib|etc|run)/modprobe\.d)(/|$)|(usr/)?lib$")


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """The root at PATH, a directory, or a temporary one with what an image at PATH has of modules, firmware and
    configuration. Raises OSError, and TinykmodError for a file that is no image."""
    if path.is_dir():
        yield path
        return
    entries = read_image(path).entries
    with TemporaryDirectory(prefix="tinykmod-") as name:
        root = Path(name)
        for place, entry in entries.items():
            target = root / place
            # Nothing is written through a link: what it leads to need not be below the root.
            linked = any((root / parent).is_symlink() for parent in PurePosixPath(place).parents)
            if not _LOOKED_AT.match(place) or ".." in PurePosixPath(place).parts or linked:
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            if stat.S_ISDIR(entry.mode):
                target.mkdir(exist_ok=True)
            elif stat.S_ISREG(entry.mode):
                target.write_bytes(entry.data)
            elif stat.S_ISLNK(entry.mode) and (kept := _link(place, os.fsdecode(entry.data))):
                target.symlink_to(kept)
        yield root


def told(path: str | Path, root: Path, shown: Path) -> str:
    """How a user knows a file below ROOT, which was opened for SHOWN: `IMAGE:/lib/modules/...` for an image."""
    text, top = str(path), str(root.absolute())
    return text if root == shown or not text.startswith(f"{top}/") else f"{shown}:{text.removeprefix(top)}"


def followed(root: Path, path: Path) -> Path | None:
    """A path below a root with its links followed as if the root were `/`; None where it leads nowhere."""
    try:
        inside = os.fspath(path.absolute().relative_to(root.absolute()))
    except ValueError:
        return path
    found = resolve_links(root, inside)
    return None if found is None else root / found


def release_below(root: Path, wanted: str | None, shown: Path) -> str:
    """The kernel release that is meant: WANTED, else the running kernel's if ROOT has its modules, else the only one.
    What runs is told by ROOT's /proc, where there is one.

    Raises TinykmodError, in which ROOT is called SHOWN, where that is none or not certain.
    """
    there = releases(root)
    if wanted is not None:
        if wanted not in there:
            raise TinykmodError(wanted, f"no modules of this kernel below {shown}; {_told(there)}")
        return wanted
    try:
        running = (root / "proc/sys/kernel/osrelease").read_text().strip()
    except OSError:
        running = os.uname().release
    if running in there or len(there) == 1:
        return running if running in there else there[0]
    raise TinykmodError(shown, f"no modules of the running kernel {running}; {_told(there)}")


def _told(there: Sequence[str]) -> str:
    return f"there is {', '.join(there)}" if there else "there are none of any kernel"


def _link(place: str, target: str) -> str:
    """The link's target below the root; empty for one that leads out of it."""
    here = PurePosixPath("/", place).parent
    path = os.path.normpath(here / target)
    return os.path.relpath(path, here) if not path.startswith("/..") else ""
