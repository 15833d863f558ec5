"""The timeline of one boot: its phases, the critical paths to root and display, and each worker's modules."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from tinykmod.bench.measured import Load, Measured, Step
from tinykmod.bench.pictures.look import (
    LEGEND_ROW,
    SMALL,
    Entry,
    Picture,
    colour,
    legend_rows,
    text_width,
    time,
    time_ticks,
)
from tinykmod.bench.pictures.phases import phases
from tinykmod.errors import TinykmodError
from tinykmod.trace.lanes import lanes
from tinykmod.trace.timeline import REASONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of the picture, in pixels.
_WIDTH, _LEFT, _RIGHT = 960, 112, 24
_STRIP, _BAR, _TIER, _GAP = 20, 20, 14, 10
_TIERS = 3

#: Why modules were loaded -> words for the legend, in its order. What is not here is as `request`.
_WHY = {
    "modalias": "a device asked for it",
    "dependency": "a module needs it",
    "softdep": "a softdep names it",
    "root": "the root's filesystem",
    "request": "asked for otherwise",
    "failed": "failed",
}
#: Marks -> how the picture names them, and their colours.
_MOMENTS = {
    "disk": ("root's disk", "root"),
    "display": ("display", "display"),
    "mounted": ("root mounted", "root"),
    "root_init": ("root's init", "ink"),
}
#: Steps of the critical path that are no module's load -> what is written on them.
_WAITS = {
    "loader": "loader",
    "worker": "waits for the processor",
    "device": "hardware",
    "delay": "rootdelay",
    "mount": "mount",
}
#: Phases -> how the strip of the whole boot names them.
_PARTS = {
    "kernel": "kernel",
    "unpacking": "unpacking",
    "modules": "loader and modules",
    "handover": "hand-over",
}


class _Bar(NamedTuple):
    """Seconds since init started. `rank` is higher for what has to have its name written."""

    begin: float
    end: float
    label: str
    tip: str
    fill: str
    edge: str = ""
    rank: float = 0.0


class _Lane(NamedTuple):
    label: str
    bars: list[_Bar]
    bold: bool = False


def drawable(boot: Measured) -> bool:
    """Whether it is known when BOOT's init started, and what was loaded."""
    return "init" in boot.marks and bool(boot.loads)


def draw(boot: Measured, name: str = "timeline") -> Picture:
    """The picture of BOOT. Raises TinykmodError where it is not drawable()."""
    if not drawable(boot):
        raise TinykmodError(boot.contender, "has no timeline: when init started, or what was loaded, is not known")
    init = boot.marks["init"]
    end = max([boot.marks.get("root_init", 0.0), *(load.begin + load.seconds for load in boot.loads)]) - init
    scale = (_WIDTH - _LEFT - _RIGHT) / end
    rows = [_place(lane, scale) for lane in _lanes(boot, init)]
    moments = _moments(boot, init, scale)
    above = _STRIP + 34 + 16 * (1 + max((moment.row for moment in moments), default=-1))
    inner = sum(row.height for row in rows)
    legend = _legend(boot, end)
    height = above + inner + 28 + LEGEND_ROW * len(legend) + 6
    mounted = boot.metric("T_root")
    told = f"{boot.contender} on {boot.machine}: {len(boot.loads)} modules in {time(end)}" + (
        f", root mounted {time(mounted)} after init started" if mounted is not None else ""
    )
    picture = Picture(name, told, _WIDTH, height)
    axes = picture.axes(_LEFT, above, _WIDTH - _LEFT - _RIGHT, inner)
    axes.set_xlim(0, end)
    axes.set_ylim(inner, 0)
    axes.set_yticks([])
    time_ticks(axes.xaxis, end, 8)
    _draw_moments(axes, moments, inner)
    y = 0.0
    for row in rows:
        _draw_row(picture, axes, row, y)
        y += row.height
    _draw_strip(picture, boot, above, end)
    picture.legend(legend, _LEFT, above + inner + 28)
    return picture


def _lanes(boot: Measured, init: float) -> list[_Lane]:
    """The critical paths' lanes, then those of the workers: more than one for loads that overlap on one."""
    paths = {"display": boot.display_path, "path": boot.path}
    # Of what is on both the root's counts.
    edges = {step.name: what for what, steps in paths.items() for step in steps if step.kind == "module"}
    found = [_Lane(f"path to {name}", [_step_bar(step, init, what) for step in paths[what]], bold=True)
             for name, what in (("root", "path"), ("display", "display")) if paths[what]]  # fmt: skip
    workers = sorted({load.worker for load in boot.loads})
    for worker in workers:
        loads = [load for load in boot.loads if load.worker == worker]
        # The end of one load may be the beginning of the next, and both are rounded to microseconds.
        spans = [(load.begin, load.begin + max(load.seconds - 2e-6, 0)) for load in loads]
        chosen = lanes(spans)
        for lane in range(max(chosen) + 1):
            bars = [_load_bar(load, init, edges.get(load.name, ""))
                    for load, where in zip(loads, chosen, strict=True) if where == lane]  # fmt: skip
            name = f"worker {worker}" if worker else "loads" if workers == [0] else "loader, helpers"
            found.append(_Lane(name if lane == 0 else "", bars))
    return found


