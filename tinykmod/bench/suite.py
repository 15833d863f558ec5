"""What is to be measured: a suite, out of a TOML file or the command line. docs/bench.md says what it may hold."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykmod.bench import contenders as makers
from tinykmod.errors import TinykmodError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: Ready-made suites, by their names.
SUITES = Path(__file__).parent / "suites"
#: What the names of Debian's meta-packages of kernels begin with.
META = "linux-image-"


@dataclass(frozen=True)
class Contender:
    """An image to boot: the one at `image`, or, where that is None, what tinykmod.bench.contenders makes as `make`.

    `append` comes after the suite's own on the kernel's command line.
    """

    name: str
    image: Path | None = None
    make: str = ""
    append: str = ""


@dataclass(frozen=True)
class Suite:
    """`machines` are names or files, as `tinykmod boot --machine` takes them. `kernel` is Debian's meta-package or a
    file, the meta-package for the machines where it is empty. Without `disks` the root is a small ext4 whose init
    prints the kernel's log and the trace; with them `until` is a regular expression for the line of the console with
    which their init shows that it runs. `warmup` is None where each engine has its own. `timeout` is of one boot, in
    seconds of the host's clock."""

    name: str
    contenders: tuple[Contender, ...]
    machines: tuple[str, ...] = ("virtio-blk",)
    engines: tuple[str, ...] = ("qemu-icount",)
    runs: int = 5
    warmup: int | None = None
    kernel: str = ""
    disks: tuple[Path, ...] = ()
    until: str = ""
    append: str = ""
    timeout: float = 300
    baseline: str = ""

    def checked(self) -> Suite:
        """The suite with its baseline, by default its first contender.

        Raises TinykmodError for what contradicts itself: no contender, two of a name, a baseline that is none.
        """
        names = [contender.name for contender in self.contenders]
        for kind, found in ("contender", names), ("machine", self.machines), ("engine", self.engines):
            if not found:
                raise TinykmodError(self.name, f"names no {kind}")
            twice = next((name for name in found if list(found).count(name) > 1), None)
            if twice is not None:
                raise TinykmodError(self.name, f"has the {kind} {twice} twice")
        if self.baseline and self.baseline not in names:
            raise TinykmodError(self.name, f"the baseline {self.baseline} is none of its contenders")
        return dataclasses.replace(self, baseline=self.baseline or names[0])


def suites() -> list[str]:
    """The names of the ready-made suites."""
    return sorted(path.stem for path in SUITES.glob("*.toml"))


def read_suite(word: str) -> Suite:
    """The suite that WORD names: a ready-made one, else a file.

    Paths in a file count from where it is. Raises TinykmodError for what is wrong in it, OSError.
    """
    path = SUITES / f"{word}.toml" if word in suites() else Path(word)
    found = read_toml(path)
    base = path.parent
    reading = _Reading(path, found)
    suite = Suite(
        path.stem,
        tuple(_contender(path, each, base) for each in reading.take("contenders", _list_of((str, dict)), [])),
        machines=tuple(_place(each, base) for each in reading.take("machines", _list_of(str), list(Suite.machines))),
        engines=tuple(reading.take("engines", _list_of(str), list(Suite.engines))),
        runs=reading.take("runs", _whole(1), Suite.runs),
        warmup=reading.take("warmup", _whole(0), None),
        kernel=_kernel(reading.take("kernel", _text, ""), base),
        disks=tuple(base / each for each in reading.take("disks", _list_of(str), [])),
        until=reading.take("until", _pattern, ""),
        append=reading.take("append", _text, ""),
        timeout=reading.take("timeout", _seconds, Suite.timeout),
        baseline=reading.take("baseline", _text, ""),
    )
    reading.end()
    return dataclasses.replace(dataclasses.replace(suite, name=str(path)).checked(), name=path.stem)


def contender_of(word: str, base: Path = Path()) -> Contender:
    """The contender that WORD stands for: one that the package makes, by its name, else an image's path from BASE."""
    return Contender(word, make=word) if word in makers.NAMES else Contender(Path(word).stem, image=base / word)


def of_images(words: Sequence[str]) -> tuple[Contender, ...]:
    """Contenders of WORDS; those whose names would be alike go by their paths."""
    found = [contender_of(word) for word in words]
    names = [each.name for each in found]
    return tuple(
        dataclasses.replace(each, name=word) if names.count(each.name) > 1 else each
        for word, each in zip(words, found, strict=True)
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The file at PATH. Raises TinykmodError where it is no TOML, OSError."""
    try:
        return tomllib.loads(path.read_bytes().decode())
    except ValueError as error:  # TOMLDecodeError and UnicodeDecodeError are
        raise TinykmodError(path, f"is no TOML: {str(error).splitlines()[0]}") from error


def _contender(path: Path, found: str | dict[str, Any], base: Path) -> Contender:
    if isinstance(found, str):
        return contender_of(found, base)
    reading = _Reading(path, found, "contenders: ")
    word = reading.take("image", _text, "")
    made = reading.take("make", _text, "")
    if bool(word) == bool(made):
        raise TinykmodError(path, "contenders: one of `image` (a file) and `make` (a name) says what to boot")
    if made and made not in makers.NAMES:
        raise TinykmodError(path, f"contenders: {made} is none that can be made: {', '.join(makers.NAMES)}")
    contender = Contender(
        reading.take("name", _text, made or Path(word).stem), base / word if word else None, made,
        reading.take("append", _text, ""),
    )  # fmt: skip
    reading.end()
    return contender


def _place(word: str, base: Path) -> str:
    """WORD, from BASE where it is a path and no name."""
    return str(base / word) if "/" in word or word.endswith(".toml") else word


def _kernel(word: str, base: Path) -> str:
    return str(base / word) if word and not word.startswith(META) else word


class _Reading:
    """Takes a TOML table's values by their keys; what is of the wrong kind, or left at the end, is an error."""

    def __init__(self, path: Path, table: Mapping[str, Any], where: str = "") -> None:
        self.path, self.where = path, where
        self.rest = dict(table)
        self.known: list[str] = []

    def take(self, key: str, check: Callable[[Any], str], default: Any) -> Any:
        """KEY's value, or DEFAULT; CHECK says what it should have been, or nothing."""
        self.known.append(key)
        if key not in self.rest:
            return default
        value = self.rest.pop(key)
        wrong = check(value)
        if wrong:
            raise TinykmodError(self.path, f"{self.where}{key} is to be {wrong}")
        return value

    def end(self) -> None:
        if self.rest:
            keys = ", ".join(sorted(self.known))
            raise TinykmodError(self.path, f"{self.where}{min(self.rest)} is none of the keys {keys}")


def _text(value: object) -> str:
    return "" if isinstance(value, str) else "text"


def _pattern(value: object) -> str:
    try:
        re.compile(value if isinstance(value, str) else "(")
    except re.error:
        return "a regular expression"
    return ""


def _seconds(value: object) -> str:
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < float("inf")
    return "" if good else "seconds, more than 0"


def _whole(least: int) -> Callable[[object], str]:
    def check(value: object) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and value >= least
        return "" if good else f"a whole number, {least} or more"

    return check


def _list_of(kind: type | tuple[type, ...]) -> Callable[[object], str]:
    def check(value: object) -> str:
        good = isinstance(value, list) and all(isinstance(each, kind) for each in value)
        return "" if good else "a list of " + ("texts" if kind is str else "texts and tables")

    return check
