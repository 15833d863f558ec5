"""The files beside a tree's modules: depmod's, those of the kernel's build, firmware; and modules' first bytes."""

from __future__ import annotations

import lzma
import os
import struct
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from tinykmod.errors import BinIndexError, TinykmodError
from tinykmod.image import firmware
from tinykmod.inspect import check_rules as rules
from tinykmod.inspect.elf_object import Architecture
from tinykmod.inspect.names import several
from tinykmod.inspect.report import Finding
from tinykmod.kmod import depmod
from tinykmod.kmod.binindex import BinIndex
from tinykmod.kmod.depmod_reading import Reading
from tinykmod.kmod.depmod_record import pack
from tinykmod.modules.files import ModuleFile
from tinykmod.modules.tree import ModuleTree

_HEAD = 20  # bytes of an ELF header up to e_machine
_LONGEST = 60  # of a line that is quoted


def architecture(path: str, compressed: str) -> Architecture | None:
    """What a module's file of this compression is for; None where its beginning does not tell (zstd)."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - for thousands of files a Path takes as long as reading
        data = file.read(4096 if compressed else _HEAD)
    with suppress(lzma.LZMAError, zlib.error, EOFError):
        if compressed == "xz":
            data = lzma.LZMADecompressor().decompress(data, _HEAD)
        elif compressed == "gzip":
            data = zlib.decompressobj(31).decompress(data, _HEAD)
    if len(data) < _HEAD or data[:4] != b"\x7fELF":
        return None
    order = "<" if data[5] == 1 else ">"
    machine: int = struct.unpack_from(f"{order}H", data, 18)[0]
    return Architecture(machine, data[4] == 2, order)


def build_findings(directory: Path) -> Iterator[Finding]:
    """Files of the kernel's build that are not there."""
    for name in depmod.FROM_BUILD:
        if not (directory / name).exists():
            yield Finding(rules.BUILD_FILE, name, "is not there")


def index_findings(tree: ModuleTree, *, whole: bool) -> Iterator[Finding]:
    """depmod's files, where they are not those that depmod would write for the modules, which is known only of a
    tree that could be read as a whole."""
    names = (*depmod.TEXTS, *(f"{name}.bin" for name in ("modules.dep", "modules.alias", "modules.symbols")))
    if not any((tree.directory / name).exists() for name in ("modules.dep", "modules.dep.bin")):
        yield Finding(rules.NO_INDEX, "modules.dep", "is not there")
        return
    try:
        wanted = _wanted(tree) if whole else {}
    except TinykmodError:
        # A circle, a name that no index can hold: told by itself.
        wanted = {}
    if not wanted:
        yield from _damaged(tree, names)
        return
    stale = set()
    for name in sorted(wanted, key=lambda name: name.endswith(".bin")):
        path = tree.directory / name
        if not path.exists():
            # Older depmods write no modules.weakdep, and none writes what would be empty.
            if name in names and (name.endswith(".bin") or wanted[name].count(b"\n") > 1):
                yield Finding(rules.STALE_INDEX, name, "is not there, though other files of depmod are")
            continue
        data = path.read_bytes()
        if data == wanted[name]:
            continue
        try:
            texts = [_entries(name, each) for each in (data, wanted[name])]
        except BinIndexError as error:
            yield Finding(rules.DAMAGED_INDEX, name, error.why)
            continue
        # What a text tells, its index need not tell again.
        if name.removesuffix(".bin") not in stale and (differing := _differing(*texts)):
            stale.add(name)
            yield Finding(rules.STALE_INDEX, name, differing)


def _damaged(tree: ModuleTree, names: Sequence[str]) -> Iterator[Finding]:
    for name in names:
        path = tree.directory / name
        if name.endswith(".bin") and path.exists():
            try:
                _entries(name, path.read_bytes())
            except BinIndexError as error:
                yield Finding(rules.DAMAGED_INDEX, name, error.why)


def _wanted(tree: ModuleTree) -> dict[str, bytes]:
    files = [ModuleFile(module.name, module.path) for module in tree.modules]
    known: dict[int, bytes] = {}
    if any(module.compression for module in tree.modules):
        # To decompress the modules again takes longer than to hand over what was read of them.
        known = {number: pack(module.elf) for number, module in enumerate(tree.modules)}
    made = Reading(tree.directory, files, known, None).make(None)
    return depmod.make(tree, made).files


def _entries(name: str, data: bytes) -> Counter[str]:
    """What a text or an index says, for each module's path, alias, symbol or line."""
    if not name.endswith(".bin"):
        lines = data.decode(errors="surrogateescape").split("\n")
        return Counter(" ".join(sorted(line.split())) for line in lines if line and not line.startswith("#"))
    if not data:
        # modprobe takes it for no index at all.
        raise BinIndexError(name, "is empty")
    # Another depmod lays the same entries out otherwise.
    return Counter(f"{entry.key} {entry.value}" for entry in BinIndex(data, name).entries())


def _differing(had: Counter[str], wanted: Counter[str]) -> str:
    """How a file differs from what it should be; empty where it does not."""
    parts = []
    for lines, text in (wanted - had, "lacks"), (had - wanted, "should not say"):
        if lines:
            first = next(iter(lines))
            first = first if len(first) <= _LONGEST else f"{first[: _LONGEST - 3]}..."
            parts.append(f"{text} `{first}`{f' and {len(lines) - 1} more' if len(lines) > 1 else ''}")
    return "; ".join(parts)


def firmware_findings(tree: ModuleTree, root: Path) -> Iterator[Finding]:
    """Firmware that modules name and that is not below a root; nothing where there is no firmware at all."""
    places = firmware.search(root, tree.release)
    there: set[str] = set()
    for place in places:
        there |= _below(place)
    if not there:
        return
    for module in tree.modules:
        missing = [name for name in dict.fromkeys(module.values("firmware")) if not _is_there(name, there, places)]
        if missing:
            yield Finding(rules.FIRMWARE, module.path, f"not installed: {several(missing)}")


def _is_there(name: str, there: set[str], places: Sequence[firmware.Place]) -> bool:
    plain = "/".join(part for part in name.split("/") if part not in ("", "."))
    if plain in there:
        return True
    if firmware.is_pattern(name):
        parts = plain.split("/")
        return any(_matches(each.split("/"), parts) for each in there)
    # Behind a link to a directory.
    above = plain.split("/")[:-1]
    linked = any(f"{'/'.join(above[: end + 1])}/" in there for end in range(len(above)))
    return linked and not firmware.collect({"": [name]}, places, {}).missing


def _matches(name: list[str], pattern: list[str]) -> bool:
    return len(name) == len(pattern) and all(map(fnmatchcase, name, pattern))


def _below(place: firmware.Place) -> set[str]:
    """The names of the files below a place as modules spell them; a link to a directory has a `/` at its end."""
    top = os.path.join(place.root, place.path)  # noqa: PTH118 - a prefix to cut off, not a path
    found: set[str] = set()
    for directory, directories, files in os.walk(top):
        below = os.path.relpath(directory, top)
        prefix = "" if below == "." else f"{below}/"
        found.update(f"{prefix}{name}/" for name in directories if Path(directory, name).is_symlink())
        for name in files:
            path = f"{prefix}{name}"
            if not Path(directory, name).is_symlink():
                found.add(firmware.uncompressed(path))
            elif (real := firmware.resolve(place.root, f"{place.path}/{path}")) is not None:
                found.add(firmware.uncompressed(path) if (place.root / real).is_file() else f"{path}/")
    return found
