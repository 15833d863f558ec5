from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykmod.errors import TinykmodError
from tinykmod.trace import timeline
from tinykmod.trace.events import EVENTS, read_trace

DOCUMENT = Path(__file__).parents[2] / "docs/trace-format.md"
MODULE = {"t": 5, "ev": "module", "name": "ext4", "why": "root", "by": "ext4", "dur": 7, "result": -2}


def test_documents_example_is_read_whole():
    example = re.findall(r"^    (\{.*)$", DOCUMENT.read_text(), re.MULTILINE)
    events = read_trace(example)
    assert len(events) == len(example) > 5
    assert events == [json.loads(line) for line in example]


def test_events_come_in_order_of_time_whoever_wrote_them_first():
    """A modprobe that the kernel runs writes while PID 1 still keeps its own lines."""
    lines = [json.dumps({**MODULE, "t": t, "name": name}) for t, name in ((7, "a"), (5, "b"), (7, "c"), (2, "d"))]
    assert [event["name"] for event in read_trace(lines)] == ["d", "b", "a", "c"]


def test_document_and_timeline_name_the_same_reasons():
    reasons = re.findall(r"^\| `(?!why`)(\w+)` \| [^|]+ \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert set(reasons) == {"modalias", *timeline.REASONS}


def test_document_and_reader_name_the_same_events_and_keys():
    rows = dict(re.findall(r"^\| `(?!ev`)(\w+)` \| [^|]+ \| ([^|]+) \|$", DOCUMENT.read_text(), re.MULTILINE))
    assert rows.keys() == EVENTS.keys()
    for name, keys in EVENTS.items():
        assert set(keys) <= set(re.findall(r"`(\w+)`", rows[name])), name


def test_events_and_keys_of_a_later_version_do_no_harm():
    later = {**MODULE, "cpu": 3}
    assert read_trace(['{"t":1,"ev":"firmware","file":"x"}', json.dumps(later)]) == [later]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ('{"t":1,"ev":"mod', "not JSON"),
        ("[1]", "not a JSON object"),
        ('{"ev":"start","version":"1","release":"6"}', "'t' is missing"),
        ('{"t":1.5,"ev":"start","version":"1","release":"6"}', "'t' is no int"),
        ('{"t":true,"ev":"start","version":"1","release":"6"}', "'t' is no int"),
        ('{"t":1,"version":"1"}', "'ev' is missing"),
        ('{"t":1,"ev":"start","version":"1"}', "'release' is missing"),
        (json.dumps({**MODULE, "dur": -1}), "'dur' is negative"),
        (json.dumps({**MODULE, "result": "0"}), "'result' is no int"),
        (json.dumps({**MODULE, "live": -1}), "'live' is negative"),
        (json.dumps({**MODULE, "queued": "5"}), "'queued' is no int"),
        (json.dumps({**MODULE, "needs": "jbd2"}), "'needs' is no list of texts"),
        (json.dumps({"t": 1, "ev": "device", "modalias": "x", "device": "", "modules": [1]}), "'modules' is no list"),
    ],
)
def test_damaged_line_is_named(line, why):
    with pytest.raises(TinykmodError) as caught:
        read_trace([json.dumps(MODULE), line], "boot.jsonl")
    assert caught.value.which == "boot.jsonl:2"
    assert why in caught.value.why
    assert "\n" not in str(caught.value)


@given(st.lists(st.text(alphabet=st.characters(exclude_characters="\n"))))
def test_any_text_gives_events_or_one_error(lines):
    try:
        assert all(event["ev"] in EVENTS for event in read_trace(lines))
    except TinykmodError as error:
        assert re.fullmatch(r"trace\.jsonl:\d+", error.which)


@given(st.integers(0, len(json.dumps(MODULE)) - 1), st.characters(codec="utf-8"))
def test_one_changed_character_is_read_or_named(position, char):
    text = json.dumps(MODULE)
    try:
        read_trace([text[:position] + char + text[position + 1 :]])
    except TinykmodError as error:
        assert error.which == "trace.jsonl:1"


def test_what_is_no_text_does_not_reach_the_terminal():
    with pytest.raises(TinykmodError) as caught:
        read_trace(["\x1b[2J\0{\udcff"])
    assert caught.value.why == "not JSON (cut short?): ?[2J?{?"
