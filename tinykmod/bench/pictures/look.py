"""How the pictures look: colours in light and dark, text, and what makes of a matplotlib figure an SVG for the web.

A picture is drawn in the light colours, which any program that shows SVG understands. Browsers exchange each for its
dark one by DARK_STYLE, in a file of its own as well as inside a page.
"""

from __future__ import annotations

import functools
import importlib.util
import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tinykmod.errors import TinykmodError

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

    from tinykmod.bench.figures import Figure

#: What is drawn -> its colour on a light and on a dark ground. Each light one stands for one thing only, as the dark
#: one is found by it. Those that carry text, or are text, have a contrast of 4.5 to the surface (WCAG 2.2, 1.4.3); so
#: text on a bar has the surface's colour.
COLOURS = {
    "surface": ("#ffffff", "#171a20"),
    "ink": ("#1b1f27", "#e8eaef"),
    "muted": ("#5d6675", "#a2abba"),
    "grid": ("#e3e6eb", "#2c313b"),
    "axis": ("#8d95a3", "#6c7585"),
    "first": ("#1a66b0", "#6fb3f5"),
    "other": ("#6d7787", "#939daf"),
    "path": ("#c2410c", "#ff9d5c"),
    "wait": ("#d3d8e0", "#3d4452"),  # carries text in ink
    "display": ("#8a4bb3", "#cf9df5"),
    # Where the time of a boot goes.
    "kernel": ("#596476", "#9aa5b8"),
    "unpacking": ("#a85a06", "#eeb164"),
    "loader": ("#7a4cba", "#bd9df3"),
    "modules": ("#1b6ab5", "#6eb2f4"),
    "handover": ("#0d7570", "#58c6bd"),
    # Why a module was loaded.
    "modalias": ("#1c69b4", "#70b4f6"),
    "dependency": ("#5e6a7d", "#9fa9bb"),
    "softdep": ("#866a12", "#dcb950"),
    "root": ("#187a48", "#62cb93"),
    "request": ("#7b4db9", "#bf9ff4"),
    "failed": ("#bf2d1d", "#ff8d7a"),
    # Lines of the trend, for a picture with more than one.
    "line1": ("#1d68b3", "#71b3f5"),
    "line2": ("#b0540b", "#f2ae62"),
    "line3": ("#197948", "#63cc94"),
    "line4": ("#8b4cb4", "#d09ef6"),
    "line5": ("#c02e4d", "#ff8fa6"),
    "line6": ("#0e7671", "#59c7be"),
}

DARK_STYLE = (
    "@media (prefers-color-scheme: dark) {\n"
    + "".join(
        f'.tinykmod-picture [style*="{what}: {light}"] {{ {what}: {dark} !important }}\n'
        for light, dark in COLOURS.values()
        for what in ("fill", "stroke")
    )
    + "}\n"
)
FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

#: Before a ratio, and where there is no figure.
TIMES, NONE = "\N{MULTIPLICATION SIGN}", "\N{EN DASH}"
#: Text sizes, in pixels of the picture.
SMALL, NORMAL = 11.0, 12.0

_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"


LEGEND_ROW = 20


class Entry(NamedTuple):
    """Of a legend."""

    colour: str
    text: str
    tip: str = ""

    @property
    def width(self) -> float:
        return text_width(self.text) + 34


def legend_rows(entries: Iterable[Entry], width: float) -> list[list[Entry]]:
    """ENTRIES in as many rows as they need in WIDTH pixels."""
    rows: list[list[Entry]] = [[]]
    for entry in entries:
        if rows[-1] and sum(other.width for other in rows[-1]) + entry.width > width:
            rows.append([])
        rows[-1].append(entry)
    return rows


def colour(what: str) -> str:
    return COLOURS[what][0]


def has_matplotlib() -> bool:
    return importlib.util.find_spec("matplotlib") is not None


def need_matplotlib() -> None:
    """Raises TinykmodError where there is none."""
    if not has_matplotlib():
        raise TinykmodError("matplotlib", "not installed, and pictures need it: pip install 'tinykmod[plots]'")


