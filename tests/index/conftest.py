"""A real kernel's index, built once a session."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from tinykmod.bench.debian import Kernel
from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import Config
from tinykmod.modules.tree import read_tree


@pytest.fixture(scope="session")
def kernel_index(kernel: Kernel, shared_dir: Path) -> Path:
    """The boot index of every module of Debian's kernel, under an empty configuration."""
    path = shared_dir / f"{kernel.release}.tki"
    with (shared_dir / "index.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            path.write_bytes(compile_index(read_tree(kernel.root, kernel.release), Config()))
    return path
