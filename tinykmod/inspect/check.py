"""A whole tree: do its modules fit each other and the kernel, are depmod's files those of these modules, does
modprobe.d speak of what is there."""

from __future__ import annotations

import mmap
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.inspect import check_rules as rules
from tinykmod.inspect.buses import bus_of_alias, buses_of
from tinykmod.inspect.check_config import config_findings
from tinykmod.inspect.check_files import architecture, build_findings, firmware_findings, index_findings
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.judge import User, is_other
from tinykmod.inspect.names import Names, several
from tinykmod.inspect.report import Finding
from tinykmod.inspect.symbols import KERNEL, KernelExports, Symbols, kernel_exports
from tinykmod.kmod.config import Config
from tinykmod.kmod.depends import resolve
from tinykmod.kmod.names import module_name
from tinykmod.modules.classes import NOT_DEVICES
from tinykmod.modules.files import find_modules
from tinykmod.modules.tree import Module, ModuleTree, read_modules, tree_of


class Checked(NamedTuple):
    """What check found, and in what."""

    findings: list[Finding]  # by WHERE within a rule, rules in the order of RULES
    modules: int
    kernel: KernelExports


def check(
    directory: Path, root: Path | None, config: Config, *, progress: Callable[[int, int], None] | None = None
) -> Checked:
    """Check the tree in a directory named for its release. root is where its kernel and firmware are; None: neither
    is looked for, but for a kernel beside the modules. progress: see read_tree().

    Raises TinykmodError for a directory without modules, OSError where it cannot be listed.
    """
    release = directory.name
    files = find_modules(directory)
    if not files:
        raise TinykmodError(directory, "holds no module")
    with ThreadPoolExecutor(1) as pool:
        # The kernel's image takes as long to decompress as all modules to read, and another processor can.
        kernel_job = pool.submit(_kernel, root or directory, release, directory)
        faults: dict[str, TinykmodError | OSError] = {}
        tree = tree_of(directory, release, read_modules(directory, files, progress, faults), b"")
        names = Names(tree)
        found = [
            Finding(rules.UNREADABLE, path, error.why if isinstance(error, TinykmodError) else str(error.strerror))
            for path, error in faults.items()
        ]
        found += build_findings(directory)
        found += _of_headers(tree)
        found += _of_modinfo(tree, release if directory.parent.name == "modules" else "")
        found += _cycles(tree)
        # With a module that cannot be read it is not known what depmod should have written.
        found += index_findings(tree, whole=not faults)
        found += _softdeps(tree, names)
        found += _contested(tree, config)
        found += config_findings(config, names)
        if root is not None:
            found += firmware_findings(tree, root)
        kernel, why = kernel_job.result()
    if why is not None:
        found.append(Finding(rules.UNREADABLE, why.which, why.why))
    found += _of_symbols(Symbols(tree, root or directory, kernel), names)
    order = {rule.name: number for number, rule in enumerate(rules.RULES)}
    found.sort(key=lambda finding: (order[finding.rule.name], finding.where, finding.line or 0, finding.text))
    return Checked(found, len(files), kernel)


def _kernel(root: Path, release: str, directory: Path) -> tuple[KernelExports, TinykmodError | None]:
    try:
        return kernel_exports(root, release, directory), None
    except TinykmodError as error:
        return KernelExports({}, None), error
    except OSError as error:
        return KernelExports({}, None), TinykmodError(error.filename or root, error.strerror or str(error))


def _of_headers(tree: ModuleTree) -> Iterator[Finding]:
    headers = {module.path: architecture(f"{tree.directory}/{module.path}", module.compression)
               for module in tree.modules}  # fmt: skip
    usual = Counter(found for found in headers.values() if found is not None).most_common(1)
    for path, found in headers.items():
        if found is not None and found != usual[0][0]:
            yield Finding(rules.MACHINE, path, f"is for {found}, {usual[0][1]} others for {usual[0][0]}")


def _of_modinfo(tree: ModuleTree, of: str) -> Iterator[Finding]:
    """`of`: the release that the tree's place says it is of; empty where that says nothing."""
    magics = {module.path: next(iter(module.values("vermagic")), "") for module in tree.modules}
    usual, count = max(Counter(magics.values()).items(), key=lambda pair: pair[1], default=("", 0))
    release, _, wanted = usual.partition(" ")
    if of and release and release != of and not any(map(_has_crcs, tree.modules)):
        yield Finding(rules.VERMAGIC, ".", f"most modules ({count}) are for {release}, the tree is {of}'s")
    for module in tree.modules:
        magic = magics[module.path]
        own, _, fields = magic.partition(" ")
        if not usual:
            pass
        elif not magic:
            yield Finding(rules.VERMAGIC, module.path, f"has no vermagic, {count} others have `{usual.strip()}`")
        elif set(fields.split()) != set(wanted.split()):
            differing = _differing(fields, wanted)
            text = f"is for `{magic.strip()}`, {count} others for `{usual.strip()}`: {differing}"
            yield Finding(rules.VERMAGIC, module.path, text)
        elif own != release and not _has_crcs(module):
            yield Finding(rules.VERMAGIC, module.path, f"is for {own}, {count} others for {release}")
        for name in module.values("name"):
            if module_name(name) != module.name:
                yield Finding(rules.NAME, module.path, f"the module within is {name}")


