"""The kernel's ELF file within what a boot loader starts."""

from __future__ import annotations

import struct
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.modules.compression import decompress

#: An x86 bzImage has it at 0x202.
BZIMAGE = b"HdrS"


def unpack_vmlinux(vmlinuz: Path) -> bytes:
    """The kernel uncompressed, from an x86 bzImage.

    Raises TinykmodError where VMLINUZ is no bzImage, or is compressed in a way that is not known here; OSError.
    """
    # The kernel's Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
    packed = vmlinuz.read_bytes()
    if packed[0x202:0x206] != BZIMAGE:
        raise TinykmodError(vmlinuz, "is no bzImage")
    offset, length = struct.unpack_from("<II", packed, 0x248)
    begin = (packed[0x1F1] + 1) * 512 + offset
    # Behind the compressed data are four bytes of the kernel's size, which are no xz padding.
    return decompress(packed[begin : begin + length - 4], str(vmlinuz))
