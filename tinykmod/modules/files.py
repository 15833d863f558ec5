"""The module files of a tree: which of them count, and in which order depmod goes through them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.kmod.depmod_config import BUILT_IN, EXTERNAL, DepmodConfig
from tinykmod.kmod.hashing import hashed_order
from tinykmod.kmod.names import encoded, module_name
from tinykmod.modules import packed

SUFFIXES = (".ko", ".ko.gz", ".ko.xz", ".ko.zst", packed.SUFFIX)
#: Links to the kernel's build tree; depmod does not look behind them.
NOT_SEARCHED = ("build", "source")
#: The order of preference where depmod.d has no `search`.
SEARCH = ("updates", BUILT_IN)

#: Of kmod's table of modules.
_BUCKETS = 512


class ModuleFile(NamedTuple):
    """A file that holds a module."""

    name: str  # normalised
    path: str  # relative to the tree's directory, with its suffixes; absolute if it is not below that


def find_modules(directory: Path, config: DepmodConfig | None = None) -> list[ModuleFile]:
    """The files below a tree's directory and depmod.d's external ones, one for each module's name, in depmod's order.

    That is modules.order's; what it does not list comes last, in the order of kmod's hash table. Of several files
    with one name the best by depmod.d's `override` and `search` counts, of equals the first by path, the tree's own
    before external ones. Links are followed (RHEL's weak-updates are links). Raises OSError.
    """
    config = config or DepmodConfig()
    skipped = {*NOT_SEARCHED, *config.excludes}
    found: dict[str, list[str]] = {}
    for path in sorted(_files(f"{directory}/", skipped)):
        found.setdefault(module_name(path), []).append(path)
    for external in config.externals:
        for path in sorted(_files(f"{external}/", skipped)):
            found.setdefault(module_name(path), []).append(f"{external}/{path}")
    chosen = (
        ModuleFile(name, paths[0] if len(paths) == 1 else min(paths, key=lambda path: _rank(path, config)))
        for name, paths in found.items()
    )
    return _in_order(directory, chosen)


def name_modules(directory: Path, paths: Sequence[str]) -> list[ModuleFile]:
    """These files alone, in depmod's order.

    Raises TinykmodError for a path that is not absolute and for a second file with one module's name.
    """
    files: dict[str, ModuleFile] = {}
    for path in paths:
        name = module_name(path)
        if not path.startswith("/"):
            raise TinykmodError(path, "is no absolute path")
        if name in files:
            raise TinykmodError(path, f"is one more file of the module {name}")
        below = f"{directory}/"
        files[name] = ModuleFile(name, path[len(below) :].lstrip("/") if path.startswith(below) else path)
    return _in_order(directory, files.values())


def uncompressed(path: str) -> str:
    """A module's path without the suffix of its compression."""
    head, suffix, _ = path.rpartition(".ko")
    return head + suffix or path


def _files(top: str, skipped: set[str]) -> Iterator[str]:
    """Every module file below a directory, relative to it."""
    pending = [""]
    while pending:
        below = pending.pop()
        with os.scandir(top + below) as entries:
            for entry in entries:
                if entry.name in skipped or (entry.is_symlink() and not _is_followed(Path(entry))):
                    continue
                if entry.is_dir():
                    pending.append(f"{below}{entry.name}/")
                elif entry.name.endswith(SUFFIXES) and entry.is_file():
                    yield below + entry.name


def _is_followed(link: Path) -> bool:
    """Whether a link leads anywhere, and not to a directory in which it lies."""
    return link.exists() and not any(link.samefile(parent) for parent in link.parents)


def _rank(path: str, config: DepmodConfig) -> int:
    """The place of a file among those of its module's name, the best first."""
    search = config.search or SEARCH
    rest = BUILT_IN
    if path.startswith("/"):
        rest = EXTERNAL if EXTERNAL in search else BUILT_IN
    else:
        directory, _, file = path.rpartition("/")
        for number, override in enumerate(config.overrides, 1):
            if override == (file.partition(".")[0], directory):
                return -number
        for number, word in enumerate(search):
            if path.startswith(f"{word}/"):
                return number
    return search.index(rest) if rest in search else len(search)


def _in_order(directory: Path, files: Iterable[ModuleFile]) -> list[ModuleFile]:
    # modules.order lists the files as they were built: without the suffix of a compression.
    try:
        lines = Path(directory, "modules.order").read_bytes().decode(errors="surrogateescape").split("\n")
    except FileNotFoundError:
        lines = []
    order = {line.strip(): number for number, line in enumerate(lines)}
    listed: list[tuple[int, ModuleFile]] = []
    rest: list[ModuleFile] = []
    for file in files:
        number = order.get(uncompressed(file.path))
        if number is None:
            rest.append(file)
        else:
            listed.append((number, file))
    rest.sort(key=lambda file: hashed_order(encoded(file.name), _BUCKETS))
    return [file for _, file in sorted(listed)] + rest