def _has_crcs(module: Module) -> bool:
    """A module with CRCs may be of another release: these tell whether it fits (kernel/module/version.c)."""
    return any(crc is not None for crc in module.elf.imports.values())


def _differing(own: str, wanted: str) -> str:
    has, wants = set(own.split()), set(wanted.split())
    parts = [f"{word} too many" for word in sorted(has - wants)] + [f"{word} missing" for word in sorted(wants - has)]
    return ", ".join(parts)


def _cycles(tree: ModuleTree) -> Iterator[Finding]:
    try:
        resolve(tree.modules)
    except TinykmodError as error:
        yield Finding(rules.CYCLE, error.which, error.why)


def _softdeps(tree: ModuleTree, names: Names) -> Iterator[Finding]:
    for module in tree.modules:
        for kind, lines in ("softdep", module.softdeps), ("weakdep", module.weakdeps):
            for word in dict.fromkeys(word for line in lines for word in line.split()):
                if word not in ("pre:", "post:") and not names.stand_for(word):
                    # Of a built-in driver's table of devices nothing is left in modules.builtin.modinfo.
                    what = "alias of a module; what is built in may have it" if ":" in word else "module or alias"
                    yield Finding(rules.SOFTDEP, module.path, f"{kind} {word}: no such {what}")


def _contested(tree: ModuleTree, config: Config) -> Iterator[Finding]:
    forbidden = {blacklist.module for blacklist in config.blacklist}
    claims: dict[str, list[Module]] = {}
    for module in tree.modules:
        if module.name in forbidden:
            continue
        for alias in module.aliases:
            if ":" in alias and not alias.startswith((*NOT_DEVICES, "dmi")):
                claims.setdefault(alias, []).append(module)
    groups: dict[tuple[str, ...], list[str]] = {}
    for alias, modules in claims.items():
        if len(modules) > 1 and len(drivers := _rivals(alias, modules)) > 1:
            groups.setdefault(drivers, []).append(alias)
    needed = _needed(tree) if groups else {}
    for rivals, claimed in groups.items():
        # What one of them needs is loaded before it, and binds first.
        order = dict.fromkeys(name for driver in rivals for name in (*needed.get(driver, ()), driver))
        first, *others = (name for name in order if name in rivals)
        text = f"{several(claimed, 1)}: also claimed by {', '.join(others)}; {first} is loaded first"
        yield Finding(rules.CONTESTED, tree.by_name[first].path, text)


def _needed(tree: ModuleTree) -> dict[str, list[str]]:
    """Each module's name -> the modules that are loaded before it; empty where some need each other in a circle."""
    try:
        closure = resolve(tree.modules).closure
    except TinykmodError:
        return {}
    return {module.name: [tree.modules[number].name for number in needed]
            for module, needed in zip(tree.modules, closure, strict=True)}  # fmt: skip


def _rivals(alias: str, modules: list[Module]) -> tuple[str, ...]:
    """Those of the modules that can bind to the alias's devices before another of them does.

    A module may carry aliases only to be loaded, and one ACPI or device tree node can be a device of several buses.
    """
    buses = {module.name: buses_of(module) for module in modules}
    own = bus_of_alias(alias)
    if own is not None:
        return tuple(name for name, registered in buses.items() if own in registered)
    shared = Counter(bus for registered in buses.values() for bus in registered)
    return tuple(name for name, registered in buses.items() if any(shared[bus] > 1 for bus in registered))


def _of_symbols(symbols: Symbols, names: Names) -> Iterator[Finding]:
    own = symbols.kernel.exports
    for symbol, exporters in symbols.exporters.items():
        if len(exporters) > 1 or symbol in own:
            who = [*(["the kernel"] if symbol in own else []), *(module.name for module in exporters)]
            yield Finding(rules.DUPLICATE_EXPORT, exporters[-1].path, f"{symbol} is exported by {several(who, 5)}")
    usual = None if symbols.kernel.source else _usual_crcs(symbols)
    unknown: dict[str, list[str]] = {}
    for module in symbols.tree.modules:
        differing: list[str] = []
        for symbol, crc in module.elf.imports.items():
            # The kernel looks into itself first.
            if symbol in own:
                there = own[symbol].crc
            elif symbol in symbols.exporters:
                there = symbols.exporters[symbol][-1].elf.exports[symbol]
            elif usual is not None:
                there = usual.get(symbol)
            else:
                if symbol not in module.elf.weak and symbols.is_unknown(symbol):
                    unknown.setdefault(module.name, []).append(symbol)
                continue
            if is_other(crc, there):
                differing.append(f"{symbol} (built with {crc:#010x}, there is {there:#010x})")
        if differing:
            yield Finding(rules.SYMBOL_VERSION, module.path, several(differing))
    # Where the kernel's exports are not known, a missing module's symbols count as the kernel's.
    suspects = [module for module in symbols.tree.modules if module.name in unknown or symbols.kernel.source is None]
    missing = {module.name: _missing(module, names) for module in suspects}
    yield from _unknown(unknown, missing, symbols.tree)
    yield from _gpl_only(symbols)
    yield from _namespaces(symbols)


