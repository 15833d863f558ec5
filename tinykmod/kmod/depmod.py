"""What depmod(8) writes for a module tree, and what it says of the tree's symbols.

The texts have kmod's order and spelling, so that either tool's files can take the place of the other's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

from tinykmod.errors import ConfigError, ModuleFormatError
from tinykmod.kmod.binindex import Entry, write_index
from tinykmod.kmod.depends import resolve
from tinykmod.kmod.hashing import hashed_order
from tinykmod.kmod.names import normalise_pattern
from tinykmod.modules.elf_module import ElfModule
from tinykmod.modules.tree import Module, ModuleTree

#: The order in which depmod writes them, which is that of `depmod -n`.
TEXTS = (
    "modules.dep",
    "modules.alias",
    "modules.softdep",
    "modules.weakdep",
    "modules.symbols",
    "modules.devname",
)

#: What `make modules_install` leaves for depmod to read.
FROM_BUILD = ("modules.order", "modules.builtin", "modules.builtin.modinfo")

#: What the kernel's loader or linker provides, and no symbol table lists.
PROVIDED = ("__this_module", "_GLOBAL_OFFSET_TABLE_", ".TOC.")

_NODE = re.compile(r"(char|block)-major-(\d+)-(\d+)")
#: Of kmod's table of symbols.
_BUCKETS = 2048
_T = TypeVar("_T")


class Made(NamedTuple):
    """depmod's files by name, and what was found amiss, one line each."""

    files: dict[str, bytes]
    warnings: list[str]


def make(tree: ModuleTree, made: dict[str, bytes] | None = None) -> Made:
    """depmod's texts and indexes of a tree. made, if given, are those of its modules: then these are not looked at.

    Raises TinykmodError naming the modules of a circle of dependencies, ModuleFormatError for a module whose name or
    symbols no index can hold, not being of 7 bits.
    """
    warnings = [
        f"could not open {name} at {tree.directory}: No such file or directory"
        for name in FROM_BUILD
        if not (tree.directory / name).exists()
    ]
    files = _of_modules(tree, warnings) if made is None else dict(made)
    builtin = {
        "modules.builtin.bin": [Entry(name, "", 0) for name in tree.builtin],
        "modules.builtin.alias.bin": [
            Entry(pattern, name, 0) for pattern, name in _normalised(_builtin_aliases(tree), warnings)
        ],
    }
    for name, entries in builtin.items():
        files[name] = write_index(entries, tree.directory / name)
    return Made(files, warnings)


def _of_modules(tree: ModuleTree, warnings: list[str]) -> dict[str, bytes]:
    for module in tree.modules:
        for text in (module.name, *module.elf.exports):
            if not text.isascii():
                raise ModuleFormatError(tree.directory / module.path, f"a name or symbol is not of 7 bits: {text!r}")
    lines = _dep_lines(tree.modules)
    symbols = _symbols(tree.modules)
    aliases = [(alias, number) for number, module in enumerate(tree.modules) for alias in module.aliases]
    names = [module.name for module in tree.modules]
    texts = {
        "modules.dep": lines,
        "modules.alias": [
            "# Aliases extracted from modules themselves.",
            *(f"alias {alias} {names[number]}" for alias, number in aliases),
        ],
        "modules.softdep": [
            "# Soft dependencies extracted from modules themselves.",
            *(f"softdep {module.name} {text}" for module in tree.modules for text in module.softdeps),
        ],
        "modules.weakdep": [
            "# Weak dependencies extracted from modules themselves.",
            *(f"weakdep {module.name} {text}" for module in tree.modules for text in module.weakdeps),
        ],
        "modules.symbols": [
            "# Aliases for symbols, used by symbol_request().",
            *(f"alias symbol:{symbol} {names[number]}" for symbol, number in symbols),
        ],
        "modules.devname": _devnames(tree.modules, warnings),
    }
    indexes = {
        "modules.dep.bin": [Entry(names[number], line, number) for number, line in enumerate(lines)],
        "modules.alias.bin": [
            Entry(pattern, names[number], number) for pattern, number in _normalised(aliases, warnings)
        ],
        "modules.symbols.bin": [Entry(f"symbol:{symbol}", names[number], number) for symbol, number in symbols],
    }
    files = {name: _bytes("".join(f"{line}\n" for line in texts[name])) for name in TEXTS}
    for name, entries in indexes.items():
        files[name] = write_index(entries, tree.directory / name)
    return files


class KernelSymbols(NamedTuple):
    """The symbols that the kernel itself exports, with their CRCs where those are known."""

    crcs: Mapping[str, int | None]
    versioned: bool  # from Module.symvers: the modules' CRCs are compared as well


def read_system_map(path: Path, prefix: str = "") -> KernelSymbols:
    """The exports that a System.map tells by its __ksymtab_ symbols, with PREFIX before that. Raises OSError."""
    words = (line.split() for line in _text(path).splitlines())
    names = (word[2].removeprefix(prefix) for word in words if len(word) == 3)
    return KernelSymbols(
        {name.removeprefix("__ksymtab_"): None for name in names if name.startswith("__ksymtab_")}, False
    )


