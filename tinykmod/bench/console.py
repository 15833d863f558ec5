"""A serial console's text as it comes."""

from __future__ import annotations

import re
from collections.abc import Callable

#: Terminal sequences: the firmware's and a shell's.
_ESCAPES = re.compile(r"\x1b(\[[0-9;?=]*[A-Za-z]|c)")


class Text:
    """`lines` are whole; ON_LINE is called with each as it comes."""

    def __init__(self, on_line: Callable[[str], None] | None = None) -> None:
        self.lines: list[str] = []
        self._rest = b""
        self._on_line = on_line

    @property
    def rest(self) -> str:
        """What came after the last newline: a prompt has none after it."""
        return _clean(self._rest)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in [*self.lines, *([self.rest] if self._rest else [])])

    def take(self, data: bytes) -> list[str]:
        """The lines that DATA completes, and what follows the last of them."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [_clean(raw) for raw in whole]
        self.lines += lines
        for line in lines:
            if self._on_line:
                self._on_line(line)
        return [*lines, self.rest]


def _clean(raw: bytes) -> str:
    return _ESCAPES.sub("", raw.decode(errors="replace")).rstrip("\r")
