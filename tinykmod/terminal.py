"""How output looks: its width, its colours, and pages of labelled paragraphs that fit a narrow terminal."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence

#: Columns of a page where the output is no terminal, and at most where it is one: longer lines are hard to read.
PIPE, WIDEST = 80, 100
NARROWEST = 40
#: As many as any line has.
UNLIMITED = 1 << 16
LABEL = 12

_BOLD, _PLAIN = "\033[1m", "\033[m"


def columns(pipe: int = UNLIMITED, most: int = UNLIMITED) -> int:
    """The columns of a line: those in $COLUMNS, else the terminal's but MOST at most, else, in a PIPE, those.

    What reads a pipe wants a line for each finding; so these are not wrapped unless somebody says how.
    """
    said = os.environ.get("COLUMNS", "")
    if said.isdecimal() and int(said):
        return max(NARROWEST, int(said))
    if not sys.stdout.isatty():
        return pipe
    return max(NARROWEST, min(shutil.get_terminal_size((PIPE, 24)).columns, most))


def coloured() -> bool:
    """Whether the reader sees colours and bold type as such: on a terminal, unless NO_COLOR is set (no-color.org)."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Page:
    """Lines under construction, of at most `columns` where words allow it."""

    def __init__(self, width: int | None = None, bold: bool | None = None) -> None:
        self.columns = width or columns(PIPE, WIDEST)
        self._bold = coloured() if bold is None else bold
        self.lines: list[str] = []

    def __str__(self) -> str:
        return "\n".join(self.lines)

    @property
    def room(self) -> int:
        """Columns beside the labels."""
        return self.columns - LABEL

    def title(self, text: str) -> None:
        """A line of its own, wrapped, in bold up to its first blank."""
        first, *others = wrapped(text, self.columns, "", "  ")
        name, blank, rest = first.partition(" ")
        self.lines += [self._strong(name) + blank + rest, *others]

    def add(self, label: str, texts: str | Iterable[str], hanging: int = 2) -> None:
        """LABEL and beside it each of TEXTS on lines of its own, what does not fit on one being HANGING columns
        further to the right; nothing where there is no text."""
        for text in filter(None, [texts] if isinstance(texts, str) else texts):
            indent = text[: len(text) - len(text.lstrip(" "))]
            for line in wrapped(text.lstrip(" "), self.room, indent, indent + " " * hanging):
                self.lines.append((self._strong(label) + " " * (LABEL - len(label)) + line).rstrip())
                label = ""

    def _strong(self, text: str) -> str:
        return f"{_BOLD}{text}{_PLAIN}" if self._bold and text else text


def shown(words: Sequence[str], room: int, more: str = "and {} more") -> str:
    """As many of WORDS as fit into ROOM columns, at least one, and how many more there are."""
    for count in range(len(words), 1, -1):
        rest = len(words) - count
        text = " ".join([*words[:count], *([more.format(rest)] if rest else [])])
        if len(text) <= room:
            return text
    return " ".join([*words[:1], *([more.format(len(words) - 1)] if len(words) > 1 else [])])


def size(count: int) -> str:
    """A number of bytes as a reader wants it: `812 B`, `62.3 KiB`, `4.10 MiB`."""
    if count < 1024:
        return f"{count} B"
    for unit, bytes_ in (("KiB", 1 << 10), ("MiB", 1 << 20)):
        value = count / bytes_
        if value < 999.5:
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return f"{count / (1 << 30):.2f} GiB"


def whole_size(power: int) -> str:
    """A power of two of bytes: `512 B`, `4 KiB`, `1 MiB`."""
    unit, bytes_ = next((u, b) for u, b in (("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)) if power >= b)
    return f"{power // bytes_} {unit}"


def plural(count: int, thing: str) -> str:
    """`1 module`, `2 modules`."""
    return f"{count} {thing}{'' if count == 1 else 's'}"


def printable(text: str) -> str:
    """TEXT, which may be from any file, without what would act on a terminal."""
    return "".join(char if char.isprintable() else " " if char in "\t\n" else "?" for char in text)


def wrapped(text: str, room: int, first: str, others: str) -> list[str]:
    """TEXT, which may come from a damaged file, in lines of ROOM columns where words allow it; the first begins with
    FIRST, the OTHERS with that."""
    return textwrap.wrap(
        printable(text), room, initial_indent=first, subsequent_indent=others, break_long_words=False,
        break_on_hyphens=False,
    ) or [""]  # fmt: skip
