"""Which modules an image carries, and why each of them."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.index.opening import open_index
from tinykmod.index.reader import Index
from tinykmod.index.records import BootIndex
from tinykmod.index.schema import ModuleFlag
from tinykmod.kmod.names import normalise_pattern
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import Module, ModuleTree
from tinykmod.nearest import hint

#: Filesystem types that a root may have; the kernel asks for their modules as `fs-TYPE`.
ROOT_FILESYSTEMS = ("ext2", "ext3", "ext4", "xfs", "btrfs", "vfat", "f2fs", "erofs", "squashfs", "iso9660")

_BOARD = DriverClass.BUS | DriverClass.PLATFORM
#: Devices of a class sit behind other devices, and on boards wait for others: the classes of whose drivers.
BEHIND = {
    DriverClass.STORAGE: _BOARD | DriverClass.USB,
    DriverClass.INPUT: _BOARD | DriverClass.USB,
    DriverClass.NETWORK: _BOARD | DriverClass.USB,
    DriverClass.GPU: _BOARD,
    DriverClass.USB: _BOARD,
}

#: Kernel functions that load a module by a name made at run time: symbol -> what the kernel puts before the name.
#: The names are among the strings of the module that calls them.
REQUESTERS = {
    "crypto_alloc_": "crypto-",
    "load_nls": "nls_",
}
#: What dm targets ask for as whoever sets them up has chosen: cryptsetup's defaults, those of LUKS 1 included
#: (aes-xts-plain64, aes-cbc-essiv:sha256), and those of integritysetup and veritysetup (crc32c, sha256).
VOLUMES = ("xts", "ecb", "cbc", "aes", "essiv", "hmac", "sha256", "crc32c")
#: The character sets that a filesystem asks for are the kernel's options: option -> (before its value, default).
CHARACTER_SETS = {
    "CONFIG_NLS_DEFAULT": ("nls_", "iso8859-1"),
    "CONFIG_FAT_DEFAULT_IOCHARSET": ("nls_", "iso8859-1"),
    "CONFIG_FAT_DEFAULT_CODEPAGE": ("nls_cp", "437"),
}


def parse_classes(names: Iterable[str]) -> DriverClass:
    """Class names, in any case, as bits. Raises TinykmodError, which lists the classes there are."""
    bits = DriverClass(0)
    for name in names:
        if name.upper() not in DriverClass.__members__:
            known = ", ".join(member.name.lower() for member in DriverClass if member.name)
            raise TinykmodError(repr(name), f"no such driver class; there are {known}")
        bits |= DriverClass[name.upper()]
    return bits


def with_behind(classes: DriverClass) -> DriverClass:
    """CLASSES and those that their devices sit behind."""
    for member, behind in BEHIND.items():
        if member in classes:
            classes |= behind
    return classes


class Selection(NamedTuple):
    """An image's modules in tree order, each with its reason, and those that it lacks only because of --omit."""

    modules: dict[str, str]
    left_out: list[str]


def select(
    tree: ModuleTree,
    index: Index,
    classes: DriverClass,
    add: Iterable[str],
    kernel_config: Mapping[str, str],
    listed: Mapping[str, str],
    omitted: Mapping[str, str],
    machine: Mapping[str, str] | None = None,
) -> Selection:
    """The modules for CLASSES and those of ADD (names, patterns of names, or aliases), with all they need.

    Those of LISTED, name or alias -> reason, as well: there a name that leads nowhere is none. OMITTED is omit()'s.
    With MACHINE, its modules, module -> reason, instead of all that are of CLASSES.

    INDEX is of the whole tree: it says which modules a name or alias leads to, here as at boot. What modules
    need is followed to the end: dependencies, softdeps, weakdeps, and what they have the kernel load by name.
    Raises TinykmodError for a name in ADD that leads nowhere, or to a module that is omitted.
    """
    chosen: dict[str, str] = {}
    left_out: set[str] = set()

    def put(names: Iterable[str], reason: str) -> None:
        for name in names:
            if name in omitted:
                left_out.add(name)
            elif name not in chosen:
                chosen[name] = reason
                pending.append(name)

    pending: list[str] = []
    # Modules' strings are many thousand names, which the extension looks up quickest.
    opened = open_index(bytes(index.data), index.which)
    put(index.flagged(ModuleFlag.HASH), "checks modules' signatures")
    for name in add:
        added = _named(index, name)
        if left := next((module for module in added if module in omitted), None):
            needs = "" if left == omitted[left] else f" with {omitted[left]}, which it needs"
            raise TinykmodError(f"--add {name}", f"{left} is omitted{needs}")
        put(added, f"--add {name}")
    for name, reason in listed.items():
        put(_modules(index, name), reason)
    if machine is not None:
        for name, reason in machine.items():
            put([name], reason)
        classes = DriverClass(0)
    for name, served in index.of_classes(with_behind(classes)).items():
        put([name], f"class {_spelled(served & classes or served)}")
    if DriverClass.STORAGE in classes:
        for filesystem in ROOT_FILESYSTEMS:
            put(_modules(index, f"fs-{filesystem}"), f"fs-{filesystem}: a root filesystem")
    while pending:
        name = pending.pop()
        record = index.module(name)
        put(record.deps, f"needed by {name}")
        put((*record.pre, *record.post), f"softdep of {name}")
        put(record.weak, f"weakdep of {name}")
        for request in _requests(tree, tree.by_name[name], kernel_config):
            put(_modules(opened, request), f"{request} for {name}")
    ordered = [module.name for module in tree.modules]
    modules = {name: chosen[name] for name in ordered if name in chosen}
    return Selection(modules, [name for name in ordered if name in left_out])


