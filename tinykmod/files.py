"""Writing files so that nothing is lost: beside their place, and renamed when they are complete."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO


def check_place(path: Path) -> None:
    """Find out early whether PATH can be written: raises OSError where it is a directory or its directory is missing.

    What is neither a file nor missing (a device) is refused as well: renaming would take its place.
    """
    for number, wrong in (
        (errno.EISDIR, path.is_dir()),
        (errno.EEXIST, path.exists() and not path.is_file()),
        (errno.ENOENT, not path.parent.is_dir()),
    ):
        if wrong:
            raise OSError(number, os.strerror(number), os.fspath(path))


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of PATH when the block ends well, and is gone when it does not.

    What a killed process left of an earlier try is taken away. Raises OSError, which names PATH.
    """
    check_place(path)
    beside = _beside(path)
    with _named(path, beside):
        _clear(path)
        try:
            with _locked(beside) as out:
                yield out
                out.flush()
                os.fsync(out.fileno())
                beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)


def replace_all(directory: Path, contents: Mapping[str, bytes]) -> None:
    """Put files into a directory by their names, those that are there replaced: none before all are on the disk.

    Raises OSError, which names the file; unless it comes from a rename, every file is then as it was.
    """
    beside: dict[str, Path] = {}
    try:
        for name, data in contents.items():
            path = _beside(directory / name)
            with _named(directory / name, path), path.open("xb") as out:
                beside[name] = path
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
        for name, path in beside.items():
            with _named(directory / name, path):
                path.replace(directory / name)
        _sync(directory)
    finally:
        for path in beside.values():
            path.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    """A name next to a path that nothing else has: neither another process nor one that was killed."""
    return path.with_name(f".{path.name}.{os.urandom(6).hex()}")


def _locked(beside: Path) -> BinaryIO:
    """A new file, locked while it is open: that tells it from what a killed process has left."""
    while True:
        out = beside.open("xb")
        with contextlib.suppress(OSError):  # where the file system has no locks, nothing is cleared
            fcntl.flock(out, fcntl.LOCK_EX)
        if os.fstat(out.fileno()).st_nlink:
            return out
        out.close()  # another process has cleared it away before it was locked


def _clear(path: Path) -> None:
    """Take away what stands beside PATH and nobody writes to any more."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{12}}")
    for left in [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name) and entry.is_file()]:
        with contextlib.suppress(OSError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


@contextlib.contextmanager
def _named(path: Path, beside: Path) -> Iterator[None]:
    """Errors of the file beside name the one that was wanted."""
    try:
        yield
    except OSError as error:
        if error.filename in (None, os.fspath(beside)):
            error.filename = os.fspath(path)
        raise


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
