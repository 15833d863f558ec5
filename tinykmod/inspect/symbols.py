"""What the modules of a tree, and the kernel itself, export and import: CRCs, GPL-only exports, namespaces.

The kernel's own exports come from the first of these that is there (kernel_exports()): Module.symvers, the kernel's
image, System.map. Where none tells, what no module exports counts as the kernel's own, as in resolve().
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.inspect import kernel_image
from tinykmod.inspect.elf_object import ElfObject, string_at
from tinykmod.inspect.kernel_image import unpacked
from tinykmod.inspect.raw_kernel import raw_exports
from tinykmod.inspect.roots import followed
from tinykmod.kmod.depmod import PROVIDED
from tinykmod.kmod.names import module_name
from tinykmod.modules.compression import decompress
from tinykmod.modules.directory import directory_of
from tinykmod.modules.tree import Module, ModuleTree

#: Owner of what the kernel itself exports, as Module.symvers calls it.
KERNEL = "vmlinux"


class Export(NamedTuple):
    """A symbol that a module, or the kernel, exports."""

    name: str
    owner: str  # the module's name, or KERNEL
    crc: int | None = None  # None without MODVERSIONS, or not known
    gpl_only: bool | None = None  # None: not known
    namespace: str | None = None  # "" is none; None: not known


class Import(NamedTuple):
    """A symbol that a module needs."""

    name: str
    crc: int | None  # that it had when the module was built
    weak: bool  # may stay unresolved


class KernelExports(NamedTuple):
    """What the kernel itself exports, and the file that tells."""

    exports: Mapping[str, Export]
    source: Path | None  # None: nothing tells, and exports is empty


class Symbols:
    """The symbols of a tree. Names and CRCs are there at once; what takes reading files again is read when it is
    asked for, and kept."""

    def __init__(self, tree: ModuleTree, root: Path, kernel: KernelExports | None = None) -> None:
        self.tree = tree
        self.root = root
        if kernel is not None:
            self.kernel = kernel
        self._details: dict[str, dict[str, Export]] = {}

    @classmethod
    def of(cls, tree: ModuleTree, root: Path) -> Symbols:
        """The symbols of a tree that was read below a root, where its kernel is looked for."""
        return cls(tree, root)

    @cached_property
    def kernel(self) -> KernelExports:
        """The kernel's own exports. Raises as kernel_exports()."""
        return kernel_exports(self.root, self.tree.release, self.tree.directory)

    @cached_property
    def exporters(self) -> dict[str, list[Module]]:
        """Symbol -> the modules that export it, in depmod's order."""
        found: dict[str, list[Module]] = {}
        for module in self.tree.modules:
            for symbol in module.elf.exports:
                found.setdefault(symbol, []).append(module)
        return found

    @cached_property
    def importers(self) -> dict[str, list[Module]]:
        """Symbol -> the modules that need it, in depmod's order."""
        found: dict[str, list[Module]] = {}
        for module in self.tree.modules:
            for symbol in module.elf.imports:
                found.setdefault(symbol, []).append(module)
        return found

    def exports(self, module: Module) -> Mapping[str, Export]:
        """A module's exports in full. Raises OSError, ModuleFormatError."""
        if module.name not in self._details:
            self._details[module.name] = (
                module_exports(module, self.tree.read(module), str(self.tree.directory / module.path))
                if module.elf.exports
                else {}
            )
        return self._details[module.name]

    def imports(self, module: Module) -> list[Import]:
        """What a module needs, in its file's order."""
        return [Import(name, crc, name in module.elf.weak) for name, crc in module.elf.imports.items()]

    def find(self, symbol: str) -> list[Export]:
        """Everyone who exports a symbol: the kernel first, which the kernel asks first too, then modules in depmod's
        order, of which the last is the one that depmod takes."""
        own = self.kernel.exports.get(symbol)
        return [*([own] if own else []), *(self.exports(module)[symbol] for module in self.exporters.get(symbol, ()))]

    def is_unknown(self, symbol: str) -> bool:
        """Whether nothing exports a symbol; False where the kernel's own exports are not known."""
        return (
            symbol not in self.exporters
            and self.kernel.source is not None
            and symbol not in self.kernel.exports
            and symbol not in PROVIDED
        )


def kernel_exports(
    root: Path, release: str, directory: Path | None = None, unpack: Callable[[Path], bytes] = unpacked
) -> KernelExports:
    """The exports of the kernel of a release below a root, from where distributions keep them.

    directory is the modules' own, if it is not where the release's is; unpack is kernel_image.unpacked(), or one that
    has the image already. Raises OSError, TinykmodError for a file that is damaged; one that tells nothing (Debian's
    System.map) counts as not there.
    """
    tree = directory or directory_of(root, release)
    places = [
        *(tree / name for name in ("Module.symvers", "symvers.xz", "symvers.gz", "symvers.zst")),
        followed(root, tree / "build" / "Module.symvers"),
        *(root / "boot" / f"symvers-{release}{suffix}" for suffix in (".xz", ".gz", ".zst")),
        *kernel_image.places(root, release, tree),
        tree / "System.map",
        root / "boot" / f"System.map-{release}",
    ]
    for place in places:
        if place is not None and place.is_file() and (exports := read_exports(place, unpack)):
            return KernelExports(exports, place)
    return KernelExports({}, None)