def read_symvers(path: Path, prefix: str = "") -> KernelSymbols:
    """The exports of vmlinux in a Module.symvers: `0xCRC SYMBOL WHERE ...` on each line; PREFIX is left out.

    Raises OSError.
    """
    words = (line.split() for line in _text(path).splitlines())
    crcs: dict[str, int | None] = {}
    for word in words:
        if len(word) >= 3 and word[2] == "vmlinux" and re.fullmatch("(0[xX])?[0-9a-fA-F]+", word[0]):
            crcs[word[1].removeprefix(prefix)] = int(word[0], 16)
    return KernelSymbols(crcs, True)


def without_prefix(tree: ModuleTree, prefix: str) -> ModuleTree:
    """The tree with symbols that begin with PREFIX known by what follows it."""

    def cut(symbols: dict[str, int | None]) -> dict[str, int | None]:
        return {symbol.removeprefix(prefix): crc for symbol, crc in symbols.items()}

    modules = []
    for module in tree.modules:
        read = module.elf
        weak = frozenset(symbol.removeprefix(prefix) for symbol in read.weak)
        modules.append(module._replace(elf=ElfModule(read.modinfo, cut(read.exports), cut(read.imports), weak)))
    return ModuleTree(
        tree.directory,
        tree.release,
        modules,
        builtin=tree.builtin,
        builtin_modinfo=tree.builtin_modinfo,
        digest=tree.digest,
    )


def exported(kernel: KernelSymbols) -> dict[str, int | None]:
    """What modules may need without a module that exports it, with the CRCs that are known."""
    return {**dict.fromkeys(PROVIDED), **kernel.crcs}


def symbol_faults(tree: ModuleTree, kernel: KernelSymbols) -> Iterator[str]:
    """What depmod -e says: symbols that nothing exports, and CRCs that differ, but for weak symbols."""
    crcs = exported(kernel)
    for module in tree.modules:
        crcs.update(module.elf.exports)
    for module in tree.modules:
        path = tree.directory / module.path
        for symbol, crc in module.elf.imports.items():
            if symbol in module.elf.weak:
                continue
            if symbol not in crcs:
                yield f"{path} needs unknown symbol {symbol}"
            elif kernel.versioned and None not in (crc, crcs[symbol]) and crc != crcs[symbol]:
                yield f"{path} disagrees about version of symbol {symbol}"


def needs(tree: ModuleTree) -> Iterator[str]:
    """What depmod -v says: both modules of each dependency, and the first symbol that makes it."""
    exporter = {symbol: module for module in tree.modules for symbol in module.elf.exports}
    for module in tree.modules:
        told = {module.path}
        for symbol in module.elf.imports:
            owner = exporter.get(symbol)
            if owner is not None and owner.path not in told:
                told.add(owner.path)
                yield f'{tree.directory / module.path} needs "{symbol}": {tree.directory / owner.path}'


def duplicates(tree: ModuleTree) -> Iterator[str]:
    """What depmod -w says: aliases that a module gives more than once, as modprobe compares them."""
    seen = set()
    for pair in _normalised(((alias, module.name) for module in tree.modules for alias in module.aliases), []):
        if pair in seen:
            yield "duplicate module alias:\n" + " ".join(pair)
        seen.add(pair)


def _dep_lines(modules: list[Module]) -> list[str]:
    paths = [module.path for module in modules]
    return [
        " ".join([f"{path}:", *(paths[number] for number in reversed(closure))])
        for path, closure in zip(paths, resolve(modules).closure, strict=True)
    ]


def _symbols(modules: list[Module]) -> list[tuple[str, int]]:
    """The exported symbols with their modules' numbers, in the order of the hash table in which kmod keeps them."""
    owner = {symbol: number for number, module in enumerate(modules) for symbol in module.elf.exports}
    return [
        (symbol, owner[symbol]) for symbol in sorted(owner, key=lambda name: hashed_order(_bytes(name), _BUCKETS))
    ]


def _devnames(modules: list[Module], warnings: list[str]) -> list[str]:
    lines = []
    for module in modules:
        name = node = None
        for alias in module.aliases:
            if alias.startswith("devname:"):
                name = alias.removeprefix("devname:")
            elif found := _NODE.match(alias):
                node = f"{found[1][0]}{int(found[2])}:{int(found[3])}"
            if name is not None and node is not None:
                lines.append(f"{module.name} {name} {node}")
                break
        else:
            if name is not None:
                warnings.append(
                    f"Module '{module.name}' has devname ({name}) but lacks major and minor information. Ignoring."
                )
    return ["# Device nodes to trigger on-demand module loading.", *lines] if lines else []


def _builtin_aliases(tree: ModuleTree) -> list[tuple[str, str]]:
    return [(value, name) for name, info in tree.builtin_modinfo.items() for key, value in info if key == "alias"]


def _normalised(aliases: Iterable[tuple[str, _T]], warnings: list[str]) -> Iterator[tuple[str, _T]]:
    """The aliases as an index holds them, without those that it cannot hold."""
    for alias, whose in aliases:
        if not alias.isascii():
            warnings.append(f"alias {alias} is not of 7 bits, modprobe will not find it")
            continue
        try:
            yield normalise_pattern(alias), whose
        except ConfigError:
            warnings.append(f"Unmatched bracket in {alias}")


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
