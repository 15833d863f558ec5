"""Pieces of HTML."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from tinykmod.bench.pictures.look import Picture


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


def esc(text: object) -> Html:
    """TEXT as HTML; what is HTML already stays as it is."""
    return text if isinstance(text, Html) else Html(escape(str(text)))


def tag(name: str, *content: object, **attributes: str) -> Html:
    """An element; a trailing _ of an attribute's name (class_) is not part of it."""
    words = "".join(f' {key.rstrip("_")}="{escape(value)}"' for key, value in attributes.items() if value)
    return Html(f"<{name}{words}>{''.join(map(esc, content))}</{name}>")


def table(head: Sequence[object], rows: Iterable[Sequence[object]], *, marked: frozenset[int] = frozenset()) -> Html:
    """The first column is the row's head, the others are figures. Rows whose numbers are in MARKED stand out."""
    heads = Html("".join(tag("th", cell, scope="col") for cell in head))
    lines = Html("".join(
        tag("tr", tag("th", cells[0], scope="row"), *(tag("td", cell) for cell in cells[1:]),
            class_="marked" if number in marked else "")
        for number, cells in enumerate(rows)
    ))  # fmt: skip
    made = tag("table", tag("thead", tag("tr", heads)), tag("tbody", lines))
    return tag("div", made, class_="scroll", tabindex="0")


def terms(pairs: Iterable[tuple[object, object]]) -> Html:
    return tag("dl", *(tag("div", tag("dt", term), tag("dd", told)) for term, told in pairs))


def figure(caption: object, wide: Picture, narrow: Picture | None = None) -> Html:
    """WIDE, and on a screen with no room for it NARROW; without that one it is scrolled."""
    drawn = [tag("div", Html(wide.svg(alone=False)), class_="wide" if narrow else "scroll",
                 style=f"--width: {wide.width:g}px", tabindex="" if narrow else "0")]  # fmt: skip
    if narrow:
        drawn.append(tag("div", Html(narrow.svg(alone=False)), class_="narrow"))
    return tag("figure", tag("figcaption", caption), *drawn)


def details(summary: object, *content: object, open_: bool = False) -> Html:
    body = "".join(map(esc, content))
    return Html(f"<details{' open' if open_ else ''}><summary>{esc(summary)}</summary>{body}</details>")
