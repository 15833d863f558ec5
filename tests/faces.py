"""One core, three faces: the same questions to the pure-Python twin, the extension and the loader program.

`face` in tests/conftest.py runs a test with each. A face that is not there is a failure, never a skip.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from tinykmod import loaders
from tinykmod.boot import cmdline
from tinykmod.index.reader import Index
from tinykmod.index.records import BootIndex
from tinykmod.kmod.names import module_name

#: Words a call of the loader: ARG_MAX is far above this many modaliases.
BATCH = 1000


class Face(Protocol):
    name: str

    def lookup(self, index: Path, names: Sequence[str]) -> list[list[tuple[str, str]]]:
        """For each name the (module, pattern) pairs that it leads to."""

    def plan(self, index: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
        """(module, why, by) in load order."""

    def loads(self, root: Path, release: str, name: str) -> list[tuple[str, str]]:
        """(module, options) in load order, by the index in a root's lib/modules/RELEASE."""

    def options_of(self, text: str, module: str) -> str: ...

    def blacklists(self, text: str, module: str) -> bool: ...

    def refusal(self, index: Path) -> str:
        """Why the index is not opened; empty where it is."""


class Twin:
    name = "twin"

    def lookup(self, index: Path, names: Sequence[str]) -> list[list[tuple[str, str]]]:
        opened = Index(index.read_bytes(), str(index))
        return [[match[:2] for match in opened.lookup(name)] for name in names]

    def plan(self, index: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
        return [tuple(step) for step in Index(index.read_bytes(), str(index)).plan(names)]

    def loads(self, root: Path, release: str, name: str) -> list[tuple[str, str]]:
        return _loads(Index(index_in(root, release).read_bytes()), name)

    def options_of(self, text: str, module: str) -> str:
        return cmdline.options_of(text, module)

    def blacklists(self, text: str, module: str) -> bool:
        return cmdline.blacklists(text, module)

    def refusal(self, index: Path) -> str:
        return _refusal(Index, index)


class Extension:
    name = "extension"

    def __init__(self) -> None:
        from tinykmod import _core

        self.core = _core

    def lookup(self, index: Path, names: Sequence[str]) -> list[list[tuple[str, str]]]:
        opened = self.core.Index(index.read_bytes(), str(index))
        return [[match[:2] for match in opened.lookup(name)] for name in names]

    def plan(self, index: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
        return [tuple(step) for step in self.core.Index(index.read_bytes(), str(index)).plan(names)]

    def loads(self, root: Path, release: str, name: str) -> list[tuple[str, str]]:
        return _loads(self.core.Index(index_in(root, release).read_bytes()), name)

    def options_of(self, text: str, module: str) -> str:
        return self.core.cmdline_options_of(text, module)

    def blacklists(self, text: str, module: str) -> bool:
        return self.core.cmdline_blacklists(text, module)

    def refusal(self, index: Path) -> str:
        return _refusal(self.core.Index, index)


class Loader:
    name = "loader"

    def __init__(self) -> None:
        self.program = loaders.find()

    def lookup(self, index: Path, names: Sequence[str]) -> list[list[tuple[str, str]]]:
        found: dict[str, list[tuple[str, str]]] = {}
        for start in range(0, len(names), BATCH):
            for line in self._run("match", index, *names[start : start + BATCH]):
                # A forged index can put anything into a text, tabs and newlines too.
                name, _, answer = line.partition("\t")
                module, _, pattern = answer.partition("\t")
                found.setdefault(name, []).append((module, pattern))
        return [list(dict.fromkeys(found.get(name, []))) for name in names]

    def plan(self, index: Path, names: Sequence[str]) -> list[tuple[str, str, str]]:
        return [tuple(line.split("\t")) for line in self._run("resolve", index, *names)]

    def loads(self, root: Path, release: str, name: str) -> list[tuple[str, str]]:
        return insmods("\n".join(self._run("modprobe", "-D", "-d", root, "-S", release, name)))

    def options_of(self, text: str, module: str) -> str:
        return self._cmdline(text, module)[1]

    def blacklists(self, text: str, module: str) -> bool:
        return self._cmdline(text, module)[0]

    def refusal(self, index: Path) -> str:
        done = subprocess.run([self.program, "match", index, "x"], capture_output=True, text=True, check=False)
        assert done.returncode in (0, 1)
        return done.stderr.strip()

    def _cmdline(self, text: str, module: str) -> tuple[bool, str]:
        line = self._run("cmdline", module, stdin=text)[0]
        listed = line.startswith("blacklisted ")
        return listed, line.removeprefix("blacklisted ")

    def _run(self, *words: str | Path, stdin: str = "") -> list[str]:
        done = subprocess.run([self.program, *words], input=stdin.encode(), capture_output=True, check=True)
        return done.stdout.decode("utf-8", "surrogateescape").split("\n")[:-1]


def index_in(root: Path, release: str) -> Path:
    return root / "lib/modules" / release / "tinykmod.tki"


def insmods(text: str) -> list[tuple[str, str]]:
    """(module, options) of the `insmod` lines that `modprobe -D` prints."""
    lines = (line.split(" ", 2) for line in text.splitlines() if line.startswith("insmod "))
    return [(module_name(path), options.strip()) for _, path, options in lines]


def _loads(index: BootIndex, name: str) -> list[tuple[str, str]]:
    steps = index.plan([name])
    return [(step.module, index.options(step.module, step.by if step.why == "modalias" else "")) for step in steps]


def _refusal(opened: type, index: Path) -> str:
    from tinykmod.errors import IndexFormatError

    try:
        opened(index.read_bytes(), str(index))
    except IndexFormatError as error:
        return str(error)
    return ""


FACES: Iterable[type[Face]] = (Twin, Extension, Loader)
