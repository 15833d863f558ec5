"""Where the time of whole boots goes: a bar for each contender, from the kernel's start to the root's init."""

from __future__ import annotations

from collections.abc import Mapping

from tinykmod.bench.measured import Measured
from tinykmod.bench.pictures.bars import Bars
from tinykmod.bench.pictures.look import LEGEND_ROW, Entry, Picture, legend_rows, time
from tinykmod.bench.pictures.phases import PHASES, shares
from tinykmod.errors import TinykmodError


def draw(boots: Mapping[str, Measured], name: str = "shares", *, width: float = 720) -> Picture:
    """A bar of PHASES for each contender (its name -> one boot), the quickest first.

    Raises TinykmodError where no boot came to its image's init.
    """
    found = {contender: parts for contender, boot in boots.items() if sum((parts := shares(boot)).values())}
    if not found:
        raise TinykmodError("shares", "no boot came to its image's init")
    totals = {contender: sum(parts.values()) for contender, parts in found.items()}
    order = sorted(found, key=lambda contender: totals[contender])
    legend = legend_rows([Entry(phase, what.partition(":")[0], what) for phase, what in PHASES.items()], width)
    told = "From the kernel's start to the root's init: " + "; ".join(
        f"{contender} {time(totals[contender])}, of which "
        + ", ".join(f"{phase} {time(took)}" for phase, took in found[contender].items() if took)
        for contender in order
    )
    texts = [time(totals[contender]) for contender in order]
    bars = Bars(name, told, width, order, texts, max(totals.values()), LEGEND_ROW * len(legend) + 8)
    bars.picture.legend(legend, 1, 0)
    for number, contender in enumerate(order):
        bars.name(number, contender)
        at = 0.0
        for phase, took in found[contender].items():
            if took:
                tip = f"{contender}: {time(took)}, {took / totals[contender]:.0%} of the boot; {PHASES[phase]}"
                bars.bar(number, at, took, phase, tip, time(took))
                at += took
        bars.text(number, at, texts[number], bold=True)
    return bars.picture
