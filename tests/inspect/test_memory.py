"""What a module takes in memory."""

from __future__ import annotations

import re
import subprocess

from tinykmod.bench.debian import Kernel
from tinykmod.inspect.elf_object import SHF_ALLOC, ElfObject, Section
from tinykmod.inspect.memory import memory


def test_it_is_what_is_allocated_and_what_goes_after_the_init() -> None:
    rows = [(".text", 10), (".data", 6), (".init.text", 100), (".modinfo", 1000), ("__versions", 1000)]
    sections = [Section(name, 1, SHF_ALLOC, 0, 0, size, 0, 0) for name, size in rows]
    assert memory([*sections, Section(".comment", 1, 0, 0, 0, 1000, 0, 0)]) == (16, 100)


def test_it_is_what_size_adds_up(kernel: Kernel) -> None:
    """binutils' readelf, section by section."""
    inits = 0
    for path in sorted((kernel.root / "lib/modules" / kernel.release / "kernel/drivers/ata").glob("*.ko"))[:8]:
        listed = subprocess.run(["readelf", "-SW", path], capture_output=True, text=True, check=True).stdout
        rows = re.findall(r"^ +\[ *\d+\] (\S+) +\S+ +\S+ +\S+ +(\S+) +\S+ +(\w+) ", listed, re.MULTILINE)
        sizes = {name: int(size, 16) for name, size, flags in rows if "A" in flags}
        init = sum(size for name, size in sizes.items() if name.startswith(".init"))
        found = memory(ElfObject(path.read_bytes(), path.name).sections)
        assert found.init == init
        inits += init
        assert found.core == sum(sizes.values()) - init - sizes[".modinfo"] - sizes["__versions"]
    assert inits
