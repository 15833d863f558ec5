"""How one metric went from one state of the project to the next: a line a contender, with the spread of its boots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tinykmod.bench.figures import Figure
from tinykmod.bench.pictures.look import (
    LEGEND_ROW,
    SMALL,
    Entry,
    Picture,
    colour,
    fitting,
    legend_rows,
    spread,
    text_width,
    time,
    time_ticks,
)
from tinykmod.errors import TinykmodError

_HEIGHT, _BELOW = 200, 34
_COLOURS = ("line1", "line2", "line3", "line4", "line5", "line6")
_MARKERS = "osD^vP"


def draw(
    states: Sequence[str], lines: Mapping[str, Sequence[Figure | None]], metric: str, name: str = "trend", *,
    width: float = 720,
) -> Picture:  # fmt: skip
    """METRIC over STATES, the oldest first; for each contender of LINES its figure at each, None where it has none.

    No more than six lines are told apart. Raises TinykmodError for more, and where there is nothing to draw.
    """
    if not any(any(line) for line in lines.values()):
        raise TinykmodError(metric, "no boot has it")
    if len(lines) > len(_COLOURS):
        raise TinykmodError("trend", f"{len(lines)} lines cannot be told apart, {len(_COLOURS)} can")
    legend = legend_rows([Entry(what, one) for one, what in zip(lines, _COLOURS, strict=False)], width)
    figures = [figure for line in lines.values() for figure in line if figure is not None]
    highest = max(figure.most for figure in figures)
    told = f"{metric} over {len(states)} states: " + "; ".join(
        f"{contender} from {time(seen[0].median)} to {time(seen[-1].median)}"
        for contender, line in lines.items() if (seen := [figure for figure in line if figure is not None])
    )  # fmt: skip
    top = LEGEND_ROW * len(legend) + 12
    picture = Picture(name, told, width, top + _HEIGHT + _BELOW)
    picture.legend(legend, 1, 0)
    left = text_width(time(highest)) + 18
    right = text_width(time(highest)) + 14
    axes = picture.axes(left, top, width - left - right, _HEIGHT)
    axes.grid(axis="x", visible=False)
    axes.grid(axis="y", color=colour("grid"), linewidth=1)
    axes.set_xlim(-0.3, len(states) - 0.7)
    axes.set_ylim(0, highest * 1.06)
    time_ticks(axes.yaxis, highest, 4)
    room = (width - left - right) / max(len(states) - 0.4, 1)
    # Every so many states one is named, so that no two names meet.
    step = max(1, -(-max(min(text_width(one), 90) for one in states) - 8) // max(room, 1))
    shown = range((len(states) - 1) % int(step), len(states), int(step))
    # Of git's names the end is the commit.
    axes.set_xticks([*shown], [fitting(states[number], room * step - 8, end=True) for number in shown])
    taken: list[float] = []
    for (contender, line), what, marker in zip(lines.items(), _COLOURS, _MARKERS, strict=False):
        known = [(x, figure) for x, figure in enumerate(line) if figure is not None]
        axes.plot([x for x, _ in known], [figure.median for _, figure in known], color=colour(what), linewidth=1.8)
        for x, figure in known:
            axes.plot([x, x], [figure.least, figure.most], color=colour(what), linewidth=1.2)
            [point] = axes.plot([x], [figure.median], color=colour(what), marker=marker, markersize=6)
            picture.tip(point, f"{contender}, {states[x]}: {time(figure.median)}{spread(figure)}")
        if known and known[-1][0] == len(states) - 1:
            # Names of values that are close would be one on another.
            y = known[-1][1].median
            if all(abs(y - other) * _HEIGHT / highest > SMALL for other in taken):
                axes.annotate(time(y), (len(states) - 1, y), (8, 0), textcoords="offset pixels", va="center",
                              fontsize=SMALL, color=colour(what), weight="bold")  # fmt: skip
                taken.append(y)
    return picture