def _usual_crcs(symbols: Symbols) -> dict[str, int]:
    """Of symbols that no module exports, the CRC that more than two thirds of at least three users know."""
    votes: dict[str, Counter[int]] = {}
    for module in symbols.tree.modules:
        for symbol, crc in module.elf.imports.items():
            if crc is not None and symbol not in symbols.exporters:
                votes.setdefault(symbol, Counter())[crc] += 1
    usual = {symbol: counter.most_common(1)[0] for symbol, counter in votes.items()}
    return {symbol: crc for symbol, (crc, count) in usual.items() if 3 * count > 2 * max(2, votes[symbol].total())}


def _missing(module: Module, names: Names) -> list[str]:
    """The modules that it was built against and that are not there."""
    words = (word for field in module.values("depends") for word in field.split(",") if word)
    return [word for word in words if not names.is_module(module_name(word))]


def _unknown(unknown: dict[str, list[str]], missing: dict[str, list[str]], tree: ModuleTree) -> Iterator[Finding]:
    """One finding for each module that is missing, however many need it, with the symbols that only those need that
    were built against it; what else is unknown is told of each module. Both by the needing module's name."""
    # Symbol -> the missing modules that all who need it were built against.
    theirs: dict[str, set[str]] = {}
    for name, symbols in unknown.items():
        for symbol in symbols:
            theirs[symbol] = theirs.get(symbol, set(missing[name])) & set(missing[name])
    users: dict[str, list[str]] = {}
    for name, words in missing.items():
        for word in words:
            users.setdefault(word, []).append(name)
    for word, (first, *others) in users.items():
        needed = [symbol for symbol in unknown.get(first, ()) if word in theirs[symbol]]
        of_it = f" (it has {several(needed)})" if needed else ""
        more = f"; so do {several(others)}" if others else ""
        text = f"needs {word}, which is not in the tree{of_it}{more}"
        yield Finding(rules.MISSING_DEPENDENCY, tree.by_name[first].path, text)
    for name, symbols in unknown.items():
        if left := [symbol for symbol in symbols if not theirs[symbol]]:
            yield Finding(rules.UNKNOWN_SYMBOL, tree.by_name[name].path, f"nothing exports {several(left)}")


def _gpl_only(symbols: Symbols) -> Iterator[Finding]:
    for module in symbols.tree.modules:
        user = User.of(module.name, module.elf.modinfo)
        if user.is_gpl:
            continue
        closed = []
        for symbol in module.elf.imports:
            if symbol in module.elf.weak:
                continue
            exports = symbols.find(symbol)
            if exports and all(export.gpl_only for export in exports):
                closed.append(f"{symbol} of {'the kernel' if exports[0].owner == KERNEL else exports[0].owner}")
        if closed:
            said = ", ".join(user.licenses) or "none"
            yield Finding(rules.GPL_ONLY, module.path, f"license {said}, but GPL-only: {several(closed)}")


def _namespaces(symbols: Symbols) -> Iterator[Finding]:
    """Only exporters that name a namespace at all are looked at closely: of most modules the strings tell."""
    spaces = {name: export.namespace for name, export in symbols.kernel.exports.items() if export.namespace}
    for module in symbols.tree.modules:
        if module.elf.exports and _names_more(symbols.tree, module):
            exports = symbols.exports(module).values()
            spaces.update({export.name: export.namespace for export in exports if export.namespace})
    for module in symbols.tree.modules:
        used = spaces.keys() & module.elf.imports.keys()
        if not used:
            continue
        user = User.of(module.name, module.elf.modinfo)
        missing: dict[str, list[str]] = {}
        for symbol in used:
            space = spaces[symbol] or ""
            if not user.may_use(space):
                missing.setdefault(space, []).append(symbol)
        for space, needed in sorted(missing.items()):
            yield Finding(rules.NAMESPACE, module.path, f"does not import {space}, of which it needs"
                                                        f" {several(sorted(needed))}")  # fmt: skip


def _names_more(tree: ModuleTree, module: Module) -> bool:
    """Whether __ksymtab_strings holds more than the names of the exports."""
    path = tree.directory / module.path
    if module.compression:
        return _more_strings(ElfObject(tree.read(module), str(path)), module)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return _more_strings(ElfObject(data, str(path)), module)


def _more_strings(elf: ElfObject, module: Module) -> bool:
    strings = elf.contents(elf.by_name.get("__ksymtab_strings")).split(b"\0")
    return len({string for string in strings if string}) > len(module.elf.exports)
