"""A module tree, /lib/modules/RELEASE: its modules in depmod's order, and what is built into the kernel."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod import core
from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import encoded, module_name
from tinykmod.modules.directory import module_directory
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.elf_module import ElfModule
from tinykmod.modules.files import ModuleFile, find_modules

#: Files that a thread reads before it takes new ones: handing over costs as much as reading a small one.
BATCH = 16


def _reader() -> Callable[[bytes, str], ElfModule]:
    if core.extension is not None:
        read: Callable[[bytes, str], ElfModule] = core.extension.read_elf
        return read
    # Only then: pyelftools takes longer to import than the extension to read a hundred modules.
    from tinykmod.modules.elf import read_elf

    return read_elf


read_elf = _reader()


class Module(NamedTuple):
    """One module file."""

    name: str  # normalised
    path: str  # relative to the tree's directory, with its suffixes
    size: int  # bytes on disk
    elf: ElfModule
    compression: str = ""  # of the file, by its first bytes: gzip, xz, zstd or none

    def values(self, key: str) -> list[str]:
        """Every value of one modinfo key, in the file's order."""
        return [value for name, value in self.elf.modinfo if name == key]

    @property
    def aliases(self) -> list[str]:
        """Patterns of the modaliases that this module serves, spelled as in the file."""
        return self.values("alias")

    @property
    def softdeps(self) -> list[str]:
        """`pre: a b post: c` lines."""
        return self.values("softdep")

    @property
    def weakdeps(self) -> list[str]:
        """`a b` lines."""
        return self.values("weakdep")


class ModuleTree:
    """A tree that was read. `digest` is SHA-256 over all that was found out, whatever the files' times."""

    def __init__(
        self,
        directory: Path,
        release: str,
        modules: list[Module],
        *,
        builtin: list[str],
        builtin_modinfo: dict[str, list[tuple[str, str]]],
        digest: bytes,
    ) -> None:
        self.directory = directory
        self.release = release
        self.modules = modules  # in depmod's order
        self.builtin = builtin  # names as modules.builtin lists them: one may come twice (arm_cci of arm64)
        self.builtin_modinfo = builtin_modinfo  # name -> key, value in order
        self.digest = digest

    @cached_property
    def by_name(self) -> dict[str, Module]:
        """The modules by their normalised names."""
        return {module.name: module for module in self.modules}

    @cached_property
    def classes(self) -> dict[str, DriverClass]:
        """Each module's name -> its driver classes."""
        # Imported here: depmod, which takes less than half a second, has no use for them.
        from tinykmod.modules.classes import driver_class

        return {module.name: driver_class(module) for module in self.modules}

    def read(self, module: Module) -> bytes:
        """The contents of one of its modules, decompressed. Raises OSError, ModuleFormatError."""
        from tinykmod.modules.compression import decompress

        path = self.directory / module.path
        return decompress(path.read_bytes(), str(path))


def read_tree(root: Path, release: str, *, progress: Callable[[int, int], None] | None = None) -> ModuleTree:
    """Read every module below ROOT/lib/modules/RELEASE, and the text files that `make modules_install` left there.

    progress, if given, is called with the number of files read and of all files. Of several files with one module
    name, the one in updates/ counts, else the first by path. Raises TinykmodError for a tree that is not there or
    is empty, ModuleFormatError for a file that is cut short.
    """
    tree = read_directory(module_directory(root, release), release, progress=progress)
    if not tree.modules:
        raise TinykmodError(tree.directory, "holds no module")
    return tree


def read_directory(
    directory: Path,
    release: str,
    files: Sequence[ModuleFile] | None = None,
    *,
    progress: Callable[[int, int], None] | None = None,
) -> ModuleTree:
    """As read_tree(), from the tree's own directory, which may hold no module at all.

    files, if given, are the modules to read.
    """
    if files is None:
        files = find_modules(directory)
    import hashlib

    modules = read_modules(directory, files, progress)
    total = hashlib.sha256()
    for module in sorted(modules, key=lambda module: module.path):
        total.update(encoded("\0".join(_said(module))))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        total.update(hashlib.sha256(_bytes(directory / name)).digest())
    return tree_of(directory, release, modules, total.digest())


def tree_of(directory: Path, release: str, modules: list[Module], digest: bytes) -> ModuleTree:
    """The tree of these modules, with what its directory tells of builtin ones."""
    return ModuleTree(
        directory,
        release,
        modules,
        builtin=[module_name(line) for line in _lines(directory / "modules.builtin")],
        builtin_modinfo=_builtin_modinfo(directory / "modules.builtin.modinfo"),
        digest=digest,
    )


def read_modules(
    directory: Path,
    files: Sequence[ModuleFile],
    progress: Callable[[int, int], None] | None,
    faults: dict[str, TinykmodError | OSError] | None = None,
) -> list[Module]:
    """Read these modules of a directory. progress: see read_tree().

    Raises ModuleFormatError, OSError; with faults it goes on: they get the path and the error of each such file.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = [pool.submit(_read, directory, files[at : at + BATCH], faults) for at in range(0, len(files), BATCH)]
        read: list[Module] = []
        try:
            for job in jobs:
                read += job.result()
                if progress is not None:
                    progress(len(read) + len(faults or ()), len(files))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return read


def _read(
    directory: Path, files: Sequence[ModuleFile], faults: dict[str, TinykmodError | OSError] | None
) -> list[Module]:
    from tinykmod.modules.compression import compression, decompress

    found: list[tuple[int, ElfModule] | None] = [None] * len(files)
    if core.extension is not None and read_elf is core.extension.read_elf:
        try:
            found = core.extension.read_elf_files([os.fsencode(directory / file.path) for file in files])
        except (TinykmodError, OSError):
            # One of them: which, is found out below.
            if faults is None:
                raise
    read = []
    for file, known in zip(files, found, strict=True):
        if known is not None:
            read.append(Module(file.name, file.path, *known))
            continue
        path = directory / file.path
        try:
            raw = path.read_bytes()
            elf = read_elf(decompress(raw, str(path)), str(path))
        except (TinykmodError, OSError) as error:
            if faults is None:
                raise
            faults[file.path] = error
            continue
        read.append(Module(file.name, file.path, len(raw), elf, compression(raw)))
    return read


def _said(module: Module) -> Iterator[str]:
    """What an index of the module is made from."""
    yield from (module.path, str(module.size))
    yield from itertools.chain.from_iterable(module.elf.modinfo)
    for symbols in module.elf.exports, module.elf.imports:
        yield ""
        yield from symbols
    yield ""


def _bytes(path: Path) -> bytes:
    return path.read_bytes() if path.exists() else b""


def _lines(path: Path) -> list[str]:
    text = _bytes(path).decode(errors="surrogateescape")
    return [stripped for line in text.split("\n") if (stripped := line.strip())]


def _builtin_modinfo(path: Path) -> dict[str, list[tuple[str, str]]]:
    """`module.key=value` strings, each with its NUL (Documentation/kbuild/kbuild.rst)."""
    found: dict[str, list[tuple[str, str]]] = {}
    for line in _bytes(path).decode(errors="surrogateescape").split("\0"):
        where, _, value = line.partition("=")
        module, dot, key = where.partition(".")
        if dot:
            found.setdefault(module_name(module), []).append((key, value))
    return found
