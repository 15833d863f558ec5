"""Rows of names with horizontal bars of time: beside the names where there is room, else below each."""

from __future__ import annotations

from collections.abc import Sequence

from tinykmod.bench.pictures.look import NORMAL, SMALL, Picture, colour, fitting, text_width, time_ticks

_BAR, _TICKS = 18, 30
_NARROW = 460


class Bars:
    """`told` as of Picture; NAMES from above to below, TEXTS behind the bars of each, END seconds the longest bar.

    TOP pixels above are left for others.
    """

    def __init__(
        self, name: str, told: str, width: float, names: Sequence[str], texts: Sequence[str], end: float,
        top: float = 2,
    ) -> None:  # fmt: skip
        self._narrow = width < _NARROW
        self._row = 46 if self._narrow else 32
        after = max(text_width(text, weight="bold") for text in texts) + 16
        self._before = 3.0 if self._narrow else min(max(text_width(one, NORMAL, "bold") for one in names) + 14,
                                                    width * 0.34)  # fmt: skip
        height = self._row * len(names)
        self.picture = Picture(name, told, width, top + height + _TICKS)
        self.axes = self.picture.axes(self._before + 1, top, width - self._before - after, height)
        self.axes.set_xlim(0, end)
        self.axes.set_ylim(height, 0)
        self.axes.set_yticks([])
        time_ticks(self.axes.xaxis, end, 3 if self._narrow else 6)
        #: Pixels of a second.
        self.scale = (width - self._before - after) / end

    def y(self, number: int) -> float:
        """Where the middle of the bar of row NUMBER is."""
        return self._row * number + (self._row - _BAR / 2 - 4 if self._narrow else self._row / 2)

    def name(self, number: int, text: str, *, bold: bool = False) -> None:
        weight = "bold" if bold else "normal"
        if self._narrow:
            self.axes.annotate(fitting(text, self.picture.width - 8, NORMAL), (0, self.y(number) - _BAR / 2 - 4),
                               xycoords=("axes fraction", "data"), va="bottom", fontsize=NORMAL, weight=weight,
                               color=colour("ink"))  # fmt: skip
        else:
            self.axes.annotate(fitting(text, self._before - 12, NORMAL), (0, self.y(number)), (-10, 0), ha="right",
                               xycoords=("axes fraction", "data"), textcoords="offset pixels", va="center",
                               fontsize=NORMAL, weight=weight, color=colour("ink"))  # fmt: skip

    def bar(self, number: int, begin: float, took: float, what: str, tip: str, text: str = "") -> None:
        """From BEGIN on, TOOK seconds long, in the colour of WHAT; TEXT is on it where there is room."""
        [bar] = self.axes.barh([self.y(number)], [took], _BAR, left=begin, color=colour(what),
                               edgecolor=colour("surface"), linewidth=0.8)  # fmt: skip
        self.picture.tip(bar, tip)
        if text and text_width(text) + 6 <= took * self.scale:
            written = self.axes.text(begin + took / 2, self.y(number), text, ha="center", va="center",
                                     fontsize=SMALL, color=colour("surface"))  # fmt: skip
            self.picture.tip(written, tip)

    def text(self, number: int, at: float, text: str, what: str = "ink", *, bold: bool = False) -> None:
        """Behind AT."""
        self.axes.annotate(text, (at, self.y(number)), (8, 0), textcoords="offset pixels", va="center",
                           fontsize=SMALL, color=colour(what), weight="bold" if bold else "normal")  # fmt: skip
