"""Programs that go into an image: whether they could run there."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from tinykmod.errors import TinykmodError
from tinykmod.modules.tree import ModuleTree

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile


def check_machine(loader: Path, tree: ModuleTree) -> None:
    """Hold the loader's ELF class, byte order and machine against a module's: another one could not even start.

    Raises TinykmodError.
    """
    first = tree.modules[0]
    both = (loader.read_bytes(), loader), (tree.read(first), tree.directory / first.path)
    program, module = (data[:6] + data[18:20] for data, _ in both)
    if program != module:
        is_for, wanted = (_elf(data, path).header.e_machine for data, path in both)
        raise TinykmodError(loader, f"is for {is_for}, the modules of {tree.release} are for {wanted}")


def static_program(path: Path) -> bytes:
    """A program's file. Raises TinykmodError for one that is not static."""
    data = path.read_bytes()
    if needed := _dynamic_loader(data, path):
        raise TinykmodError(path, f"not static: it needs {needed}, which the image lacks")
    return data


def interpreter(data: bytes, path: Path) -> str:
    """What the kernel starts a program with: a script's first word, a dynamic program's loader; else empty.

    Raises TinykmodError for what is neither script nor ELF file.
    """
    script = re.match(rb"#![ \t]*(\S+)", data)
    return os.fsdecode(script[1]) if script else _dynamic_loader(data, path)


def _dynamic_loader(data: bytes, path: Path) -> str:
    found = (os.fsdecode(each.data().rstrip(b"\0")) for each in _elf(data, path).iter_segments("PT_INTERP"))
    return next(found, "")


def _elf(data: bytes, path: Path) -> ELFFile:
    # Imported here: it takes as long as reading a hundred modules.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        return ELFFile(io.BytesIO(data))
    except ELFError as error:
        raise TinykmodError(path, f"not a program: {error}") from error
