"""What a boot index answers with: the same types from the twin, the extension and, as text, the loader."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from tinykmod.index.schema import PlanFlag, StatementKind


class Match(NamedTuple):
    """One module that a name or modalias leads to."""

    module: str
    #: The alias pattern that matched; empty where MODULE was found by its own name.
    pattern: str
    #: It is part of the kernel: there is nothing to load.
    builtin: bool = False


class Step(NamedTuple):
    """One module to load, in its place in a plan."""

    module: str
    #: `modalias`, `request` (by name), `dependency` or `softdep`.
    why: str
    #: The modalias or name that asked for it, or the module that needs it.
    by: str


class Statement(NamedTuple):
    """One statement of modprobe.d that went into an index, and where it stands."""

    kind: StatementKind
    name: str
    text: str
    file: str
    line: int

    @property
    def where(self) -> str:
        """FILE:LINE, the file as seen below the root."""
        return f"{self.file}:{self.line}"

    def __str__(self) -> str:
        return f"{self.kind.name.lower()} {self.name} {self.text}".rstrip(" ")


class Planned(NamedTuple):
    """One module of the plan that an index carries."""

    module: str
    #: Microseconds from its start to the end of all that waited for it, when the plan was recorded.
    length: int
    #: What it is to the root.
    flags: PlanFlag


class BootIndex(Protocol):
    """A boot index that is open for reading, from whichever core."""

    release: str

    def match(self, modalias: str) -> list[Match]: ...

    def lookup(self, name: str) -> list[Match]: ...

    def plan(self, wanted: Iterable[str]) -> list[Step]: ...

    def options(self, module: str, alias: str = "") -> str: ...

    def path(self, module: str) -> str: ...