def _step_bar(step: Step, init: float, what: str) -> _Bar:
    label = step.name if step.kind == "module" else _WAITS.get(step.kind, step.kind)
    tip = f"{label}{f' ({step.name})' if step.name != label and step.name else ''}: {time(step.seconds)}"
    fill = what if step.kind == "module" else "wait"
    return _Bar(step.begin - init, step.begin - init + step.seconds, label, tip, fill, rank=step.seconds)


def _load_bar(load: Load, init: float, edge: str) -> _Bar:
    """EDGE is the colour of the critical path that LOAD is on, empty where it is on none."""
    begin = load.begin - init
    result = "" if load.result == 0 else f", {errno.errorcode.get(-load.result, str(load.result))}"
    result += f": {load.error}" if load.error else ""
    why = REASONS.get(load.why, "{}").format(load.by)
    tip = f"{load.name}: at {time(begin)}, took {time(load.seconds)}{result}{f'; {why}' if why else ''}"
    return _Bar(begin, begin + load.seconds, load.name, tip, _kind(load), edge, load.seconds + 1e3 * bool(edge))


def _kind(load: Load) -> str:
    if load.result not in (0, -errno.ENODEV):  # ENODEV: the driver found nothing to do, which is no fault
        return "failed"
    return load.why if load.why in _WHY else "request"


class _Label(NamedTuple):
    """`tier` is 0 inside of the bar, else that many lines below it. `left` is in pixels of the axes."""

    bar: _Bar
    left: float
    tier: int


class _Row(NamedTuple):
    lane: _Lane
    labels: list[_Label]
    scale: float

    @property
    def height(self) -> float:
        return _BAR + _TIER * max((label.tier for label in self.labels), default=0) + _GAP


def _place(lane: _Lane, scale: float) -> _Row:
    """Names for as many bars as have room: in them, or below, where no two names and no line to a name cross."""
    right = _WIDTH - _LEFT
    taken: list[list[tuple[float, float]]] = [[] for _ in range(_TIERS)]
    lines: list[tuple[float, int]] = []
    labels = []
    for bar in sorted(lane.bars, key=lambda bar: -bar.rank):
        width, begin = text_width(bar.label), bar.begin * scale
        if width + 8 <= (bar.end - bar.begin) * scale:
            labels.append(_Label(bar, (bar.begin + bar.end) / 2 * scale, 0))
            continue
        left = min(begin + 3, right - width)
        span = (left - 7, left + width + 5)
        for tier in range(_TIERS):
            free = all(span[1] <= other[0] or other[1] <= span[0] for other in taken[tier])
            clear = all(not first < begin < last for above in taken[:tier] for first, last in above)
            uncrossed = all(deep <= tier or not span[0] < x < span[1] for x, deep in lines)
            if free and clear and uncrossed:
                taken[tier].append(span)
                lines.append((begin, tier))
                labels.append(_Label(bar, left, tier + 1))
                break
    return _Row(lane, labels, scale)


