"""`tinykmod stats --plot`: how large modules are, and which classes they are of, as one SVG."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinykmod.bench.pictures.look import NORMAL, SMALL, Picture, colour, fitting, text_width
from tinykmod.errors import TinykmodError
from tinykmod.inspect.statistics import NO_CLASS, Bin, Statistics
from tinykmod.inspect.terminal import plural, size, whole_size
from tinykmod.inspect.treemap import Box, squarified

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 720.0
_SIZES, _MAP, _TITLE = 170.0, 400.0, 30.0
#: Classes -> colours of the pictures' look.
COLOURS = {
    "storage": "line1", "network": "line3", "gpu": "line4", "filesystem": "line2", "input": "line6", "bus": "line5",
    "platform": "dependency", "usb": "softdep", NO_CLASS: "other",
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
    picture = Picture("stats", told, WIDTH, 2 * _TITLE + _SIZES + 26 + _MAP)
    where = "on disk" if stats.tree else "in memory"
    total = f"{plural(len(stats.modules), 'module')} of {stats.release}, {size(stats.total)} {where}"
    heading = f"{total}, by size; a bar goes up to the next one's"
    _title(picture, 0, heading)
    _histogram(picture, stats.sizes)
    _title(picture, _TITLE + _SIZES + 26, "by class; each area is a module's size")
    _map(picture, stats)
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


def _map(picture: Picture, stats: Statistics) -> None:
    axes = picture.axes(0, 2 * _TITLE + _SIZES + 26, picture.width, _MAP)
    axes.set_xlim(0, picture.width)
    axes.set_ylim(_MAP, 0)
    axes.axis("off")
    groups: dict[str, list[tuple[str, int]]] = {}
    for name, bytes_ in stats.largest():
        if bytes_:
            groups.setdefault(stats.kinds.get(name, NO_CLASS), []).append((name, bytes_))
    totals = {kind: sum(bytes_ for _, bytes_ in modules) for kind, modules in groups.items()}
    order = sorted(totals, key=lambda kind: (-totals[kind], kind))
    boxes = squarified([totals[kind] for kind in order], Box(0, 0, picture.width, _MAP))
    for kind, box in zip(order, boxes, strict=True):
        modules = groups[kind]
        shown, rest = modules[:MOST], modules[MOST:]
        if rest:
            shown = sorted([*shown, (f"{len(rest)} smaller ones", sum(bytes_ for _, bytes_ in rest))],
                           key=lambda item: -item[1])  # fmt: skip
        what = COLOURS.get(kind, "other")
        heading = f"{kind} {size(totals[kind])}"
        fits = box.height > 40 and text_width(heading, SMALL, "bold") + 6 < box.width
        if fits:
            axes.text(box.x + 3, box.y + 9, heading, va="center", fontsize=SMALL, weight="bold", color=colour(what))
        inner = box.inside(1, 18 if fits else 1)
        for (name, bytes_), each in zip(shown, squarified([count for _, count in shown], inner), strict=True):
            _area(picture, axes, each, what, name, f"{name} ({kind}): {size(bytes_)}")


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
