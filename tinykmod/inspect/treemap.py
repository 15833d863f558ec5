"""Rectangles whose areas are sizes: the squarified treemap of Bruls, Huizing and van Wijk (2000)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Box(NamedTuple):
    """A rectangle by its upper left corner; the unit is the caller's."""

    x: float
    y: float
    width: float
    height: float

    def inside(self, margin: float) -> Box:
        """What is left of it within a MARGIN."""
        return Box(
            self.x + margin, self.y + margin, max(0.0, self.width - 2 * margin), max(0.0, self.height - 2 * margin)
        )


def squarified(sizes: Sequence[float], box: Box) -> list[Box]:
    """A rectangle of BOX for each of SIZES, which are positive and descend, as near to squares as rows allow."""
    boxes: list[Box] = []
    rest = list(sizes)
    while rest:
        scale = box.width * box.height / sum(rest)
        side = min(box.width, box.height)
        count = 1
        while count < len(rest) and _worst(rest[: count + 1], side, scale) <= _worst(rest[:count], side, scale):
            count += 1
        row, rest = rest[:count], rest[count:]
        thick = sum(row) * scale / side if side else 0.0
        at = 0.0
        for size in row:
            length = size * scale / thick if thick else 0.0
            if box.width >= box.height:
                boxes.append(Box(box.x, box.y + at, thick, length))
            else:
                boxes.append(Box(box.x + at, box.y, length, thick))
            at += length
        if box.width >= box.height:
            box = Box(box.x + thick, box.y, max(0.0, box.width - thick), box.height)
        else:
            box = Box(box.x, box.y + thick, box.width, max(0.0, box.height - thick))
    return boxes


def _worst(row: Sequence[float], side: float, scale: float) -> float:
    """How far from a square the worst rectangle of a row is that lies along SIDE."""
    total = sum(row) * scale
    if not total or not side:
        return 0.0
    return max(side**2 * max(row) * scale / total**2, total**2 / (side**2 * min(row) * scale))
