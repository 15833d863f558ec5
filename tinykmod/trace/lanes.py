"""Puts spans of time side by side, so that no two of one lane overlap."""

from __future__ import annotations

from collections.abc import Sequence


def lanes(spans: Sequence[tuple[float, float]]) -> list[int]:
    """The lane of each of SPANS (begin, end), from 0 on: the first that is free, in order of their beginnings."""
    ends: list[float] = []
    chosen = [0] * len(spans)
    for number in sorted(range(len(spans)), key=lambda one: spans[one]):
        begin, end = spans[number]
        lane = next((lane for lane, free in enumerate(ends) if free <= begin), len(ends))
        ends[lane : lane + 1] = [end]
        chosen[number] = lane
    return chosen
