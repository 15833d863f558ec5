"""A plan: what one boot loaded and what its root sat behind, for the next boot's loader to begin with.

Text, to be kept beside an image's configuration and to be read by people. `#` begins a comment.

    root ALIAS                  a modalias of the root's device or of what it sits behind; fs-TYPE of its filesystem
    module NAME MILLISECONDS    a module, after those whose loads ended before its own, and how long that took
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import module_name
from tinykmod.trace.events import Event


class Plan(NamedTuple):
    """What a plan says."""

    root: list[str]  # aliases
    modules: dict[str, int]  # name -> microseconds of its load


def plan_of(trace: Iterable[Event], source: str) -> Plan:
    """The plan of a boot's trace. Raises TinykmodError(SOURCE, ...) where the boot did not come to its root."""
    events = list(trace)
    types = [event["type"] for event in events if event["ev"] == "mounted"]
    loads = [event for event in events if event["ev"] == "module" and event["result"] == 0]
    if not types or not loads:
        raise TinykmodError(source, f"the boot {'loaded no module' if types else 'did not come to its root'}")
    loads.sort(key=lambda event: event["t"] + event["dur"])
    modules: dict[str, int] = {}
    for event in loads:
        # Of a module that was asked for again the first load is the one that took its time.
        modules.setdefault(event["name"], event["dur"] // 1000)
    behind = [event["modalias"] for event in events if event["ev"] == "behind"]
    return Plan([*dict.fromkeys(behind), f"fs-{types[-1]}"], modules)


def format_plan(plan: Plan, release: str) -> str:
    """PLAN as text; RELEASE is the kernel's on which the boot was recorded."""
    lines = [f"# tinykmod plan, from a boot of {release}", *(f"root {alias}" for alias in plan.root)]
    lines += (f"module {name} {took / 1000:.3f}" for name, took in plan.modules.items())
    return "".join(f"{line}\n" for line in lines)


def read_plan(file: Path) -> Plan:
    """The plan that FILE holds. Raises TinykmodError("FILE:LINE", why), OSError."""
    plan = Plan([], {})
    for number, line in enumerate(file.read_text(errors="surrogateescape").splitlines(), 1):
        match line.partition("#")[0].split():
            case []:
                pass
            case ["root", alias]:
                plan.root.append(alias)
            case ["module", name, took] if (microseconds := _microseconds(took)) is not None:
                plan.modules[module_name(name)] = microseconds
            case _:
                raise TinykmodError(f"{file}:{number}", f"no `root ALIAS` and no `module NAME MILLISECONDS`: {line}")
    return plan


def plan_notes(plan: Plan | None, known: Collection[str]) -> list[str]:
    """A line for the modules of PLAN that are not among those KNOWN; the loader goes on without them."""
    missing = [name for name in plan.modules if name not in known] if plan is not None else []
    return [f"plan: {' '.join(missing)}: not here, and left out"] if missing else []


def _microseconds(text: str) -> int | None:
    """Of a number of milliseconds; None where it is none. A load that would have taken days is none either."""
    try:
        number = float(text)
    except ValueError:
        return None
    return round(number * 1000) if math.isfinite(number) and 0 <= number < 1e8 else None
