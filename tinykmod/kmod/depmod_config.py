"""depmod.d: which of several files of one name counts, and where else modules are looked for (depmod.d(5))."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tinykmod.kmod.config import Where, read_statements
from tinykmod.kmod.names import encoded

#: In order of precedence: a file hides those of the same name in later directories.
DIRECTORIES = tuple(f"{parent}/depmod.d" for parent in ("etc", "run", "usr/local/lib", "usr/lib", "lib"))

#: In `search`, what stands for the directories that it does not name, and for those of `external`.
BUILT_IN, EXTERNAL = "built-in", "external"

_REG_EXTENDED = 1
#: More than regex_t takes in any C library (64 bytes in glibc on 64 bits).
_REGEX_SIZE = 512


class Override(NamedTuple):
    """`override MODULE RELEASE DIRECTORY` for this release, which wins over every `search`."""

    module: str  # the file's name up to its first dot, as spelled there
    directory: str  # that holds the file, relative to the tree


class DepmodConfig:
    """What the statements say of one kernel release, in the order in which they were read."""

    def __init__(self) -> None:
        self.search: list[str] = []  # of all files together, the best first
        self.overrides: list[Override] = []  # the last that fits counts
        self.externals: list[str] = []  # absolute paths, the best first
        self.excludes: list[str] = []  # names of directories and files, at any depth
        self.warnings: list[str] = []  # "FILE:LINE: why", one line each


def read_depmod_config(release: str, paths: Sequence[Path] | None = None) -> DepmodConfig:
    """Read the running system's depmod.d directories, or the files and directories given.

    Files are read in the order of their names, across all directories; only `*.conf` counts in a directory.
    What cannot be read or means nothing is told in DepmodConfig.warnings. `make_map_files` changes nothing, as in
    kmod.
    """
    config = DepmodConfig()
    for line, where in read_statements(paths or [Path("/", name) for name in DIRECTORIES], config.warnings):
        words = [word for word in line.replace("\t", " ").split(" ") if word]
        if words:
            _parse(words, where, release, config)
    return config


def _parse(words: list[str], where: Where, release: str, config: DepmodConfig) -> None:
    keyword, *rest = words
    if keyword == "search":
        config.search += rest
    elif keyword == "override" and len(rest) >= 3:
        module, wanted, directory = rest[:3]
        if _matches(wanted, release):
            config.overrides.append(Override(module, directory))
    elif keyword == "external" and len(rest) >= 2:
        if _matches(rest[0], release):
            directories = [name if name.startswith("/") else f"{Path.cwd()}/{name}" for name in rest[1:]]
            there = [directory for directory in directories if Path(directory).is_dir()]
            missing = (directory for directory in directories if directory not in there)
            config.warnings += [f"{where}: there is no directory {directory}" for directory in missing]
            config.externals += there
    elif keyword == "exclude":
        config.excludes += rest
    elif keyword != "make_map_files":
        config.warnings.append(f"{where}: ignoring bad line starting with '{keyword}'")


def _matches(pattern: str, release: str) -> bool:
    """Whether `*` or a POSIX extended regular expression means a release, anywhere in it; a bad one means none."""
    if pattern == "*":
        return True
    import ctypes

    # The C library's own, since its syntax is not that of `re`.

    libc = ctypes.CDLL(None)
    regex = ctypes.create_string_buffer(_REGEX_SIZE)
    if libc.regcomp(regex, encoded(pattern), _REG_EXTENDED):
        return False
    try:
        return bool(libc.regexec(regex, encoded(release), ctypes.c_size_t(0), None, 0) == 0)
    finally:
        libc.regfree(regex)
