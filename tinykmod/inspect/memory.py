"""What a module takes once the kernel has loaded it, by its sections."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tinykmod.inspect.elf_object import SHF_ALLOC, Section

#: What the linker marks as to be loaded and the kernel leaves out (kernel/module/main.c: rewrite_section_headers).
NOT_LOADED = (".modinfo", "__versions", "__version_ext_crcs", "__version_ext_names")


class Memory(NamedTuple):
    """Bytes of a module in the kernel's memory, which each kernel rounds up to pages in its own way."""

    core: int  # for as long as it is loaded
    init: int  # until its init function has returned


def memory(sections: Iterable[Section]) -> Memory:
    """What a module's sections take in memory."""
    sizes = [0, 0]
    for section in sections:
        if section.flags & SHF_ALLOC and section.name not in NOT_LOADED:
            sizes[section.name.startswith(".init")] += section.size
    return Memory(*sizes)
