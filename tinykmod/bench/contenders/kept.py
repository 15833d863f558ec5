"""Files that take long to make, kept by what they were made of."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import tinykmod
from tinykmod.bench.debian import Kernel
from tinykmod.bench.machines import Machine
from tinykmod.files import replacing

_DIGITS = 16
_WEEK = 7 * 24 * 3600


def kept(where: Path, name: str, made_of: Sequence[str], make: Callable[[Path], bytes]) -> Path:
    """The file NAME-DIGEST of MADE_OF in WHERE; what MAKE gives where it is not there, written beside and renamed.

    MAKE gets an empty directory in WHERE, which is removed afterwards; what a killed process left of one, before. One
    process at a time makes it; what NAME was before is then removed if nobody has asked for it for a week: a bench of
    another state of things may be under way. Raises what MAKE raises, and OSError.
    """
    where.mkdir(parents=True, exist_ok=True)
    path = where / f"{name}-{hashlib.sha256(json.dumps(made_of).encode()).hexdigest()[:_DIGITS]}"
    with (where / f".{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            scratch = where / f".{name}.scratch"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            try:
                with replacing(path) as out:
                    out.write(make(scratch))
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
            for other in where.iterdir():
                of_name = re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{{_DIGITS}}}", other.name)
                if of_name and other.stat().st_atime < time.time() - _WEEK:
                    other.unlink()
        # When it was changed stays: a bench that is under way tells by that whether it is still the same.
        os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
    return path


def of_kernel(kernel: Kernel) -> list[str]:
    """What a kernel is known by; its modules are signed for it alone."""
    return [kernel.release, _digest(kernel.vmlinuz, kernel.vmlinuz.stat().st_mtime_ns)]


def of_machine(machine: Machine) -> list[str]:
    """What a machine is known by."""
    return [*machine.args, machine.disk, machine.emulator.program]


def of_recipe(*files: str) -> list[str]:
    """FILES of this package: an image is made anew when the way in which it is made has changed."""
    return [Path(__file__).with_name(name).read_text() for name in files]


@cache
def of_tinykmod() -> str:
    """The digest of all that tinykmod makes images with."""
    directory = Path(tinykmod.__file__).parent
    left_out = {"__pycache__", "bench", "cli"}
    found = sorted(path for path in directory.rglob("*")
                   if path.is_file() and not left_out & {*path.relative_to(directory).parts})  # fmt: skip
    files = [(str(path.relative_to(directory)), hashlib.sha256(path.read_bytes()).hexdigest()) for path in found]
    return hashlib.sha256(repr(files).encode()).hexdigest()


@cache
def _digest(path: Path, changed: int) -> str:
    """A file's digest, computed anew when it has CHANGED."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
