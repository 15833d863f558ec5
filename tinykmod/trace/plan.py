"""A plan: what one boot loaded and what its root sat behind, for the next boot's loader to begin with.

Text, to be kept beside an image's configuration and to be read by people. A line that begins with `#` is a comment.

    root ALIAS      a modalias of the root's device or of what it sits behind; fs-TYPE of its filesystem
    module NAME MILLISECONDS [MAKER MILLISECONDS]
                    a module, after those whose loads ended before its own, and how long that took; the module that
                    made the device which asked for it, and how long after the end of its load the device came
"""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.kmod.names import module_name
from tinykmod.trace.events import Event


class Load(NamedTuple):
    """How one module came in. Times are microseconds."""

    took: int
    maker: str = ""
    after: int = 0


class Plan(NamedTuple):
    """What a plan says."""

    root: list[str]  # aliases
    modules: dict[str, Load]


def plan_of(trace: Iterable[Event], source: str) -> Plan:
    """The plan of a boot's trace. Raises TinykmodError(SOURCE, ...) where the boot did not come to its root."""
    events = list(trace)
    types = [event["type"] for event in events if event["ev"] == "mounted"]
    loads = [event for event in events if event["ev"] == "module" and event["result"] == 0]
    if not types or not loads:
        raise TinykmodError(source, f"the boot {'loaded no module' if types else 'did not come to its root'}")
    loads.sort(key=lambda event: event["t"] + event["dur"])
    devices = {event["modalias"]: event for event in events if event["ev"] == "device"}
    served = {posixpath.basename(event["device"]): modalias for modalias, event in devices.items()}
    drivers = {event["by"]: event for event in reversed(loads) if event["why"] == "modalias"}
    modules: dict[str, Load] = {}
    for event in loads:
        maker, after = "", 0
        if event["why"] == "modalias" and event["by"] in devices:
            # /devices/pci0000:00/0000:00:05.0/usb1/1-1/1-1:1.0: what drives the nearest device above made it.
            device = devices[event["by"]]
            above = [served.get(name, "") for name in device["device"].split("/")[2:-1]]
            for driver in (drivers[modalias] for modalias in reversed(above) if modalias in drivers):
                maker, after = driver["name"], max(device["t"] - driver["t"] - driver["dur"], 0) // 1000
                break
        # Of a module that was asked for again the first load is the one that took its time.
        modules.setdefault(event["name"], Load(event["dur"] // 1000, maker, after))
    behind = [event["modalias"] for event in events if event["ev"] == "behind"]
    return Plan([*dict.fromkeys(behind), f"fs-{types[-1]}"], modules)


def format_plan(plan: Plan, release: str) -> str:
    """PLAN as text; RELEASE is the kernel's on which the boot was recorded."""
    lines = [f"# tinykmod plan, from a boot of {' '.join(release.split())}"]
    lines += (f"root {alias}" for alias in plan.root)
    for name, load in plan.modules.items():
        made = f" {load.maker} {load.after / 1000:.3f}" if load.maker else ""
        lines.append(f"module {name} {load.took / 1000:.3f}{made}")
    return "".join(f"{line}\n" for line in lines)


def read_plan(file: Path) -> Plan:
    """The plan that FILE holds. Raises TinykmodError(FILE or "FILE:LINE", why), OSError."""
    plan = Plan([], {})
    for number, line in enumerate(file.read_text(errors="surrogateescape").splitlines(), 1):
        try:
            match line.split():
                case []:
                    pass
                case [word, *_] if word.startswith("#"):
                    pass
                case ["root", _, *_]:
                    # An ACPI or platform device may have a blank in its modalias.
                    plan.root.append(line.strip().removeprefix("root").lstrip())
                case ["module", name, took]:
                    plan.modules[module_name(name)] = Load(_microseconds(took))
                case ["module", name, took, maker, after]:
                    load = Load(_microseconds(took), module_name(maker), _microseconds(after))
                    plan.modules[module_name(name)] = load
                case _:
                    raise ValueError("neither `root ALIAS` nor `module NAME MILLISECONDS [MAKER MILLISECONDS]`")
        except ValueError as error:
            raise TinykmodError(f"{file}:{number}", f"{error}: {line.strip()[:80]!r}") from None
    if not plan.modules:
        raise TinykmodError(file, "names no module")
    return plan


def plan_notes(plan: Plan | None, known: Collection[str]) -> list[str]:
    """A line for the modules of PLAN that are not among those KNOWN; the loader goes on without them."""
    missing = [name for name in plan.modules if name not in known] if plan is not None else []
    return [f"plan: {' '.join(missing)}: not here, and left out"] if missing else []


def _microseconds(text: str) -> int:
    """Of a number of milliseconds. Raises ValueError; a load that would have taken days is none either."""
    number = float(text) if re.fullmatch(r"\d+(\.\d*)?", text) else math.inf
    if number >= 1e8:
        raise ValueError(f"{text!r} is no time in milliseconds")
    return round(number * 1000)