class Picture:
    """A figure of WIDTH x HEIGHT pixels. `name` tells its elements from those of others in the same page; `told` is
    what it shows, in a sentence, for those who cannot see it. Raises TinykmodError where matplotlib is missing."""

    def __init__(self, name: str, told: str, width: float, height: float) -> None:
        need_matplotlib()
        from matplotlib.figure import Figure

        self.name, self.told, self.width, self.height = name, told, width, height
        # The SVG backend's unit is a point, of which 72 are an inch: so that is a pixel.
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72, facecolor=colour("surface"))
        self._tips: dict[str, str] = {}

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        """Axes without a frame at pixels counted from the upper left corner, with grid lines down at its ticks."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        with _look(self.name):
            axes = self.figure.add_axes(box)
        axes.set_facecolor("none")
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0, labelsize=SMALL, labelcolor=colour("muted"), pad=5)
        axes.grid(axis="x", color=colour("grid"), linewidth=1)
        axes.set_axisbelow(True)
        return axes

    def tip(self, artist: Artist, text: str) -> None:
        """What is shown when the pointer rests on ARTIST."""
        artist.set_gid(f"{self.name}-{len(self._tips)}")
        self._tips[f"{self.name}-{len(self._tips)}"] = text

    def legend(self, rows: Sequence[Sequence[Entry]], left: float, top: float) -> None:
        """What legend_rows() made, from those pixels on; each row takes LEGEND_ROW."""
        from matplotlib.patches import Rectangle

        height = LEGEND_ROW * len(rows)
        axes = self.axes(left, top, self.width - left, height)
        axes.set_xlim(0, self.width - left)
        axes.set_ylim(height, 0)
        axes.axis("off")
        for number, entries in enumerate(rows):
            x, y = 0.0, LEGEND_ROW * (number + 0.5)
            for entry in entries:
                axes.add_artist(Rectangle((x, y - 5), 12, 10, facecolor=colour(entry.colour), linewidth=0))
                text = axes.text(x + 18, y, entry.text, va="center", fontsize=SMALL, color=colour("muted"))
                if entry.tip:
                    self.tip(text, entry.tip)
                x += entry.width

    def svg(self, *, alone: bool = True) -> str:
        """The picture. ALONE: as a file of its own; else for a page that has DARK_STYLE."""
        out = io.StringIO()
        with _look(self.name):
            # No date: the same boots give the same bytes.
            self.figure.savefig(out, format="svg", facecolor=colour("surface"), metadata={"Date": None})
        ET.register_namespace("", _SVG)
        ET.register_namespace("xlink", _XLINK)
        tree = ET.fromstring(out.getvalue())
        self._tidy(tree)
        if alone:
            style = ET.Element(f"{{{_SVG}}}style")
            style.text = DARK_STYLE
            tree.insert(1, style)
            tree.set("width", f"{self.width:g}")
            tree.set("height", f"{self.height:g}")
        text = ET.tostring(tree, encoding="unicode")
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n' if alone else text

    def _tidy(self, tree: ET.Element) -> None:
        """Take out what only makes the file larger, or would act on the page around it; put titles in."""
        for key in ("width", "height", "version"):
            tree.attrib.pop(key, None)
        tree.set("class", "tinykmod-picture")
        tree.set("role", "img")
        tree.set("aria-label", self.told)
        tree.set("stroke-linejoin", "round")
        used = {value for element in tree.iter() for value in _references(element)}
        for parent in list(tree.iter()):
            for child in list(parent):
                if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                    parent.remove(child)
            name = parent.get("id", "")
            if name in self._tips:
                title = ET.Element(f"{{{_SVG}}}title")
                title.text = self._tips[name]
                parent.insert(0, title)
            if name and name not in used:
                del parent.attrib["id"]
            if "style" in parent.attrib:
                parent.set("style", re.sub(r"'DejaVu Sans'", FONTS, parent.attrib["style"]))
            if "rotate(-0 " in parent.get("transform", ""):
                del parent.attrib["transform"]
            if "d" in parent.attrib:
                parent.set("d", _shorter(parent.attrib["d"]))
            for text in ("text", "tail"):
                if not (getattr(parent, text) or "").strip():
                    setattr(parent, text, None)
        title = ET.Element(f"{{{_SVG}}}title")
        title.text = self.told
        tree.insert(0, title)


@functools.cache
def text_width(text: str, size: float = SMALL, weight: str = "normal") -> float:
    """Pixels that TEXT takes at most: in DejaVu Sans, which is wider than what browsers use."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(family="DejaVu Sans", size=size, weight=weight)
    width, _, _ = text_to_path.get_text_width_height_descent(text, font, False)
    return float(width)


def fitting(text: str, room: float, size: float = SMALL, *, end: bool = False) -> str:
    """TEXT, cut so that it takes ROOM pixels at most; at its beginning where its END tells more."""
    if text_width(text, size) <= room:
        return text
    while text and text_width(f"{text}…", size) > room:
        text = text[1:] if end else text[:-1]
    return f"…{text}" if end else f"{text}…"


def time(seconds: float) -> str:
    """In the unit that a reader wants, three digits of it, not to be parted: `4.91 ms`, `491 ms`, `2.04 s`."""
    if not seconds:
        return "0\N{NO-BREAK SPACE}ms"
    for below, digits in ((0.009995, 2), (0.09995, 1), (0.9995, 0)):
        if abs(seconds) < below:
            return f"{seconds * 1e3:.{digits}f}\N{NO-BREAK SPACE}ms"
    return f"{seconds:.2f}\N{NO-BREAK SPACE}s"


def spread(figure: Figure) -> str:
    """What is said behind a median."""
    return f", {time(figure.least)} to {time(figure.most)} in {figure.runs} boots" if figure.runs > 1 else ""


def time_ticks(axis: Axis, end: float, most: int) -> None:
    """Ticks of AXIS, at most MOST steps, from 0 to END seconds, in one unit."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    factor, unit = (1e3, "ms") if end < 1.5 else (1.0, "s")
    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 5, 10], min_n_ticks=2))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * factor:g} {unit}" if value else "0"))


@contextmanager
def _look(salt: str) -> Iterator[None]:
    import matplotlib

    settings: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": salt,
        "font.family": ["DejaVu Sans"],
        "text.color": colour("ink"),
        "text.parse_math": False,
    }
    with matplotlib.rc_context(settings):
        yield


def _references(element: ET.Element) -> Iterator[str]:
    for key, value in element.attrib.items():
        if key == f"{{{_XLINK}}}href":
            yield value.removeprefix("#")
        elif "url(#" in value:
            yield from re.findall(r"url\(#([^)]+)\)", value)


def _shorter(path: str) -> str:
    """An SVG path's data with a hundredth of a pixel."""
    path = re.sub(r"-?\d+\.\d+", lambda number: f"{float(number[0]):.2f}".rstrip("0").rstrip("."), path)
    return " ".join(path.split())
