"""What a user may have meant by a name that is nowhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TypeVar

MOST = 5

_T = TypeVar("_T")


def nearest(word: str, names: Iterable[str]) -> list[str]:
    """The names most like WORD, the best first: those spelled nearly so, then those that WORD is part of."""
    known = sorted(set(names))
    within = sorted((name for name in known if len(word) > 2 and word in name), key=len)
    return list(dict.fromkeys([*get_close_matches(word, known, MOST, 0.7), *within]))[:MOST]


def nearest_aliases(modalias: str, aliases: Sequence[tuple[str, _T]]) -> list[tuple[str, _T]]:
    """The patterns, each with what comes with it, that have most of their beginning in common with MODALIAS, beyond
    the bus."""
    bus, colon, _ = modalias.partition(":")
    shared = [(_common(modalias, alias), alias, more) for alias, more in aliases if alias.startswith(f"{bus}:")]
    most = max((length for length, *_ in shared), default=0)
    if not colon or most <= len(bus) + 1:
        return []
    return [(alias, more) for length, alias, more in shared if length == most][:MOST]


def _common(one: str, other: str) -> int:
    """How many characters at their beginnings are the same."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
