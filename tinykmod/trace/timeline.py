"""A boot's trace as a table for people: which module came when, how long it took, and why it was loaded."""

from __future__ import annotations

import errno
import posixpath
from collections.abc import Iterable

from tinykmod.terminal import WIDEST, columns
from tinykmod.trace.events import Event

#: `why` of a module's event -> what the table makes of its `by`; a `modalias` is shown with its device.
REASONS = {
    "dependency": "{} needs it",
    "softdep": "softdep of {}",
    "root": "the root's filesystem is {}",
    "request": "the kernel asked for {}",
    "plan": "of the plan",
}

#: The events that are not about one module, as a line tells them.
MOMENTS = {
    "start": "init started (tinykmod {version}, kernel {release})",
    "index": "index: {modules} modules, {bytes} bytes",
    "fallback": "no index, the text files instead: {why}",
    "settled": "settled: all devices looked at, no load under way; {modules} modules loaded, {failed} failed",
    "root": "root device there: {device} ({spec})",
    "mounted": "root mounted: {device}, {type}",
    "left": "{name} is still in its init; the boot goes on without it",
    "handover": "hand-over to {init}",
}

#: What else happened: nanoseconds of the trace's clock, text.
Moment = tuple[int, str]


def started(trace: list[Event]) -> int:
    """When the loader began, in nanoseconds of the trace's clock: what times are counted from."""
    return next((int(event["t"]) for event in trace if event["ev"] == "start"), int(trace[0]["t"]))


def table(trace: list[Event], moments: Iterable[Moment] = (), *, width: int | None = None) -> str:
    """Modules and moments in order of time, one a line; times are milliseconds since the loader began.

    width is in columns; the terminal's where it is None.
    """
    width = width or columns(WIDEST)
    start = started(trace)
    loads = [event for event in trace if event["ev"] == "module"]
    devices = {event["modalias"]: event["device"] for event in trace if event["ev"] == "device"}
    told = [(event["t"], MOMENTS[event["ev"]].format(**event)) for event in trace if event["ev"] in MOMENTS]

    column = max([len("module"), *(len(event["name"]) for event in loads)])
    results = [result(event) for event in loads]
    outcome = max([len("result"), *map(len, results)])
    left = width - (8 + 2 + column + 2 + 7 + 2 + outcome + 2)
    # (time, order among equals, line): a moment comes before the loads that begin with it.
    rows = [(at, 0, f"{ms(at - start):>8}  -- {_cut(text, width - 13)}") for at, text in [*told, *moments]]
    for event, ended in zip(loads, results, strict=True):
        began = event["t"]
        line = f"{ms(began - start):>8}  {event['name']:<{column}}  {ms(event['dur']):>7}  {ended:<{outcome}}  "
        rows.append((began, 1, line + _cut_reason(event, devices, left)))
    header = f"{'ms':>8}  {'module':<{column}}  {'took ms':>7}  {'result':<{outcome}}  reason"
    ordered = [line.rstrip() for *_, line in sorted(rows, key=lambda row: row[:2])]
    return "\n".join([header, *ordered])


def summary(trace: list[Event], moments: Iterable[Moment] = ()) -> list[str]:
    """How many modules, and when the root was reached. moments are named as they are."""
    loads = [event for event in trace if event["ev"] == "module"]
    loaded = sum(event["result"] == 0 for event in loads)
    # No fault: the driver found nothing to do on this machine.
    idle = sum(event["result"] == -errno.ENODEV for event in loads)
    counts = f"{loaded} loaded, {len(loads) - loaded - idle} failed, {idle} without a device (ENODEV)"
    lines = [f"modules  {counts}; {ms(sum(event['dur'] for event in loads))} ms in the kernel, added up"]
    lines += [f"failed   {event['name']}: {result(event)}{': ' if 'error' in event else ''}{event.get('error', '')}"
              for event in loads if event["result"] not in (0, -errno.ENODEV)]  # fmt: skip
    dropped = [event["name"] for event in trace if event["ev"] == "dropped"]
    if dropped:
        lines.append(f"dropped  {len(dropped)} queued when the root was mounted: {' '.join(dropped)}")
    start = started(trace)
    at = {event["ev"]: event["t"] for event in trace}
    reached = [
        *((name, at[ev]) for ev, name in (("root", "root device"), ("mounted", "mounted")) if ev in at),
        *((text, when) for when, text in moments),
    ]
    if reached:
        lines.append(f"reached  {', '.join(f'{name} {ms(t - start)} ms' for name, t in reached)} after init started")
    return lines


def reason(event: Event) -> str:
    """Why a module was loaded, in words; for a modalias that itself."""
    if event["why"] == "modalias":
        return str(event["by"])
    words: str = REASONS.get(event["why"], event["why"] + " {}")
    return words.format(event["by"])


def result(event: Event) -> str:
    """`ok`, or the name of a module's errno."""
    number = -event["result"]
    return "ok" if number == 0 else errno.errorcode.get(number, str(event["result"]))


def ms(nanoseconds: int) -> str:
    """Milliseconds with one decimal."""
    return f"{nanoseconds / 1e6:.1f}"


def _cut_reason(event: Event, devices: dict[str, str], room: int) -> str:
    """The reason in ROOM columns: a long modalias is cut, the device after it is not."""
    if event["why"] != "modalias":
        return _cut(reason(event), room)
    device = posixpath.basename(devices.get(event["by"], ""))
    of = f" of {device}" if device else ""
    return _cut(event["by"], max(room - len(of), 16)) + of


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 3, 0)] + "..."
