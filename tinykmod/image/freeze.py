"""Freezing: the loader with its boot index, and modules, behind it in one static program. What the loader makes of it
is in cext/core/frozen.pxi."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.index.reader import Index

#: In the loader's file, ahead of three numbers: the index's place, its bytes, the bytes of all that is frozen.
MARK = b"\x89TKF frozen\r\n\x1a\0\0"
_NUMBERS = struct.Struct("<QQQ")
#: A module's place behind the index's start, a multiple of ALIGNED, and its bytes; 0 where it is not in the program.
_MODULE = struct.Struct("<II")
ALIGNED = 8


def freeze(loader: bytes, which: Path, index: bytes, modules: Mapping[str, bytes]) -> bytes:
    """The program. MODULES: name -> packed module; the loader takes the file of a module that is not among them.

    Raises TinykmodError(WHICH) where LOADER cannot be frozen, or is frozen.
    """
    at = loader.find(MARK)
    if at < 0 or loader.find(MARK, at + 1) >= 0 or at + len(MARK) + _NUMBERS.size > len(loader):
        raise TinykmodError(which, "is no loader that can be frozen")
    at += len(MARK)
    if any(_NUMBERS.unpack_from(loader, at)):
        raise TinykmodError(which, "is frozen already")
    program = bytearray(loader)
    _align(program)
    start = len(program)
    program += index
    table = len(program)
    if modules:
        names = Index(index, str(which), verify=False).names
        program += bytes(_MODULE.size * len(names))
        for number, name in enumerate(names):
            if name in modules:
                _align(program)
                _MODULE.pack_into(program, table + number * _MODULE.size, len(program) - start, len(modules[name]))
                program += modules[name]
    _NUMBERS.pack_into(program, at, start, len(index), len(program) - start)
    return bytes(program)


def _align(program: bytearray) -> None:
    program += bytes(-len(program) % ALIGNED)
