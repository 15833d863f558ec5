"""Loaders for other architectures, built by the script that users run, kept in the cache by what they are made of."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import version
from pathlib import Path

from once import once

from tinykmod.cache import cache_dir

ROOT = Path(__file__).resolve().parents[1]
SCRIPT = ROOT / "scripts/build_loader.py"
sys.path.insert(0, str(SCRIPT.parent))

import build_loader  # noqa: E402


@cache
def directory() -> Path:
    """Where those of these sources and compilers are."""
    made_of = hashlib.sha256(f"{sys.version} {version('cython')} {version('ziglang')}".encode())
    for path in sorted([SCRIPT, ROOT / "tinykmod/__init__.py", *(ROOT / "cext").rglob("*.[ph]*")]):
        made_of.update(path.name.encode() + path.read_bytes())
    place = cache_dir() / "loaders" / made_of.hexdigest()[:16]
    place.mkdir(parents=True, exist_ok=True)
    return place


def translated() -> Path:
    """The C file, which is the same for every architecture and takes longer than to compile it."""

    def make(beside: Path) -> None:
        with tempfile.TemporaryDirectory(dir=beside.parent) as scratch:
            build_loader.generate_c(build_loader.CEXT / "loader.pyx", Path(scratch)).rename(beside)

    return once(directory() / "loader.c", make)


#: Those that tests/vm/test_boards.py boots, one of 64 and one of 32 bits.
BOOTED = ("aarch64", "armv7l")


def loader_for(arch: str) -> Path:
    """The program; beside it are loader-ARCH.o and loader-ARCH.symbols, for the gates.

    A warning of the compiler is an error. Those of BOOTED are built at the same time: where zig's cache is cold each
    takes a minute, for which other tests would wait.
    """
    if arch not in BOOTED:
        return _build(arch)
    with ThreadPoolExecutor() as pool:
        return dict(zip(BOOTED, pool.map(_build, BOOTED), strict=True))[arch]


def _build(arch: str) -> Path:

    def make(beside: Path) -> None:
        words = ["--arch", arch, "-o", beside, "--objects", directory(), "--c-file", translated()]
        done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{beside}: {beside.stat().st_size} bytes, sha256 ")

    return once(directory() / f"tinykmod-{arch}", make)
