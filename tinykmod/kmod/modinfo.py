"""What modinfo(8) tells of a module: the fields of its .modinfo, then those of its signature."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from tinykmod import core
from tinykmod.errors import ModuleFormatError
from tinykmod.kmod.signature import read_signature
from tinykmod.modules.compression import decompress

#: A field's name and its value.
Field = tuple[str, str]

SIGNATURE_FIELDS = ("sig_id", "signer", "sig_key", "sig_hashalgo", "signature")


class Parameter(NamedTuple):
    """A module's parameter, from its `parm` and `parmtype` fields."""

    name: str
    description: str | None  # None: not told
    type: str | None


def read_image(path: Path) -> bytes:
    """The module as it is without compression. Raises OSError, ModuleFormatError."""
    return decompress(path.read_bytes(), str(path))


def module_fields(image: bytes, which: str) -> list[Field]:
    """.modinfo in the file's order. Raises ModuleFormatError(which, ...)."""
    if core.extension is not None:
        return list(core.extension.read_elf(image, which).modinfo)
    from tinykmod.modules.elf import read_elf

    return list(read_elf(image, which).modinfo)


def signature_fields(image: bytes, which: str) -> list[Field]:
    """SIGNATURE_FIELDS as modinfo writes them, empty for a module without a signature.

    Raises ModuleFormatError(which, ...) for a signature that is damaged, TinykmodError where it takes a package that
    is missing.
    """
    found = read_signature(image, which)
    if found is None:
        return []
    values = (found.id_type, found.signer, _hex(found.key), found.hash, _hex(found.signature))
    return list(zip(SIGNATURE_FIELDS, values, strict=True))


def builtin_fields(directory: Path, name: str) -> list[Field]:
    """The fields of a builtin module, by its normalised name, from modules.builtin.modinfo.

    Raises OSError, and ModuleFormatError where that file says nothing of the module.
    """
    file = directory / "modules.builtin.modinfo"
    start = f"{name}.".encode(errors="surrogateescape")
    lines = [line[len(start) :] for line in file.read_bytes().split(b"\0") if line.startswith(start)]
    if not lines:
        raise ModuleFormatError(file, f"says nothing of {name}")
    parts = [line.decode(errors="surrogateescape").partition("=") for line in lines]
    return [(key, value) for key, _, value in parts]


def parameters(fields: Iterable[Field]) -> tuple[list[Parameter], list[Field]]:
    """The parameters in kmod's order, the last one first, and the fields that have no `:` and so name none.

    Of several descriptions or types of one parameter the last counts.
    """
    found: dict[str, Parameter] = {}
    nameless = []
    for key, value in fields:
        if key not in ("parm", "parmtype"):
            continue
        name, colon, text = value.partition(":")
        if not colon:
            nameless.append((key, value))
            continue
        known = found.get(name, Parameter(name, None, None))
        found[name] = known._replace(description=text) if key == "parm" else known._replace(type=text)
    return list(reversed(found.values())), nameless


def _hex(raw: bytes) -> str:
    """`AA:BB`, 20 bytes on a line."""
    return ":\n\t\t".join(raw[at : at + 20].hex(":").upper() for at in range(0, len(raw), 20))
