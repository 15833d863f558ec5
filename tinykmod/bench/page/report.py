"""What a report is made of: a bench's directory, and those of benches before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from tinykmod.bench import compare, figures, results
from tinykmod.bench.figures import Figure, Place, Row
from tinykmod.bench.measured import Measured
from tinykmod.errors import TinykmodError


class Bench(NamedTuple):
    """`name` is its label, without one its directory's name."""

    name: str
    about: Mapping[str, Any]
    runs: Sequence[Measured]
    rows: Sequence[Row]

    @property
    def baseline(self) -> str:
        return str(self.about.get("suite", {}).get("baseline", ""))

    @property
    def begun(self) -> str:
        """Date and time in UTC, in ISO 8601, so that they sort; empty where it is not known."""
        return str(self.about.get("begun", ""))


def read(directory: Path) -> Bench:
    """Raises TinykmodError where DIRECTORY holds no boot, or something else; OSError."""
    if not directory.is_dir():
        raise TinykmodError(directory, "is no directory of results" if directory.exists() else "is not there")
    if not (directory / results.RUNS).exists():
        raise TinykmodError(directory, f"has no {results.RUNS}: nothing was measured into it")
    about, runs = results.read_about(directory), results.read_runs(directory)
    if not runs:
        raise TinykmodError(directory, "holds no boot yet")
    name = str(about.get("label") or directory.resolve().name)
    return Bench(name, about, runs, figures.rows(runs, about.get("suite", {}).get("baseline", "")))


def read_all(directories: Sequence[Path]) -> list[Bench]:
    """The benches in DIRECTORIES; several of one name have those of their directories as well. Raises as read()."""
    found = [(read(each), each.resolve().name) for each in directories]
    names = Counter(bench.name for bench, _ in found)
    return [bench._replace(name=f"{bench.name} ({name})") if names[bench.name] > 1 else bench
            for bench, name in found]  # fmt: skip


@dataclass(frozen=True)
class Answer:
    """Who is first to the root in one setting. `level` are those, the fastest first, that noise cannot tell apart."""

    engine: str
    machine: str
    level: Sequence[Row]
    next: Row | None
    baseline: Row | None
    before: compare.Change | None
    #: The fastest from the kernel's start to the root's init.
    whole: Row | None

    @property
    def first(self) -> Row:
        return self.level[0]

    @property
    def time(self) -> Figure:
        return self.first.metrics["T_root"]


def settings(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Each (engine, machine) of ROWS."""
    return list(dict.fromkeys((row.engine, row.machine) for row in rows))


def inside(rows: Sequence[Row], setting: tuple[str, str]) -> list[Row]:
    """The rows of one (engine, machine)."""
    return [row for row in rows if (row.engine, row.machine) == setting]


def answer(bench: Bench, setting: tuple[str, str], before: Bench | None) -> Answer | None:
    """None where no contender's root was seen to be mounted."""
    rows = inside(bench.rows, setting)
    order = sorted((row for row in rows if "T_root" in row.metrics), key=lambda row: row.metrics["T_root"].median)
    if not order:
        return None
    best = order[0].metrics["T_root"]
    boots = [row.metrics["T_root"] for row in order]
    level = [row for row, root in zip(order, boots, strict=True)
             if root.median - best.median <= compare.noise(best, root, boots)]  # fmt: skip
    change = changes(bench, before).get((order[0].place, "T_root")) if before else None
    return Answer(
        *setting,
        level,
        next((row for row in order if row not in level), None),
        next((row for row in order if row.contender == bench.baseline and row is not order[0]), None),
        change if change is not None and change.old is not None else None,
        min((row for row in rows if "total" in row.metrics), default=None,
            key=lambda row: row.metrics["total"].median),
    )  # fmt: skip


def changes(bench: Bench, before: Bench) -> dict[tuple[Place, str], compare.Change]:
    """What changed since BEFORE, by place and metric."""
    return {(change.place, change.metric): change for change in compare.compare(before.rows, bench.rows)}


def middle(bench: Bench, row: Row) -> Measured | None:
    """Of ROW's boots that came to the root's init the one whose T_root (or else `total`) is the median; of two the
    quicker. None where there is none."""
    own = [run for run in bench.runs if (run.engine, run.machine, run.contender) == row.place and run.ended == "root"]
    for metric in "T_root", "total":
        found = sorted((value, run.run) for run in own if (value := run.metric(metric)) is not None)
        if found:
            number = found[(len(found) - 1) // 2][1]
            return next(run for run in own if run.run == number)
    return own[0] if own else None
