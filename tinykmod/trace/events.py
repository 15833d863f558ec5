"""Reads the trace that the loader writes while it boots. docs/trace-format.md tells what each event means."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tinykmod.errors import TinykmodError

#: The keys that an event always has beside `t` and `ev`, with the JSON type of each.
EVENTS: dict[str, dict[str, type]] = {
    "start": {"version": str, "release": str},
    "index": {"modules": int, "bytes": int},
    "fallback": {"why": str},
    "device": {"modalias": str, "device": str},
    "module": {"name": str, "why": str, "by": str, "dur": int, "result": int},
    "dropped": {"name": str, "why": str, "by": str},
    "left": {"name": str, "worker": int, "dur": int},
    "settled": {"modules": int, "failed": int},
    "root": {"device": str, "spec": str},
    "mounted": {"device": str, "type": str},
    "behind": {"modalias": str},
    "handover": {"init": str, "modules": int, "failed": int},
}

#: Those that it may have (docs/trace-format.md).
_OPTIONAL: dict[str, type] = {
    **dict.fromkeys(("queued", "worker", "live", "cpu", "processors"), int),
    **dict.fromkeys(("class", "error"), str),
}
#: Lists of texts that it may have.
_LISTS = ("needs", "modules")

Event = dict[str, Any]


def read_trace(lines: Iterable[str], source: str = "trace.jsonl") -> list[Event]:
    """The events of a trace in order of time, not of the file; events that are not in EVENTS are left out.

    Raises TinykmodError("SOURCE:LINE", why) for a line that is not what the format says.
    """
    events = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            event = _event(line)
        except ValueError as error:
            # What is no text would change the terminal that it is told on.
            seen = "".join(letter if letter.isprintable() else "?" for letter in line.strip()[:80])
            raise TinykmodError(f"{source}:{number}", f"{error}: {seen}") from None
        if event["ev"] in EVENTS:
            events.append(event)
    return sorted(events, key=lambda event: event["t"])


def _event(line: str) -> Event:
    try:
        event = json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        raise ValueError("not JSON (cut short?)") from None
    if not isinstance(event, dict):
        raise ValueError("not a JSON object")
    _need(event, "ev", str)
    _need(event, "t", int)
    for key, kind in EVENTS.get(event["ev"], {}).items():
        _need(event, key, kind)
    if event["ev"] in EVENTS:
        for key in _OPTIONAL.keys() & event.keys() - EVENTS[event["ev"]].keys():
            _need(event, key, _OPTIONAL[key])
        for key in event.keys() & set(_LISTS) - EVENTS[event["ev"]].keys():
            if not isinstance(event[key], list) or not all(isinstance(item, str) for item in event[key]):
                raise ValueError(f"'{key}' is no list of texts")
    for key in event.keys() - {"result"}:
        if isinstance(event[key], int) and event[key] < 0:
            raise ValueError(f"'{key}' is negative")
    return event


def _need(event: Event, key: str, kind: type) -> None:
    if type(event.get(key)) is not kind:  # isinstance would take true for an int
        raise ValueError(f"'{key}' is {'missing' if key not in event else 'no ' + kind.__name__}")
    if kind is str:
        try:
            event[key].encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise ValueError(f"'{key}' is no text") from None
