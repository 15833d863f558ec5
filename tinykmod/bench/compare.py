"""Two benches beside each other: what got slower or larger beyond the noise of their boots, and past a budget."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from tinykmod.bench.figures import Figure, Place, Row, mib
from tinykmod.bench.measured import METRICS
from tinykmod.bench.suite import read_toml
from tinykmod.errors import TinykmodError

#: What is compared beside METRICS: the image's bytes, which have no noise.
IMAGE = "image"
#: Of single boots nobody knows how far they are apart for nothing: it is taken to be this share of a time.
SINGLE = 0.01
#: So many standard errors of a difference, by a figure's own boots, are noise.
ERRORS = 3.0
#: Seconds: the stamps that a time is the difference of are rounded to microseconds.
_RESOLUTION = 2e-6
#: Degrees of freedom -> in how many standard errors 99 % of differences for nothing are (Student's t, two-sided).
_STUDENT = {1: 63.66, 2: 9.92, 3: 5.84, 4: 4.60, 5: 4.03, 6: 3.71, 7: 3.50, 8: 3.36, 10: 3.17, 15: 2.95, 20: 2.85,
            30: 2.75, 60: 2.66, 120: 2.62}  # fmt: skip
_LIMIT = re.compile(r"(\+?)\s*(\d+(?:\.\d+)?)\s*(%|ms|s|KiB|MiB|B)")
_UNITS = {"ms": 1e-3, "s": 1.0, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20}
_PATTERNS = ("engine", "machine", "contender")


@dataclass(frozen=True)
class Change:
    """A figure of one place, in seconds or bytes; None where that bench has none. `noise` is in the same unit."""

    place: Place
    metric: str
    old: float | None
    new: float | None
    noise: float = 0.0

    @property
    def verdict(self) -> str:
        """`same` is within the noise."""
        if self.old is None or self.new is None:
            return "gone" if self.new is None else "new"
        worse, better = ("larger", "smaller") if self.metric == IMAGE else ("slower", "faster")
        if abs(self.new - self.old) <= self.noise:
            return "same"
        return worse if self.new > self.old else better

    def __str__(self) -> str:
        grown = f" {(self.new / self.old - 1) * 100:+.1f} %" if self.old and self.new is not None else ""
        noise = f" (noise {self.noise / self.old * 100:.1f} %)" if self.old and self.noise else ""
        return f"{told(self.metric, self.old)} -> {told(self.metric, self.new)}{grown} {self.verdict}{noise}"


@dataclass(frozen=True)
class Limit:
    """Of one metric in the places that the patterns match: at most `most` (seconds, bytes), or at most `growth` (a
    share) above what it was."""

    patterns: tuple[str, str, str]
    metric: str
    most: float | None = None
    growth: float | None = None

    def matches(self, place: Place) -> bool:
        return all(fnmatchcase(word, pattern) for word, pattern in zip(place, self.patterns, strict=True))


def compare(old: Sequence[Row], new: Sequence[Row]) -> list[Change]:
    """Every figure that one of the two has, in the order of NEW."""
    before, after = ({row.place: row for row in rows} for rows in (old, new))
    every = [*old, *new]
    changes = []
    for place in [*after, *(place for place in before if place not in after)]:
        one, two = before.get(place), after.get(place)
        for metric in METRICS:
            was, is_now = (row.metrics.get(metric) if row else None for row in (one, two))
            if was or is_now:
                within = noise(was, is_now, beside(every, place, metric)) if was and is_now else 0.0
                changes.append(Change(place, metric, was.median if was else None, is_now.median if is_now else None,
                                      within))  # fmt: skip
        changes.append(Change(place, IMAGE, one.image_bytes if one else None, two.image_bytes if two else None))
    return changes


def beside(rows: Iterable[Row], place: Place, metric: str) -> list[Figure]:
    """METRIC of all contenders of ROWS on the engine and machine of PLACE: what tells how far boots differ there."""
    return [figure for row in rows if row.place[:2] == place[:2] and (figure := row.metrics.get(metric))]


def noise(old: Figure, new: Figure, every: Sequence[Figure] = ()) -> float:
    """Seconds by which the two may differ for nothing: what boots of one image differ by shows.

    The larger of ERRORS standard errors of the difference by the two's own boots, and of what 99 of 100 differences
    are within by the deviation, as a share of the median, of EVERY figure (by default the two): boots that are alike
    by chance are so no reason to take others for slower. Where nothing was booted twice it is SINGLE of the old.
    """
    known = [figure for figure in every or (old, new) if figure.runs > 1 and figure.median]
    freedom = sum(figure.runs - 1 for figure in known)
    if not freedom:
        return SINGLE * old.median
    boots = 1 / old.runs + 1 / new.runs
    share = math.sqrt(sum((figure.runs - 1) * (figure.deviation / figure.median) ** 2 for figure in known) / freedom)
    within = _STUDENT[max(degrees for degrees in _STUDENT if degrees <= freedom)]
    own = old.runs + new.runs - 2
    squares = (old.runs - 1) * old.deviation**2 + (new.runs - 1) * new.deviation**2
    error = math.sqrt(squares / own * boots) if own else 0.0
    return max(ERRORS * error, within * share * math.sqrt(boots) * old.median, _RESOLUTION)


def read_budget(path: Path) -> list[Limit]:
    """The limits in a budget file. Raises TinykmodError for what is wrong in it, OSError."""
    found = read_toml(path)
    tables = found.pop("for", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise TinykmodError(path, "`for` is to be tables, [[for]]")
    limits = [limit for table in (found, *tables) for limit in _limits(path, table, table is not found)]
    if not limits:
        raise TinykmodError(path, "sets no limit")
    return limits


def past(changes: Sequence[Change], limits: Sequence[Limit], rows: Sequence[Row], which: str) -> list[str]:
    """What is past LIMITS, a line each. ROWS are the new bench's.

    Growth counts only beyond the noise. A boot that did not come to the root, and a figure that is gone, are past any
    limit. Raises TinykmodError(WHICH, ...) for a limit that nothing in the new bench falls under.
    """
    failing = {row.place: row for row in rows if row.ends}
    lines = []
    for limit in limits:
        under = [change for change in changes if change.metric == limit.metric and limit.matches(change.place)]
        if not under and not any(limit.matches(place) for place in failing):
            patterns = ", ".join(f"{name} {pattern}" for name, pattern in zip(_PATTERNS, limit.patterns, strict=True))
            raise TinykmodError(which, f"there is no {limit.metric} of {patterns}")
        lines += [line for change in under if (line := _past(change, limit))]
        lines += [f"{named(place)}: {missed(row)}"
                  for place, row in failing.items() if limit.matches(place)]  # fmt: skip
    return list(dict.fromkeys(lines))


def named(place: Place) -> str:
    engine, machine, contender = place
    return f"{contender} on {machine}, {engine}"


def missed(row: Row) -> str:
    return f"{sum(row.ends.values())} of {row.runs} boots did not come to the root's init"


def told(metric: str, value: float | None) -> str:
    if value is None:
        return "none"
    return mib(value) if metric == IMAGE else f"{value * 1e3:.1f} ms"


def _past(change: Change, limit: Limit) -> str:
    where = f"{named(change.place)}: {limit.metric}"
    if change.new is None:
        return f"{where}: no longer measured"
    if limit.most is not None and change.new > limit.most:
        return f"{where}: {told(limit.metric, change.new)}, at most {told(limit.metric, limit.most)}"
    if limit.growth is None or change.old is None or change.verdict not in ("slower", "larger"):
        return ""
    if change.new <= change.old * (1 + limit.growth):
        return ""
    return f"{where}: {change}, at most {limit.growth * 100:+g} %"


def _limits(path: Path, table: Mapping[str, Any], narrow: bool) -> list[Limit]:
    patterns = dict.fromkeys(_PATTERNS, "*")
    limits: list[tuple[str, Any]] = []
    for key, value in table.items():
        if narrow and key in _PATTERNS:
            if not isinstance(value, str):
                raise TinykmodError(path, f"{key} is to be text")
            patterns[key] = value
        elif key in (*METRICS, IMAGE):
            limits += [(key, each) for each in (value if isinstance(value, list) else [value])]
        else:
            raise TinykmodError(path, f"{key} is nothing that is compared: {', '.join((*METRICS, IMAGE))}")
    engine, machine, contender = patterns.values()
    return [_limit(path, (engine, machine, contender), metric, value) for metric, value in limits]


def _limit(path: Path, patterns: tuple[str, str, str], metric: str, value: object) -> Limit:
    found = _LIMIT.fullmatch(value.strip()) if isinstance(value, str) else None
    units = ("B", "KiB", "MiB") if metric == IMAGE else ("ms", "s")
    if found is None or (found[3] == "%") != bool(found[1]) or found[3] not in ("%", *units):
        example = "8 MiB" if metric == IMAGE else "500 ms"
        raise TinykmodError(path, f'{metric}: a limit is text such as "{example}" or "+5 %", not {value!r}')
    number = float(found[2])
    if found[3] == "%":
        return Limit(patterns, metric, growth=number / 100)
    return Limit(patterns, metric, most=number * _UNITS[found[3]])
