"""`tinykmod stats --plot`: how large modules are, and which classes they are of, as one SVG."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tinykmod.bench.pictures.look import LEGEND_ROW, NORMAL, SMALL, Entry, Picture, colour, fitting, legend_rows
from tinykmod.errors import TinykmodError
from tinykmod.inspect.statistics import NO_CLASS, Bin, Statistics
from tinykmod.inspect.treemap import Box, squarified
from tinykmod.terminal import plural, size, whole_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 720.0
_SIZES, _MAP, _TITLE = 170.0, 400.0, 30.0
#: Classes -> colours of the pictures' look.
COLOURS = {
    "storage": "line1", "network": "line3", "gpu": "line4", "filesystem": "line2", "input": "line6", "bus": "line5",
    "platform": "ink", "usb": "softdep", NO_CLASS: "other",
}  # fmt: skip
#: Of a class so many modules have a rectangle of their own.
MOST = 24


def draw(stats: Statistics) -> str:
    """The picture. Raises TinykmodError where matplotlib is missing, or there is no module."""
    if not stats.modules:
        raise TinykmodError("--plot", "there is no module to draw")
    told = (
        f"The {plural(len(stats.modules), 'module')} of {stats.release} by size, and by class as areas: "
        + ", ".join(f"{name} {size(share.bytes)}" for name, share in stats.classes.items())
    )
    groups = _groups(stats)
    totals = {kind: sum(bytes_ for _, bytes_ in entries) for kind, entries in groups.items()}
    order = sorted(totals, key=lambda kind: (-totals[kind], kind))
    legend = legend_rows([Entry(_colour(kind), f"{kind} {size(totals[kind])}") for kind in order], WIDTH)
    top = 2 * _TITLE + _SIZES + 26 + LEGEND_ROW * len(legend) + 4
    picture = Picture("stats", told, WIDTH, top + _MAP)
    where = "on disk" if stats.tree else "in memory"
    total = f"{plural(len(stats.modules), 'module')} of {stats.release}, {size(stats.total)} {where}"
    heading = f"{total}, by size; a bar goes up to the next one's"
    _title(picture, 0, heading)
    _histogram(picture, stats.sizes)
    _title(picture, _TITLE + _SIZES + 26, "by class; each area is a module's size, of no class a directory's")
    picture.legend(legend, 1, 2 * _TITLE + _SIZES + 26)
    boxes = squarified([totals[kind] for kind in order], Box(0, 0, WIDTH, _MAP))
    axes = picture.axes(0, top, WIDTH, _MAP)
    axes.set_xlim(0, WIDTH)
    axes.set_ylim(_MAP, 0)
    axes.axis("off")
    for kind, box in zip(order, boxes, strict=True):
        _class(picture, axes, box.inside(1), kind, groups[kind])
    return picture.svg()


def _title(picture: Picture, top: float, text: str) -> None:
    axes = picture.axes(0, top, picture.width, _TITLE)
    axes.axis("off")
    axes.text(0, 0.5, text, va="center", fontsize=NORMAL, weight="bold", color=colour("ink"))


def _histogram(picture: Picture, bins: list[Bin]) -> None:
    """A bar for each bin, its modules above it and its least size below."""
    axes = picture.axes(1, _TITLE + 14, picture.width - 2, _SIZES - 14)
    axes.grid(False)
    axes.set_yticks([])
    axes.set_xlim(-0.6, len(bins) - 0.4)
    axes.set_ylim(0, max(each.modules for each in bins))
    axes.set_xticks(range(len(bins)), [whole_size(each.least) for each in bins])
    for number, each in enumerate(bins):
        [bar] = axes.bar([number], [each.modules], 0.86, color=colour("first"))
        upto = f"{whole_size(each.least)} to {whole_size(2 * each.least)}"
        picture.tip(bar, f"{upto}: {plural(each.modules, 'module')}, {size(each.bytes)}")
        if each.modules:
            axes.annotate(str(each.modules), (number, each.modules), (0, 3), textcoords="offset pixels", ha="center",
                          va="bottom", fontsize=SMALL, color=colour("ink"), annotation_clip=False)  # fmt: skip


def _class(picture: Picture, axes: Axes, box: Box, kind: str, entries: list[tuple[str, int]]) -> None:
    """The map of one class."""
    shown, rest = entries[:MOST], entries[MOST:]
    if rest:
        others = f"{len(rest)} smaller ones", sum(bytes_ for _, bytes_ in rest)
        shown = sorted([*shown, others], key=lambda entry: -entry[1])
    for (name, bytes_), each in zip(shown, squarified([bytes_ for _, bytes_ in shown], box), strict=True):
        _area(picture, axes, each, _colour(kind), name, f"{name} ({kind}): {size(bytes_)}")


def _colour(kind: str) -> str:
    return COLOURS.get(kind, "other")


def _groups(stats: Statistics) -> dict[str, list[tuple[str, int]]]:
    """Of each class its modules with their bytes, the largest first; of no class, directories, since so many are."""
    groups: dict[str, Counter[str]] = {}
    for name, bytes_ in stats.largest():
        kind = stats.kinds.get(name, NO_CLASS)
        entry = stats.places.get(name, name) if kind == NO_CLASS else name
        if bytes_:
            groups.setdefault(kind, Counter())[entry] += bytes_
    return {kind: entries.most_common() for kind, entries in groups.items()}


def _area(picture: Picture, axes: Axes, box: Box, what: str, name: str, tip: str) -> None:
    from matplotlib.patches import Rectangle

    patch = Rectangle((box.x, box.y), box.width, box.height, facecolor=colour(what), edgecolor=colour("surface"),
                      linewidth=0.8)  # fmt: skip
    axes.add_artist(patch)
    picture.tip(patch, tip)
    text = fitting(name, box.width - 8)
    if box.height >= 14 and (text == name or len(text) > 3):
        written = axes.text(box.x + 4, box.y + min(10.0, box.height / 2), text, va="center", fontsize=SMALL,
                            color=colour("surface"))  # fmt: skip
        picture.tip(written, tip)
