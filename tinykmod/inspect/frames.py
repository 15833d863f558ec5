"""How much stack a module's functions take, read from how they begin."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tinykmod.inspect.elf_object import SHF_EXECINSTR, STT_FUNC, ElfObject

EM_X86_64, EM_AARCH64 = 62, 183

#: A function takes its frame near its beginning: behind the registers that it saves, and a test or two.
_NEAR = 96
#: More than any kernel stack: bytes that look like the instruction and are not.
_MOST = 1 << 15


class Frame(NamedTuple):
    """A function and the bytes of stack that it takes at once, without the registers that it saves."""

    function: str
    size: int


def frames(elf: ElfObject) -> Iterator[Frame]:
    """The functions that take more than 127 bytes of stack; none for a machine other than x86-64 and arm64."""
    find = {EM_X86_64: _x86_64, EM_AARCH64: _aarch64}.get(elf.machine)
    if find is None:
        return
    code = {
        number: elf.contents(section) for number, section in enumerate(elf.sections) if section.flags & SHF_EXECINSTR
    }
    for symbol in elf.symbols:
        if symbol.type == STT_FUNC and symbol.section in code:
            size = find(code[symbol.section][symbol.value : symbol.value + min(symbol.size, _NEAR)])
            if 0 < size < _MOST:
                yield Frame(symbol.name, size)


def _x86_64(code: bytes) -> int:
    """`sub $imm32, %rsp`."""
    at = code.find(b"\x48\x81\xec")
    if at < 0 or at + 7 > len(code):
        return 0
    size: int = struct.unpack_from("<i", code, at + 3)[0]
    # A frame is of whole words; other bytes are the inside of an instruction.
    return size if size % 8 == 0 else 0


def _aarch64(code: bytes) -> int:
    """`sub sp, sp, #imm12 {, lsl #12}`; the larger frames take two of them."""
    size = 0
    for (word,) in struct.iter_unpack("<I", code[: len(code) // 4 * 4]):
        if word & 0xFF8003FF == 0xD10003FF:
            size += (word >> 10 & 0xFFF) << (12 if word & 1 << 22 else 0)
    return size if size > 127 else 0