def _draw_row(picture: Picture, axes: Axes, row: _Row, top: float) -> None:
    from matplotlib.patches import Rectangle

    if row.lane.label:
        axes.annotate(row.lane.label, (0, top + _BAR / 2), (-10, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset pixels", ha="right", va="center", fontsize=SMALL, color=colour("ink"),
                      weight="bold" if row.lane.bold else "normal")  # fmt: skip
    for label in row.labels:
        x = label.bar.begin
        if label.tier:
            y = top + _BAR + _TIER * (label.tier - 0.5)
            axes.plot([x, x], [top + _BAR, y + 4], color=colour("axis"), linewidth=0.8, clip_on=False,
                      zorder=1.6)  # fmt: skip
            axes.text(label.left / row.scale, y, label.bar.label, va="center", fontsize=SMALL, color=colour("ink"),
                      bbox={"facecolor": colour("surface"), "edgecolor": "none", "pad": 0.5})  # fmt: skip
    # The longest first: a short one at the same place stays to be seen.
    for bar in sorted(row.lane.bars, key=lambda bar: bar.begin - bar.end):
        width = max(bar.end - bar.begin, 1.5 / row.scale)
        edge = colour(bar.edge or "surface")
        patch = Rectangle((bar.begin, top), width, _BAR, facecolor=colour(bar.fill), edgecolor=edge,
                          linewidth=2 if bar.edge else 0.6, zorder=3 if bar.edge else 2, clip_on=False)  # fmt: skip
        picture.tip(axes.add_artist(patch), bar.tip)
    for label in row.labels:
        if not label.tier:
            text = axes.text(label.left / row.scale, top + _BAR / 2, label.bar.label, ha="center", va="center",
                             fontsize=SMALL, color=colour("ink" if label.bar.fill == "wait" else "surface"),
                             zorder=4)  # fmt: skip
            picture.tip(text, label.bar.tip)


class _Moment(NamedTuple):
    """`row` counts up from the axes; `left` is of the text, in pixels of the axes."""

    at: float
    text: str
    fill: str
    left: float
    row: int


def _moments(boot: Measured, init: float, scale: float) -> list[_Moment]:
    right = _WIDTH - _LEFT
    taken: list[list[tuple[float, float]]] = []
    found = []
    named = [(boot.marks[mark] - init, *words) for mark, words in _MOMENTS.items() if mark in boot.marks]
    for at, what, fill in sorted((one for one in named if one[0] >= 0), reverse=True):
        text = f"{what} {time(at)}"
        width = text_width(text, weight="bold")
        left = at * scale + (4 if at * scale + 4 + width <= right else -4 - width)
        span = (min(left, at * scale) - 4, left + width + 8)
        row = next((row for row, spans in enumerate(taken)
                    if all(span[1] <= other[0] or other[1] <= span[0] for other in spans)), len(taken))  # fmt: skip
        taken[row:] = taken[row:] or [[]]
        taken[row].append(span)
        found.append(_Moment(at, text, fill, left, row))
    return found


def _draw_moments(axes: Axes, moments: Iterable[_Moment], inner: float) -> None:
    for moment in moments:
        y = -16 * moment.row - 9
        axes.plot([moment.at, moment.at], [y - 6, inner], color=colour(moment.fill), linewidth=1.4,
                  dashes=(4, 3), clip_on=False, zorder=1.5)  # fmt: skip
        axes.annotate(moment.text, (0, y), (moment.left, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset pixels", va="center", fontsize=SMALL, color=colour(moment.fill),
                      weight="bold", bbox={"facecolor": colour("surface"), "edgecolor": "none", "pad": 0.5},
                      zorder=5)  # fmt: skip


class _Part(NamedTuple):
    """Of the whole boot, in seconds since the kernel's start; `text` is what there is room for."""

    name: str
    begin: float
    end: float
    text: str


def _parts(boot: Measured, total: float) -> list[_Part]:
    parts: list[_Part] = []
    for phase in phases(boot):
        name = "modules" if phase.name == "loader" else phase.name
        begin = phase.begin
        if parts and parts[-1].name == name:
            begin = parts.pop().begin
        text = f"{_PARTS[name]} {time(phase.end - begin)}"
        room = (phase.end - begin) / total * (_WIDTH - _LEFT - _RIGHT) - 8
        parts.append(_Part(name, begin, phase.end, text if text_width(text) <= room else ""))
    return parts


def _draw_strip(picture: Picture, boot: Measured, above: float, end: float) -> None:
    """The whole boot above, and lines from its part since init down to the axes."""
    from matplotlib.patches import Rectangle

    total = boot.marks["init"] + end
    width = _WIDTH - _LEFT - _RIGHT
    axes = picture.axes(_LEFT, 4, width, above - 4)
    axes.set_xlim(0, total)
    axes.set_ylim(above - 4, 0)
    axes.axis("off")
    axes.annotate("whole boot", (0, _STRIP / 2), (-10, 0), xycoords=("axes fraction", "data"),
                  textcoords="offset pixels", ha="right", va="center", fontsize=SMALL,
                  color=colour("ink"))  # fmt: skip
    for part in _parts(boot, total):
        patch = Rectangle((part.begin, 0), part.end - part.begin, _STRIP, facecolor=colour(part.name),
                          edgecolor=colour("surface"), linewidth=0.6, clip_on=False)  # fmt: skip
        picture.tip(axes.add_artist(patch), f"{_PARTS[part.name]}: {time(part.end - part.begin)}")
        axes.text((part.begin + part.end) / 2, _STRIP / 2, part.text, ha="center", va="center", fontsize=SMALL,
                  color=colour("surface"))  # fmt: skip
    for x, below in ((boot.marks["init"], 0.0), (total, total)):
        axes.plot([x, below], [_STRIP + 1, _STRIP + 16], color=colour("axis"), linewidth=0.8, clip_on=False)


def _legend(boot: Measured, end: float) -> list[list[Entry]]:
    kinds = {_kind(load) for load in boot.loads}
    entries = [Entry(kind, words) for kind, words in _WHY.items() if kind in kinds]
    if not any(load.why for load in boot.loads):
        entries = [Entry("request", "loaded"), *(entry for entry in entries if entry.colour == "failed")]
    paths = (("path", "path to the root", boot.path), ("display", "path to the display", boot.display_path))
    entries += [Entry(what, words) for what, words, steps in paths if steps]
    if boot.path or boot.display_path:
        entries.append(Entry("wait", "waiting"))
    # Those parts of the whole boot that are too short to be named in it.
    parts = _parts(boot, boot.marks["init"] + end)
    entries += [Entry(part.name, _PARTS[part.name]) for part in parts if not part.text and part.name != "kernel"]
    return legend_rows(entries, _WIDTH - _LEFT)