def read_exports(path: Path, unpack: Callable[[Path], bytes] = unpacked) -> dict[str, Export]:
    """The kernel's exports from a Module.symvers, a System.map, a vmlinux, a bzImage or an Image, compressed or
    not; empty where it tells of none.

    Raises OSError, TinykmodError for one that is damaged.
    """
    with path.open("rb") as file:
        is_text = b"\0" not in file.read(0x206)
    if is_text or "symvers" in path.name:
        text = decompress(path.read_bytes(), str(path)).decode(errors="surrogateescape")
        return dict(_of_symvers(text)) or _of_system_map(text)
    image = unpack(path)
    if image[:4] == kernel_image.ELF:
        return vmlinux_exports(image, path)
    return {
        name: Export(name, KERNEL, crc, gpl_only, namespace)
        for name, namespace, gpl_only, crc in raw_exports(image)
    }


def vmlinux_exports(data: bytes, which: str | os.PathLike[str]) -> dict[str, Export]:
    """The exports that a kernel's own ELF file lists (include/linux/export.h, struct kernel_symbol since 5.4).

    Raises ModuleFormatError for a file that is cut short, TinykmodError for tables of an unknown layout.
    """
    elf = ElfObject(data, os.fspath(which))
    strings = elf.by_name.get("__ksymtab_strings")
    names = elf.contents(strings)
    found: dict[str, Export] = {}
    for suffix in "", "_gpl":
        table = elf.by_name.get(f"__ksymtab{suffix}")
        if table is None or strings is None:
            continue
        rows = _table(elf, table.address, elf.contents(table), strings.address, names)
        if rows is None:
            raise TinykmodError(which, f"its __ksymtab{suffix} is of no known layout")
        crcs = elf.contents(elf.by_name.get(f"__kcrctab{suffix}"))
        known = struct.unpack(f"{elf.order}{len(rows)}I", crcs) if len(crcs) == 4 * len(rows) else ()
        for number, (name, namespace) in enumerate(rows):
            found[name] = Export(name, KERNEL, known[number] if known else None, suffix == "_gpl", namespace)
    return found


def module_exports(module: Module, image: bytes, which: str) -> dict[str, Export]:
    """A module's exports in full, from its uncompressed bytes. Raises ModuleFormatError."""
    elf = ElfObject(image, which)
    gpl, strings = elf.number("__ksymtab_gpl"), elf.number("__ksymtab_strings")
    names = elf.contents(elf.sections[strings]) if strings is not None else b""
    gpl_only: dict[str, bool] = {}
    namespaces: dict[str, str] = {}
    for symbol in elf.symbols:
        if symbol.name.startswith("__kstrtabns_") and symbol.section == strings:
            namespaces[symbol.name[12:]] = string_at(names, symbol.value)
        elif symbol.name.startswith("__ksymtab_"):
            gpl_only[symbol.name[10:]] = symbol.section == gpl
    # Without local symbols the tables alone tell, where there is but one.
    whole = None if gpl_only else {(False, True): True, (True, False): False}.get(
        ("__ksymtab" in elf.by_name, gpl is not None)
    )  # fmt: skip
    return {
        name: Export(name, module.name, crc, gpl_only.get(name, whole), namespaces.get(name))
        for name, crc in module.elf.exports.items()
    }


def _table(elf: ElfObject, address: int, data: bytes, start: int, names: bytes) -> list[tuple[str, str]] | None:
    """Each export's name and namespace. None where the table's places do not lead to names.

    On architectures with relative references (HAVE_ARCH_PREL32_RELOCATIONS) an entry is three s32 that count from
    their own place, elsewhere it is three words: value, name, namespace.
    """
    word = 8 if elf.wide else 4
    for size, relative in (4, True), (word, False):
        if len(data) % (3 * size):
            continue
        form = struct.Struct(elf.order + ("3i" if relative else "3Q" if elf.wide else "3I"))
        rows = []
        for number, (_, name, namespace) in enumerate(form.iter_unpack(data)):
            here = address - start + number * form.size if relative else -start
            at = here + size * relative + name
            # A linker that merges strings lets a name begin within another.
            if not 0 <= at < len(names) or not names[at]:
                break
            place = here + 2 * size * relative + namespace if namespace else -1
            rows.append((string_at(names, at), string_at(names, place) if 0 <= place < len(names) else ""))
        else:
            return rows
    return None


def _of_symvers(text: str) -> Iterator[tuple[str, Export]]:
    """`CRC SYMBOL OWNER TYPE NAMESPACE`, parted by tabs (Documentation/kbuild/modules.rst); of the kernel's only."""
    for line in text.split("\n"):
        words = line.split("\t")
        if len(words) >= 4 and words[2] == KERNEL and re.fullmatch("0x[0-9a-fA-F]{8}", words[0]):
            crc, name, _, kind, *rest = words
            yield name, Export(name, KERNEL, int(crc, 16), kind.endswith("_GPL"), rest[0] if rest else None)


def _of_system_map(text: str) -> dict[str, Export]:
    """By the __ksymtab_ symbols; which of them are GPL-only is told by what limits the tables."""
    places: dict[str, int] = {}
    for line in text.split("\n"):
        words = line.split()
        if len(words) == 3 and "__ksymtab" in words[2] and re.fullmatch("[0-9a-fA-F]+", words[0]):
            places[words[2]] = int(words[0], 16)
    begin, end = (places.get(f"__{word}___ksymtab_gpl", -1) for word in ("start", "stop"))
    return {
        name: Export(name, KERNEL, None, begin <= place < end if begin >= 0 else None)
        for symbol, place in places.items()
        if symbol.startswith("__ksymtab_") and (name := symbol[10:])
    }


def owner_of(export: Export) -> str:
    """How to name who exports."""
    return "the kernel" if export.owner == KERNEL else module_name(export.owner)
