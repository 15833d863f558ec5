"""A module's sections: as pyelftools reads them, and what of them is loaded."""

from __future__ import annotations

import io

import pytest
from elftools.elf.elffile import ELFFile
from make_ko import make_ko

from tinykmod.bench.debian import Kernel
from tinykmod.errors import ModuleFormatError
from tinykmod.modules.sections import ALLOCATE, Section, memory, read_sections


def test_they_are_those_that_pyelftools_reads(kernel: Kernel) -> None:
    for path in sorted((kernel.root / "lib/modules" / kernel.release / "kernel/drivers/ata").glob("*.ko"))[:8]:
        data = path.read_bytes()
        theirs = [
            (each.name, each["sh_flags"], each["sh_offset"], each["sh_size"], each["sh_addralign"])
            for each in ELFFile(io.BytesIO(data)).iter_sections()
        ]
        assert [(s.name, s.flags, s.offset, s.size, s.align) for s in read_sections(data, path.name)] == theirs[1:]


@pytest.mark.parametrize(("bits", "little"), [(32, True), (32, False), (64, True), (64, False)])
def test_every_size_and_byte_order(bits: int, little: bool) -> None:
    data = make_ko([("license", "GPL")], bits=bits, little_endian=little)
    found = {section.name: section.size for section in read_sections(data, "x")}
    assert found[".modinfo"] == len("license=GPL") + 1


def test_memory_is_what_is_allocated_and_what_goes_after_the_init() -> None:
    rows = [(".text", 10), (".data", 6), (".init.text", 100), (".modinfo", 1000), ("__versions", 1000)]
    sections = [Section(name, 1, ALLOCATE, 0, size, 8) for name, size in rows]
    # .data begins at the next multiple of 8.
    assert memory([*sections, Section(".comment", 1, 0, 0, 1000, 1)]) == (22, 100)


@pytest.mark.parametrize("end", [0, 3, 20, 60, -1, -70])
def test_what_is_cut_short_is_told(end: int) -> None:
    with pytest.raises(ModuleFormatError, match=r"^x: (cut short: the section headers lie|not an ELF file)"):
        read_sections(make_ko([("license", "GPL")])[:end], "x")
