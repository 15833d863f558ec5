"""A real kernel's index, built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest
from once import once

from tinykmod.bench.debian import Kernel
from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import Config
from tinykmod.modules.tree import read_tree


@pytest.fixture(scope="session")
def kernel_index(kernel: Kernel, shared_dir: Path) -> Path:
    """The boot index of every module of Debian's kernel, under an empty configuration."""
    return once(
        shared_dir / f"{kernel.release}.tki",
        lambda path: path.write_bytes(compile_index(read_tree(kernel.root, kernel.release), Config())),
    )
