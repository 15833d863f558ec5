"""Both readers of .ko files, and Debian's module tree."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tinykmod import _core
from tinykmod.bench.debian import Kernel
from tinykmod.modules import elf
from tinykmod.modules.elf_module import ElfModule
from tinykmod.modules.tree import ModuleTree, read_tree

#: The import above fails, and every test here with it, where the extension was not built.
READERS: dict[str, Callable[[bytes, str], ElfModule]] = {"twin": elf.read_elf, "extension": _core.read_elf}


@pytest.fixture(scope="session", params=READERS)
def read_elf(request: pytest.FixtureRequest) -> Callable[[bytes, str], ElfModule]:
    return READERS[request.param]


@pytest.fixture(scope="session")
def real_tree(kernel: Kernel) -> ModuleTree:
    return read_tree(kernel.root, kernel.release)
