"""A boot's trace for other programs: Chrome's trace viewer (and Perfetto), a spreadsheet, a picture."""

from __future__ import annotations

import csv
import io
import json
from xml.sax.saxutils import escape, quoteattr

from tinykmod.trace.events import Event
from tinykmod.trace.lanes import lanes
from tinykmod.trace.timeline import MOMENTS, ms, reason, result, started

COLUMNS = ("begin_ms", "end_ms", "took_ms", "worker", "event", "name", "result", "reason")

#: Chrome's track of what is no load; 0 would be the kernel's idle thread to Perfetto.
_BOOT = 1
#: Of the picture, in pixels.
_WIDTH, _LEFT, _ROW, _TOP, _BOTTOM = 1200, 170, 18, 34, 24
_COLOURS = {"modalias": "#4477aa", "dependency": "#66ccee", "softdep": "#66ccee", "root": "#228833"}
_FAILED, _OTHER = "#ee6677", "#aa8844"


def to_chrome(trace: list[Event]) -> str:
    """JSON of the Trace Event Format: a complete event for each module on its worker's track, instants besides.

    Times are microseconds since the loader began. Slices of one track must nest or be apart (Perfetto drops others),
    so loads that overlap on one worker, as helpers of the kernel's do, are on further tracks of it.
    """
    start = started(trace)
    loads = [event for event in trace if event["ev"] == "module"]
    workers = sorted({event.get("worker", 0) for event in loads})
    tracks: dict[int, int] = {}  # by id() of the event
    names: list[str] = []
    for worker in workers:
        own = [event for event in loads if event.get("worker", 0) == worker]
        chosen = lanes([(event["t"], event["t"] + event["dur"]) for event in own])
        tracks |= {id(event): _BOOT + 1 + len(names) + lane for event, lane in zip(own, chosen, strict=True)}
        names += [f"worker {worker}" if worker else "loader and helpers"] * (max(chosen) + 1)
    events: list[dict[str, object]] = [
        {"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "tinykmod"}},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": _BOOT, "args": {"name": "boot"}},
    ]
    for track, name in enumerate(names, _BOOT + 1):
        events.append({"ph": "M", "name": "thread_name", "pid": 1, "tid": track, "args": {"name": name}})
        events.append({"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": track, "args": {"sort_index": track}})
    for event in trace:
        common = {"ts": (event["t"] - start) / 1e3, "pid": 1, "tid": tracks.get(id(event), _BOOT)}
        rest = {key: value for key, value in event.items() if key not in ("t", "ev", "dur", "name", "worker")}
        if event["ev"] == "module":
            what = {"ph": "X", "name": event["name"], "cat": event["why"], "dur": event["dur"] / 1e3}
        else:
            what = {"ph": "i", "name": _moment(event), "cat": event["ev"], "s": "p"}
        events.append({**what, **common, "args": rest})
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}, indent=1) + "\n"


def to_csv(trace: list[Event]) -> str:
    """A line for each event under a line of COLUMNS; times are milliseconds since the loader began."""
    start = started(trace)
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for event in trace:
        begin = event["t"] - start
        row = [f"{begin / 1e6:.3f}", "", "", "", event["ev"], _moment(event), "", ""]
        if event["ev"] == "module":
            row[1:4] = [f"{(begin + event['dur']) / 1e6:.3f}", f"{event['dur'] / 1e6:.3f}", event.get("worker", 0)]
            row[5:] = [event["name"], result(event), reason(event)]
        writer.writerow(row)
    return out.getvalue()


def to_svg(trace: list[Event]) -> str:
    """A picture: a bar for each module in order of its beginning, a line down for each moment."""
    start = started(trace)
    loads = [event for event in trace if event["ev"] == "module"]
    end = max([event["t"] + event.get("dur", 0) for event in trace]) - start or 1
    height = _TOP + _ROW * len(loads) + _BOTTOM

    def x(nanoseconds: int) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - 60) * nanoseconds / end, 1)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" font-family="sans-serif"'
        ' font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for number, event in enumerate(
        event for event in trace if event["ev"] in ("start", "root", "mounted", "handover")
    ):
        at, text = x(event["t"] - start), f"{event['ev']} {ms(event['t'] - start)} ms"
        out.append(
            f'<line x1="{at}" y1="12" x2="{at}" y2="{height - _BOTTOM}" stroke="#999" stroke-dasharray="3 3"/>'
        )
        out.append(f'<text x="{at + 3}" y="{12 + 10 * (number % 2)}" fill="#555">{text}</text>')
    for number, event in enumerate(loads):
        begin, y = event["t"] - start, _TOP + _ROW * number
        colour = _FAILED if event["result"] else _COLOURS.get(event["why"], _OTHER)
        width = max(x(begin + event["dur"]) - x(begin), 1)
        told = f"{event['name']}: {ms(begin)} ms, took {ms(event['dur'])} ms, {result(event)}; {reason(event)}"
        out.append(f"<g><title>{escape(told)}</title>")
        out.append(f'<text x="{_LEFT - 6}" y="{y + 12}" text-anchor="end">{escape(event["name"])}</text>')
        out.append(
            f'<rect x="{x(begin)}" y="{y + 3}" width="{width:.1f}" height="{_ROW - 6}" fill={quoteattr(colour)}/>'
        )
        out.append(f'<text x="{x(begin) + width + 3:.1f}" y="{y + 12}" fill="#555">{ms(event["dur"])}</text></g>')
    out.append(f'<text x="{_LEFT}" y="{height - 8}" fill="#555">0</text>')
    out.append(f'<text x="{x(end)}" y="{height - 8}" text-anchor="end" fill="#555">{ms(end)} ms</text>')
    return "\n".join([*out, "</svg>"]) + "\n"


def _moment(event: Event) -> str:
    if event["ev"] in ("device", "behind"):
        return str(event["modalias"])
    if event["ev"] == "dropped":
        return f"dropped: {event['name']}"
    words: str = MOMENTS.get(event["ev"]) or str(event["ev"])
    return words.format(**event)
