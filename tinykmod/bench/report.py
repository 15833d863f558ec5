"""A boot as a table for people: which module came when, how long it took, and why it was loaded."""

from __future__ import annotations

import errno
import posixpath
import re
import shutil
from pathlib import Path

from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.qemu import BootResult
from tinykmod.bench.trace import Event
from tinykmod.errors import TinykmodError

#: `why` of a module's event -> what the timeline makes of its `by`; a `modalias` is shown with its device.
REASONS = {
    "dependency": "{} needs it",
    "softdep": "softdep of {}",
    "root": "the root's filesystem is {}",
    "request": "the kernel asked for {}",
}


def timeline(
    result: BootResult, *, image: Path | None = None, loader: Path | None = None, width: int | None = None
) -> str:
    """The boot's modules and moments in order of time, and a summary; times are milliseconds since init started.

    IMAGE and LOADER are only named with their sizes. WIDTH is in columns; the terminal's where it is None. Raises
    TinykmodError when the boot printed no trace.
    """
    if not result.trace:
        raise TinykmodError("trace", "the boot printed none (root's init prints it from /run/tinykmod)")
    width = width or shutil.get_terminal_size((100, 24)).columns
    start = next((event["t"] for event in result.trace if event["ev"] == "start"), result.trace[0]["t"])
    loads = [event for event in result.trace if event["ev"] == "module"]
    devices = {event["modalias"]: event["device"] for event in result.trace if event["ev"] == "device"}
    moments = [*_moments(result.trace), *_root_init(result, start)]

    column = max([len("module"), *(len(event["name"]) for event in loads)])
    results = [_result(event) for event in loads]
    outcome = max([len("result"), *map(len, results)])
    left = width - (8 + 2 + column + 2 + 7 + 2 + outcome + 2)
    # (time, order among equals, line): a moment comes before the loads that begin with it.
    rows = [(at, 0, f"{_ms(at - start):>8}  -- {_cut(text, width - 13)}") for at, text in moments]
    for event, ended in zip(loads, results, strict=True):
        began = event["t"]
        line = f"{_ms(began - start):>8}  {event['name']:<{column}}  {_ms(event['dur']):>7}  {ended:<{outcome}}  "
        rows.append((began, 1, line + _reason(event, devices, left)))
    header = f"{'ms':>8}  {'module':<{column}}  {'took ms':>7}  {'result':<{outcome}}  reason"
    ordered = [line.rstrip() for *_, line in sorted(rows, key=lambda row: row[:2])]
    return "\n".join([header, *ordered, "", *_summary(result, image, loader)]) + "\n"


def kernel_stamp(result: BootResult, pattern: str) -> float | None:
    """Seconds of the first line of the kernel's log in which the regular expression PATTERN is found."""
    return next((seconds for seconds, text in result.dmesg if re.search(pattern, text)), None)


def _moments(trace: list[Event]) -> list[tuple[int, str]]:
    """The events that are not about one module, as (nanoseconds, text)."""
    texts = {
        "start": "init started (tinykmod {version}, kernel {release})",
        "index": "index: {modules} modules, {bytes} bytes",
        "fallback": "no index, the text files instead: {why}",
        "root": "root device there: {device} ({spec})",
        "mounted": "root mounted: {device}, {type}",
        "handover": "hand-over to {init}",
    }
    return [(event["t"], texts[event["ev"]].format(**event)) for event in trace if event["ev"] in texts]


def _root_init(result: BootResult, start: int) -> list[tuple[int, str]]:
    """When the root's init ran. Both of its ends are kernel log stamps: that clock's zero is not the trace's."""
    began = kernel_stamp(result, r"^tinykmod: (.*: )?init started")
    ran = kernel_stamp(result, f"^{re.escape(SENTINEL)}")
    if began is None or ran is None:
        return []
    return [(start + round((ran - began) * 1e9), "root's init running")]


def _reason(event: Event, devices: dict[str, str], room: int) -> str:
    """Why a module was loaded, in ROOM columns: a long modalias is cut, the device after it is not."""
    if event["why"] != "modalias":
        return _cut(REASONS.get(event["why"], event["why"] + " {}").format(event["by"]), room)
    device = posixpath.basename(devices.get(event["by"], ""))
    of = f" of {device}" if device else ""
    return _cut(event["by"], max(room - len(of), 16)) + of


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 3, 0)] + "..."


def _result(event: Event) -> str:
    number = -event["result"]
    return "ok" if number == 0 else errno.errorcode.get(number, str(event["result"]))


def _summary(result: BootResult, image: Path | None, loader: Path | None) -> list[str]:
    trace = result.trace or []
    loads = [event for event in trace if event["ev"] == "module"]
    loaded = sum(event["result"] == 0 for event in loads)
    # No fault: the driver found nothing to do on this machine.
    idle = sum(event["result"] == -errno.ENODEV for event in loads)
    counts = f"{loaded} loaded, {len(loads) - loaded - idle} failed, {idle} without a device (ENODEV)"
    lines = [f"modules  {counts}; {_ms(sum(event['dur'] for event in loads))} ms in the kernel, added up"]
    start = next((event["t"] for event in trace if event["ev"] == "start"), trace[0]["t"])
    reached = {event["ev"]: event["t"] for event in trace}
    root_init = [at for at, _ in _root_init(result, start)]
    moments = [
        *(f"{name} {_ms(reached[ev] - start)} ms" for ev, name in (("root", "root device"), ("mounted", "mounted"))
          if ev in reached),
        *(f"root's init {_ms(at - start)} ms" for at in root_init),
    ]  # fmt: skip
    if moments:
        lines.append(f"reached  {', '.join(moments)} after init started")
    init = kernel_stamp(result, "Run /init as init process")
    if init is not None:
        lines.append(f"kernel   {init * 1e3:.0f} ms from its start to /init")
    files = [f"{what} {path.stat().st_size / 1024:,.0f} KiB" for what, path in (("image", image), ("loader", loader))
             if path]  # fmt: skip
    if files:
        lines.append(f"size     {', '.join(files)}")
    return lines


def _ms(nanoseconds: int) -> str:
    return f"{nanoseconds / 1e6:.1f}"
