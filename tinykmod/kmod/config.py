"""modprobe.d: what the administrator and the distribution say about modules (modprobe.d(5)).

Lines are read as libkmod reads them: a backslash joins lines and is dropped elsewhere, `#` begins a comment in the
first column only, module names are normalised, a line that means nothing is passed over.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import ConfigError
from tinykmod.kmod.names import normalise_pattern

#: In order of precedence: a file hides those of the same name in later directories.
DIRECTORIES = tuple(f"{parent}/modprobe.d" for parent in ("etc", "run", "usr/local/lib", "usr/lib", "lib"))


class Where(NamedTuple):
    """The place of a statement: its file, and the number of its first line."""

    file: Path
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Alias(NamedTuple):
    """`alias PATTERN MODULE`. kmod tries it before any module's name, and aliases do not chain."""

    pattern: str  # as written
    module: str
    where: Where


class Options(NamedTuple):
    """`options MODULE TEXT`; MODULE may be an alias."""

    module: str
    text: str  # tabs are spaces
    where: Where


class Blacklist(NamedTuple):
    """`blacklist MODULE`."""

    module: str
    where: Where


class Softdep(NamedTuple):
    """`softdep MODULE pre: ... post: ...`; MODULE is a pattern, the words are names or aliases as written."""

    module: str
    pre: tuple[str, ...]
    post: tuple[str, ...]
    where: Where


class Weakdep(NamedTuple):
    """`weakdep MODULE ...`; MODULE is a pattern, the words are names or aliases as written."""

    module: str
    weak: tuple[str, ...]
    where: Where


class Command(NamedTuple):
    """`install MODULE COMMAND` or `remove MODULE COMMAND`."""

    module: str
    command: str
    where: Where


class Config:
    """Every statement, in the order in which they count."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root  # below which it was read
        self.aliases: list[Alias] = []
        self.options: list[Options] = []
        self.blacklist: list[Blacklist] = []
        self.softdeps: list[Softdep] = []
        self.weakdeps: list[Weakdep] = []
        self.installs: list[Command] = []
        self.removes: list[Command] = []
        self.warnings: list[str] = []  # "FILE:LINE: why", one line each


def read_config(root: Path | None, *, paths: Sequence[Path] | None = None, also: Sequence[Path] = ()) -> Config:
    """Read the modprobe.d directories below a root (None: the running system's), or the files and directories given.

    Files are read in the order of their names, across all directories; only `*.conf` counts in a directory. The
    files in `also` that are there come in between by their names as well, as kmod reads depmod's modules.softdep.
    What cannot be read or means nothing is told in Config.warnings.
    """
    if paths is None:
        paths = [(root or Path("/")) / directory for directory in DIRECTORIES]
    config = Config(root or Path("/"))
    for line, where in read_statements([*paths, *also], config.warnings):
        try:
            _parse(line, where, config)
        except ConfigError as error:
            config.warnings.append(f"{where}: {error}")
    return config


def read_statements(paths: Sequence[Path], warnings: list[str]) -> Iterator[tuple[str, Where]]:
    """The logical lines of a configuration's files and directories, comments left out, as in read_config().

    What cannot be read is told in warnings.
    """
    for file in _files(paths, warnings):
        try:
            text = file.read_bytes().decode(errors="surrogateescape")
        except OSError as error:
            warnings.append(f"{file}: {error.strerror}")
            continue
        for number, line in _lines(text):
            yield line, Where(file, number)


def parse_softdep(text: str) -> tuple[list[str], list[str]]:
    """The modules to load before and after, from `pre: a b post: c`; words before either are dropped."""
    found: dict[str, list[str]] = {"pre:": [], "post:": []}
    words: list[str] = []
    for word in text.split():
        if word in found:
            words = found[word]
        else:
            words.append(word)
    return found["pre:"], found["post:"]


def _files(paths: Sequence[Path], warnings: list[str]) -> list[Path]:
    chosen: dict[bytes, Path] = {}
    for path in paths:
        try:
            inside = [file for file in path.iterdir() if file.suffix == ".conf" and file.name[0] != "."]
        except NotADirectoryError:
            inside = [path]
        except FileNotFoundError:
            continue
        except OSError as error:
            warnings.append(f"{path}: {error.strerror}")
            continue
        for file in inside:
            if not file.is_dir():
                chosen.setdefault(os.fsencode(file.name), file)
    return [chosen[name] for name in sorted(chosen)]


def _lines(text: str) -> list[tuple[int, str]]:
    """The logical lines that hold a statement, each with the number of its first line in the file."""
    found = []
    number, first, line, escaped = 1, 1, [], False
    for char in f"{text}\n":
        if char == "\n":
            number += 1
        if escaped:
            escaped = False
            if char != "\n":
                line.append(char)
        elif char == "\\":
            escaped = True
        elif char == "\n":
            if line and line[0] != "#":
                found.append((first, "".join(line)))
            first, line = number, []
        else:
            line.append(char)
    return found


def _parse(line: str, where: Where, config: Config) -> None:
    """Add a line's statement to the configuration. Raises ConfigError where it means nothing."""
    keyword, rest = _cut(line)
    if not keyword:
        return
    first, rest = _cut(rest)
    if not first:
        raise ConfigError(keyword, "says nothing of any module")
    if keyword == "blacklist":
        config.blacklist.append(Blacklist(normalise_pattern(first), where))
        return
    if keyword not in ("alias", "options", "softdep", "weakdep", "install", "remove"):
        raise ConfigError(keyword, "is no statement of modprobe.d")
    target = _cut(rest)[0]
    if not rest or (keyword == "alias" and not target):
        raise ConfigError(keyword, f"says nothing of {first}")
    module, rest = normalise_pattern(first), rest.strip(" \t")
    if keyword == "alias":
        config.aliases.append(Alias(first, normalise_pattern(target), where))
    elif keyword == "options":
        config.options.append(Options(module, rest.replace("\t", " "), where))
    elif keyword == "softdep":
        pre, post = parse_softdep(rest)
        config.softdeps.append(Softdep(module, tuple(pre), tuple(post), where))
    elif keyword == "weakdep":
        config.weakdeps.append(Weakdep(module, tuple(rest.split()), where))
    elif keyword == "install":
        config.installs.append(Command(module, rest, where))
    else:
        config.removes.append(Command(module, rest, where))


def _cut(text: str) -> tuple[str, str]:
    """The first word, and all that follows the one blank behind it.

    Only spaces and tabs part words: a CR belongs to its word, as in kmod. Further blanks are kept, since a blank is
    something for kmod: `install x` with two blanks behind it is a command that does nothing instead of loading x.
    """
    text = text.lstrip(" \t")
    end = next((place for place, char in enumerate(text) if char in " \t"), len(text))
    return text[:end], text[end + 1 :]
