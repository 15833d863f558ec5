"""A module tree, /lib/modules/RELEASE: its modules in depmod's order, and what is built into the kernel."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from tinykmod import core
from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import encoded, module_name
from tinykmod.modules import elf
from tinykmod.modules.compression import compression, decompress
from tinykmod.modules.elf import ElfModule

SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst")
#: Links to the kernel's build tree; depmod does not look behind them.
NOT_SEARCHED = ("build", "source")
#: Where a tree lies below its root; the first is a link to the second on a merged-/usr system.
PARENTS = ("lib/modules", "usr/lib/modules")

read_elf: Callable[[bytes, str], ElfModule] = elf.read_elf if core.extension is None else core.extension.read_elf


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
    """A tree that was read. `digest` is SHA-256 over the contents of all that was read, whatever the times."""

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
        self.modules = modules  # by their place in modules.order, then those not listed, by path
        self.builtin = builtin  # names, in the order of modules.builtin
        self.builtin_modinfo = builtin_modinfo  # name -> key, value in order
        self.digest = digest

    @cached_property
    def by_name(self) -> dict[str, Module]:
        """The modules by their normalised names."""
        return {module.name: module for module in self.modules}


def releases(root: Path, parents: Sequence[str] = PARENTS) -> list[str]:
    """The kernel releases that have a module tree below a root, sorted."""
    there = [root / parent for parent in parents if (root / parent).is_dir()]
    return sorted({entry.name for parent in there for entry in parent.iterdir() if entry.is_dir()})


def module_directory(root: Path, release: str, parents: Sequence[str] = PARENTS) -> Path:
    """ROOT/lib/modules/RELEASE, or the same below ROOT/usr. Raises TinykmodError where neither is there.

    parents, if given, are looked into instead of these two.
    """
    if release in ("", ".", "..") or "/" in release:
        raise TinykmodError(repr(release), "is no kernel release")
    for parent in parents:
        if (root / parent / release).is_dir():
            return root / parent / release
    found = ", ".join(releases(root, parents))
    why = f"no such directory; {f'there is {found}' if found else f'there is no module tree below {root}'}"
    raise TinykmodError(root / parents[0] / release, why)


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
    directory: Path, release: str, *, progress: Callable[[int, int], None] | None = None
) -> ModuleTree:
    """As read_tree(), from the tree's own directory, which may hold no module at all."""
    order = {line: number for number, line in enumerate(_lines(directory / "modules.order"))}
    chosen: dict[str, str] = {}
    for path in sorted(_files(directory), key=lambda path: (not path.startswith("updates/"), path)):
        chosen.setdefault(module_name(path), path)
    # modules.order lists the files as they were built: without the suffix of a compression.
    paths = sorted(chosen.values(), key=lambda path: (order.get(uncompressed(path), len(order)), path))
    read = _read_all(directory, paths, progress)
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(encoded(f"{path}\0") + read[path][1])
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        total.update(hashlib.sha256(_bytes(directory / name)).digest())
    return ModuleTree(
        directory,
        release,
        [read[path][0] for path in paths],
        builtin=list(dict.fromkeys(module_name(line) for line in _lines(directory / "modules.builtin"))),
        builtin_modinfo=_builtin_modinfo(directory / "modules.builtin.modinfo"),
        digest=total.digest(),
    )


def _read_all(
    directory: Path, paths: list[str], progress: Callable[[int, int], None] | None
) -> dict[str, tuple[Module, bytes]]:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs = {path: pool.submit(_read, directory, path) for path in paths}
        read = {}
        try:
            for path, job in jobs.items():
                read[path] = job.result()
                if progress is not None:
                    progress(len(read), len(paths))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return read


def _read(directory: Path, path: str) -> tuple[Module, bytes]:
    file = directory / path
    raw = file.read_bytes()
    read = read_elf(decompress(raw, str(file)), str(file))
    module = Module(module_name(path), path, len(raw), read, compression(raw))
    return module, hashlib.sha256(raw).digest()


def _files(directory: Path) -> Iterator[str]:
    """Every module file below a directory, relative to it. Links are followed (RHEL's weak-updates are links)."""
    pending = [directory]
    seen = set()
    while pending:
        here = pending.pop()
        status = here.stat()
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in os.scandir(here):
            # A link that leads nowhere, or to itself, is no module.
            if entry.name in NOT_SEARCHED or (entry.is_symlink() and not Path(entry).exists()):
                continue
            if entry.is_dir():
                pending.append(here / entry.name)
            elif entry.name.endswith(SUFFIXES) and entry.is_file():
                yield (here / entry.name).relative_to(directory).as_posix()


def uncompressed(path: str) -> str:
    """A module's path without the suffix of its compression."""
    return path[: path.rindex(".ko") + len(".ko")]


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
