"""One metric of several contenders on one machine: a bar for each, with the spread of its boots."""

from __future__ import annotations

from collections.abc import Sequence

from tinykmod.bench.figures import Figure, Row
from tinykmod.bench.measured import MARKS, METRICS
from tinykmod.bench.pictures.bars import Bars
from tinykmod.bench.pictures.look import TIMES, Picture, colour, spread, time
from tinykmod.errors import TinykmodError


def draw(rows: Sequence[Row], metric: str, name: str = "contenders", *, width: float = 720) -> Picture:
    """METRIC of each row's contender, the fastest first, then those without it.

    Raises TinykmodError where no row has the metric.
    """
    order = sorted((row for row in rows if metric in row.metrics), key=lambda row: row.metrics[metric].median)
    if not order:
        raise TinykmodError(metric, "no boot has it")
    missing = [row for row in rows if metric not in row.metrics]
    texts = [_text(row.metrics[metric]) for row in order]
    end = max(row.metrics[metric].most for row in order)
    told = f"{metric} on {rows[0].machine}: " + "; ".join(
        f"{row.contender} {text}" for row, text in zip(order, texts, strict=True)
    )
    bars = Bars(name, told, width, [row.contender for row in [*order, *missing]], texts, end)
    for number, (row, text) in enumerate(zip(order, texts, strict=True)):
        figure = row.metrics[metric]
        bars.name(number, row.contender, bold=number == 0)
        bars.bar(number, 0, figure.median, "first" if number == 0 else "other", _tip(row, metric, figure))
        if figure.most > figure.least:
            y = bars.y(number)
            bars.axes.plot([figure.least, figure.most], [y, y], color=colour("ink"), linewidth=1.4, clip_on=False,
                           marker="|", markersize=8, markeredgewidth=1.4)  # fmt: skip
        bars.text(number, figure.most, text, bold=number == 0)
    for number, row in enumerate(missing, len(order)):
        bars.name(number, row.contender)
        failed = row.runs == sum(row.ends.values())
        bars.text(number, 0, "did not reach the root's init" if failed else "not to be seen in its log",
                  "failed" if failed else "muted")  # fmt: skip
    return bars.picture


def _text(figure: Figure) -> str:
    return time(figure.median) + (f"  {TIMES}{figure.ratio:.2f}" if figure.ratio is not None else "")


def _tip(row: Row, metric: str, figure: Figure) -> str:
    end, begin = METRICS[metric]
    since = MARKS.get(begin, "the kernel starts")
    median = f"{time(figure.median)}{spread(figure)}"
    return f"{row.contender}: {median}. {metric} is from when {since} to when {MARKS[end]}."
