"""What many boots come to: median, spread and ratio of each metric; as a table, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tinykmod.bench.measured import MARKS, METRICS, Measured

#: (engine, machine, contender): whose boots are looked at together.
Place = tuple[str, str, str]


@dataclass(frozen=True)
class Figure:
    """Of a metric's values in seconds: their median, least and most, standard deviation and number.

    `ratio` is the median of the ratios to the baseline's value of the same round, between `ratio_least` and
    `ratio_most`; None where no round has both.
    """

    median: float
    least: float
    most: float
    deviation: float
    runs: int
    ratio: float | None = None
    ratio_least: float | None = None
    ratio_most: float | None = None

    @property
    def spread(self) -> float:
        """Half of the distance from the least to the most."""
        return (self.most - self.least) / 2


@dataclass(frozen=True)
class Row:
    """The boots of one contender on one machine. `ends` counts how those ended that did not come to the root."""

    engine: str
    machine: str
    contender: str
    image_bytes: int
    runs: int
    ends: dict[str, int] = field(default_factory=dict)
    metrics: dict[str, Figure] = field(default_factory=dict)

    @property
    def place(self) -> Place:
        return (self.engine, self.machine, self.contender)


def rows(runs: Iterable[Measured], baseline: str = "") -> list[Row]:
    """A row a contender, machine and engine, in the order in which RUNS have them, the baseline's first.

    A boot that did not come to the root's init gives no figure.
    """
    grouped: dict[Place, list[Measured]] = {}
    for run in runs:
        grouped.setdefault((run.engine, run.machine, run.contender), []).append(run)
    order = {name: number for number, name in enumerate(dict.fromkeys(place[:2] for place in grouped))}
    found = []
    for place in sorted(grouped, key=lambda place: (order[place[:2]], place[2] != baseline)):
        own = grouped[place]
        base = grouped.get((*place[:2], baseline), [])
        ends = Counter(run.ended for run in own if run.ended != "root")
        metrics = {metric: figure(values(own, metric), values(base, metric)) for metric in METRICS}
        found.append(Row(*place, own[-1].image_bytes, len(own), dict(ends),
                         {metric: each for metric, each in metrics.items() if each}))  # fmt: skip
    return found


def values(runs: Iterable[Measured], metric: str) -> dict[int, float]:
    """By number of the round, seconds of METRIC in the boots that came to the root's init."""
    found = {run.run: run.metric(metric) for run in runs if run.ended == "root"}
    return {number: seconds for number, seconds in found.items() if seconds is not None}


def figure(own: Mapping[int, float], base: Mapping[int, float]) -> Figure | None:
    """Of values by their rounds, beside the baseline's; None where there is none."""
    if not own:
        return None
    ratios = [own[number] / base[number] for number in sorted(own.keys() & base.keys()) if base[number]]
    return Figure(
        statistics.median(own.values()), min(own.values()), max(own.values()),
        statistics.stdev(own.values()) if len(own) > 1 else 0.0, len(own),
        *((statistics.median(ratios), min(ratios), max(ratios)) if ratios else ()),
    )  # fmt: skip


def table(found: Sequence[Row], baseline: str = "") -> str:
    """For people: a block a machine and engine, times in milliseconds, `MEDIAN ±SPREAD xRATIO`."""
    metrics = [metric for metric in METRICS if any(metric in row.metrics for row in found)]
    blocks = []
    for engine, machine in dict.fromkeys(row.place[:2] for row in found):
        inside = [row for row in found if row.place[:2] == (engine, machine)]
        lines = [[f"{machine}, {engine}", "image", *metrics, "to the root"]]
        for row in inside:
            cells = [_cell(row.metrics.get(metric), row.contender != baseline) for metric in metrics]
            lines.append([row.contender, mib(row.image_bytes), *cells, _ends(row)])
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        blocks.append("\n".join(_line(line, widths) for line in lines))
    return "\n\n".join(blocks)


def markdown(found: Sequence[Row], baseline: str = "") -> str:
    """As table(), for a document: one table, a row a contender and machine."""
    metrics = [metric for metric in METRICS if any(metric in row.metrics for row in found)]
    lines = [["machine", "contender", "image", *metrics, "to the root"], ["---"] * (4 + len(metrics))]
    for row in found:
        cells = [_cell(row.metrics.get(metric), row.contender != baseline) for metric in metrics]
        lines.append([row.machine, row.contender, mib(row.image_bytes), *cells, _ends(row)])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def to_json(found: Sequence[Row], about: Mapping[str, Any]) -> dict[str, Any]:
    """What `results.json` holds: `bench.json`'s ABOUT, and the rows, times in seconds."""
    return {"about": dict(about), "rows": [asdict(row) for row in found]}


def to_csv(runs: Iterable[Measured]) -> str:
    """A line a boot: what it was, how it ended, each metric and mark in seconds, empty where it has none."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    head = ("engine", "machine", "contender", "run", "ended", "image_bytes", "host_seconds")
    writer.writerow([*head, *METRICS, *(f"mark_{mark}" for mark in MARKS), "error"])
    for run in runs:
        times = [run.metric(metric) for metric in METRICS] + [run.marks.get(mark) for mark in MARKS]
        writer.writerow([*(getattr(run, name) for name in head),
                         *("" if seconds is None else f"{seconds:.6f}" for seconds in times), run.error])  # fmt: skip
    return out.getvalue()


def mib(size: float) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def _cell(found: Figure | None, ratio: bool) -> str:
    if found is None:
        return "-"
    spread = f" ±{found.spread * 1e3:.1f}" if found.runs > 1 else ""
    return f"{found.median * 1e3:.1f}{spread}" + (f" x{found.ratio:.2f}" if ratio and found.ratio is not None else "")


def _ends(row: Row) -> str:
    came = row.runs - sum(row.ends.values())
    why = ", ".join(f"{count} {end}" for end, count in row.ends.items())
    return f"{came} of {row.runs}" + (f" ({why})" if why else "")


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    first, *middle, last = cells
    right = [cell.rjust(width) for cell, width in zip(middle, widths[1:-1], strict=True)]
    return "  ".join([first.ljust(widths[0]), *right, last])
