"""docs/benchmarks.md: what `make` measures goes between two lines of it."""

from __future__ import annotations

from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.files import replacing

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "benchmarks.md"


def update(command: str, text: str) -> None:
    """Put TEXT where COMMAND (`make bench`) writes. Raises TinykmodError where the document has no such place."""
    begin, end = f"<!-- {command} writes what follows -->\n", "<!-- up to here -->\n"
    before, found, rest = DOCUMENT.read_text().partition(begin)
    _, ended, after = rest.partition(end)
    if not (found and ended):
        raise TinykmodError(DOCUMENT, f"has no lines {begin.strip()} and {end.strip()}")
    with replacing(DOCUMENT) as out:
        out.write(f"{before}{begin}\n{text}\n{end}{after}".encode())
