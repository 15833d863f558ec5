"""A kernel's image: where it is kept, and what it tells of the modules that it takes."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path

from tinykmod.inspect import btf, trusted
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.modules.compression import decompress
from tinykmod.modules.vmlinux import BZIMAGE, unpack_vmlinux

ELF = b"\x7fELF"


def places(root: Path, release: str, tree: Path) -> list[Path]:
    """Where distributions keep the image of a release whose modules are in TREE, the likeliest first."""
    return [tree / "vmlinuz", *(root / "boot" / f"{name}-{release}" for name in ("vmlinux", "vmlinuz"))]


def unpacked(path: Path) -> bytes:
    """The kernel in a file as it is in memory: its ELF file, or arm64's Image and others without sections.

    Raises OSError, TinykmodError for a file that is damaged.
    """
    with path.open("rb") as file:
        is_bzimage = file.read(0x206)[0x202:] == BZIMAGE
    return unpack_vmlinux(path) if is_bzimage else decompress(path.read_bytes(), str(path))


class KernelImage:
    """An image. What it does not tell is empty or None; what is damaged raises ModuleFormatError."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path = path
        self.data = data

    @cached_property
    def elf(self) -> ElfObject | None:
        """None for one without sections."""
        return ElfObject(self.data, str(self.path)) if self.data[:4] == ELF else None

    def vermagic(self, release: str) -> str:
        """The version magic that its modules must have, if it is of this release."""
        magic = rb"(?<=\0)" + re.escape(release.encode()) + rb" (SMP|mod_unload|preempt)[ -~]*(?=\0)"
        found = re.search(magic, self.data)
        return found[0].decode().strip() if found else ""

    @cached_property
    def keys(self) -> list[trusted.Key]:
        """Those that it trusts by itself; a machine's firmware may add others."""
        return trusted.keys_of(self.data)

    @cached_property
    def btf(self) -> btf.Sizes | None:
        """How many types its own BTF has."""
        data = self.elf.contents(self.elf.by_name.get(".BTF")) if self.elf is not None else b""
        return btf.read(data, self.elf.order)[0] if data and self.elf is not None else None