def omit(index: Index, names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """What --omit of NAMES (as --add takes them) keeps out: module -> itself, or the one of these that it needs; and
    a warning for each name that leads nowhere.

    What needs an omitted module goes with it: it could not be loaded. Its softdeps and what may be asked for by name
    do not bring it back, and what they are of stays.
    """
    gone: dict[str, str] = {}
    warnings = []
    for name in names:
        found = _meant(index, name)
        if not found:
            known = "is built into the kernel" if index.lookup(name) else "no such module or alias"
            warnings.append(f"--omit {name}: {known}")
        gone.update((module, module) for module in found)
    behind = {
        name: needed
        for name in (index.names if gone else ())
        if (needed := next((needed for needed in index.module(name).deps if needed in gone), None))
    }
    return {**behind, **gone}, warnings


def _spelled(classes: DriverClass) -> str:
    return ", ".join(member.name.lower() for member in DriverClass if member in classes and member.name)


def _modules(index: BootIndex, name: str) -> list[str]:
    return [match.module for match in index.lookup(name) if not match.builtin]


def _meant(index: Index, name: str) -> list[str]:
    """The modules that a user means by a name, an alias or a pattern of names."""
    if re.search(r"[*?[]", name) and (found := fnmatch.filter(index.names, normalise_pattern(name))):
        return found
    return _modules(index, name)


def _named(index: Index, name: str) -> list[str]:
    found = _meant(index, name)
    if not found and not index.lookup(name):
        raise TinykmodError(name, f"no such module or alias{hint(name.replace('-', '_'), index.names)}")
    return found


def _requests(tree: ModuleTree, module: Module, kernel_config: Mapping[str, str]) -> Iterator[str]:
    """The names that MODULE may have the kernel load when it runs."""
    prefixes = [prefix for symbol, prefix in REQUESTERS.items() if _imports(module, symbol)]
    if not prefixes:
        return
    words = _strings(tree.read(module))
    for prefix in prefixes:
        yield from (prefix + word for word in words)
    if "crypto-" in prefixes and _imports(module, "dm_register_target"):
        yield from (f"crypto-{name}" for name in VOLUMES)
    if "nls_" in prefixes:
        for option, (before, default) in CHARACTER_SETS.items():
            yield before + kernel_config.get(option, default)


def _imports(module: Module, symbol: str) -> bool:
    return any(name.startswith(symbol) for name in module.elf.imports)


_OF_TEMPLATE = re.compile(r"[(),]")


def _strings(data: bytes) -> Sequence[str]:
    """The words among the NUL-ended strings, once each; of a crypto template, `hmac(sha256)`, its parts as well."""
    words: dict[str, None] = {}
    for match in re.finditer(rb"\0([a-z][a-z0-9_(),-]{2,63})(?=\0)", data):
        text = match[1].decode("ascii")
        words[text] = None
        if len(parts := _OF_TEMPLATE.split(text)) > 1:
            words.update(dict.fromkeys(filter(None, parts)))
    return list(words)
