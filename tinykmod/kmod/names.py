"""How module names and aliases are spelled alike (libkmod's rules; see modprobe(8)).

A module's name is its file name up to the first `.`, with every `-` turned into `_`. In an alias pattern the
same holds outside brackets only: `[0-9]` is a range, and a `.` in an alias is an ordinary character.
"""

from __future__ import annotations

import os
import posixpath

from tinykmod.errors import ConfigError


def encoded(text: str) -> bytes:
    """TEXT as the bytes it was read from: names of files and modules need not be UTF-8."""
    return text.encode("utf-8", "surrogateescape")


def module_name(path: str) -> str:
    """The module's name for a file name or path: `kernel/fs/foo-bar.ko.xz` -> `foo_bar`."""
    return posixpath.basename(path).split(".", 1)[0].replace("-", "_")


def is_module_file(word: str) -> bool:
    """Whether a word is the path of a module's file, which has `.ko` in its name, as for kmod's modinfo."""
    return ".ko" in posixpath.basename(word) and os.path.isfile(word)  # noqa: PTH113 - False for what cannot be a path


def normalise_pattern(pattern: str) -> str:
    """An alias pattern with `-` as `_` outside brackets.

    Raises ConfigError where a bracket is not matched, which kmod refuses as well.
    """
    if "[" not in pattern and "]" not in pattern:
        return pattern.replace("-", "_")
    out: list[str] = []
    position = 0
    while position < len(pattern):
        char = pattern[position]
        if char == "]":
            raise ConfigError(pattern, "alias has a ] without its [")
        if char == "[":
            end = pattern.find("]", position)
            if end < 0:
                raise ConfigError(pattern, "alias has a [ without its ]")
            out.append(pattern[position : end + 1])
            position = end + 1
            continue
        out.append("_" if char == "-" else char)
        position += 1
    return "".join(out)


def normalise_modalias(modalias: str) -> str:
    """A device's modalias, a literal string, as patterns are compared with it."""
    return modalias.replace("-", "_")
