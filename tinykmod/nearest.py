"""What a user may have meant by a name that is nowhere."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

MOST = 5
#: Less alike than this is rather something else than misspelled.
ALIKE = 0.7


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names most like WORD, the best first: those spelled nearly so, then those that WORD is part of."""
    known = sorted(set(names))
    within = sorted((name for name in known if len(word) > 2 and word in name), key=len)
    return list(dict.fromkeys([*get_close_matches(word, known, MOST, ALIKE), *within]))[:MOST]


def hint(word: str, names: Iterable[str]) -> str:
    """`; nearest: A, B` for a message that there is no WORD; empty where none is like it."""
    near = nearest(word, names)
    return f"; nearest: {', '.join(near)}" if near else ""


def misspelled(word: str, names: Iterable[str]) -> str:
    """As hint(), for a WORD that stands in a file among others of its kind: the one that it is a misspelling of."""
    near = get_close_matches(word, list(names), 1, 0.8)
    return f"; nearest: {near[0]}" if near else ""
