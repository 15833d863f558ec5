"""`tinykmod trace`: a boot's trace as a timeline, for Chrome's viewer, as a table, as a picture."""

from __future__ import annotations

import csv
import io
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]  # noqa: F821

MODALIAS = "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00"
SECOND = 1_000_000_000
TRACE = [
    {"t": SECOND, "ev": "start", "version": "0.1.0", "release": "6.1.0-56-amd64"},
    {"t": SECOND + 1_000_000, "ev": "device", "modalias": MODALIAS, "device": "/devices/pci0000:00/0000:00:03.0"},
    {"t": SECOND + 2_000_000, "ev": "module", "name": "virtio", "why": "dependency", "by": "virtio_pci",
     "dur": 1_500_000, "result": 0, "worker": 1},
    {"t": SECOND + 4_000_000, "ev": "module", "name": "virtio_pci", "why": "modalias", "by": MODALIAS,
     "dur": 8_250_000, "result": 0},
    {"t": SECOND + 5_000_000, "ev": "module", "name": "odd<&>", "why": "request", "by": "odd", "dur": 0, "result": -2,
     "error": "its file is not here"},
    {"t": SECOND + 20_000_000, "ev": "root", "device": "/dev/vda", "spec": "LABEL=x"},
    {"t": SECOND + 30_000_000, "ev": "mounted", "device": "/dev/vda", "type": "ext4"},
    {"t": SECOND + 30_200_000, "ev": "dropped", "name": "e1000e", "why": "modalias", "by": "pci:v8086"},
    {"t": SECOND + 30_500_000, "ev": "left", "name": "slow", "worker": 2, "dur": 26_000_000},
    {"t": SECOND + 31_000_000, "ev": "handover", "init": "/sbin/init", "modules": 2, "failed": 1},
]  # fmt: skip


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    file = tmp_path / "trace.jsonl"
    # A line for a load that took long stands behind that of one which began later.
    file.write_text("".join(f"{json.dumps(event)}\n" for event in reversed(TRACE)))
    return file


def test_show_prints_what_the_demo_prints(run_tinykmod: Run, trace: Path) -> None:
    done = run_tinykmod("trace", "show", trace)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["ms", "module", "took", "ms", "result", "reason"]
    assert lines[2].split() == ["2.0", "virtio", "1.5", "ok", "virtio_pci", "needs", "it"]
    assert lines[4].split()[:4] == ["5.0", "odd<&>", "0.0", "ENOENT"]
    assert lines[-7].endswith(" -- slow is still in its init; the boot goes on without it")
    assert lines[-2] == "dropped  1 queued when the root was mounted: e1000e"
    assert lines[-3].startswith("failed   odd<&>: ENOENT")
    assert lines[-4] == "modules  2 loaded, 1 failed, 0 without a device (ENODEV); 9.8 ms in the kernel, added up"
    assert lines[-1] == "reached  root device 20.0 ms, mounted 30.0 ms after init started"


def test_chrome_has_a_track_for_each_worker(run_tinykmod: Run, trace: Path) -> None:
    found = json.loads(run_tinykmod("trace", "convert", "--to", "chrome", trace).stdout)["traceEvents"]
    events = [event for event in found if event["ph"] != "M"]
    assert len(events) == len(TRACE)
    modules = [event for event in events if event["ph"] == "X"]
    names = {event["tid"]: event["args"]["name"] for event in found if event["name"] == "thread_name"}
    assert [(event["name"], event["ts"], event["dur"], names[event["tid"]]) for event in modules] == [
        ("virtio", 2000.0, 1500.0, "worker 1"),
        ("virtio_pci", 4000.0, 8250.0, "loader and helpers"),
        ("odd<&>", 5000.0, 0.0, "loader and helpers"),
    ]
    assert modules[2]["args"] == {"why": "request", "by": "odd", "result": -2, "error": "its file is not here"}
    assert [event["name"] for event in events if event["cat"] == "root"] == ["root device there: /dev/vda (LABEL=x)"]


def test_chrome_keeps_to_the_rules_of_perfetto(run_tinykmod: Run, tmp_path: Path) -> None:
    """Slices of a track nest or are apart, whatever overlaps; tracks are named; times are of one clock, from 0 on."""
    spans = [(0, 0, 100), (0, 50, 100), (0, 60, 20), (0, 150, 1), (0, 151, 49), (3, 0, 333), (3, 333, 7), (3, 339, 2)]
    loads = [{"t": SECOND + begin, "ev": "module", "name": f"m{number}", "why": "plan", "by": "", "dur": took,
              "result": 0, "worker": worker} for number, (worker, begin, took) in enumerate(spans)]  # fmt: skip
    file = tmp_path / "trace.jsonl"
    file.write_text("".join(f"{json.dumps(event)}\n" for event in [*loads, TRACE[0]]))
    events = json.loads(run_tinykmod("trace", "convert", "--to", "chrome", file).stdout)["traceEvents"]
    named = {event["tid"] for event in events if event["ph"] == "M" and event["name"] == "thread_name"}
    tracks: dict[int, list[tuple[int, int]]] = {}
    for event in events:
        assert event["pid"] > 0
        if event["ph"] == "M":
            continue
        assert event["tid"] in named
        assert event["tid"] > 0
        assert event["ts"] >= 0
        if event["ph"] == "X":
            begin, took = round(event["ts"] * 1000), round(event["dur"] * 1000)
            assert (begin / 1000, took / 1000) == (event["ts"], event["dur"]), "whole nanoseconds"
            tracks.setdefault(event["tid"], []).append((begin, begin + took))
    assert sum(map(len, tracks.values())) == len(spans)
    for slices in tracks.values():
        for one in slices:
            for begin, end in slices:
                apart = end <= one[0] or one[1] <= begin
                assert apart or one[0] <= begin <= end <= one[1] or begin <= one[0] <= one[1] <= end
    assert len(tracks) == 3 + 2, "no more tracks than overlap at any time"


def test_csv_has_a_line_for_each_event(run_tinykmod: Run, trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    assert run_tinykmod("trace", "convert", "--to", "csv", "-o", out, trace).stdout == ""
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert [row["event"] for row in rows] == [event["ev"] for event in TRACE]
    assert rows[3] == {
        "begin_ms": "4.000", "end_ms": "12.250", "took_ms": "8.250", "worker": "0", "event": "module",
        "name": "virtio_pci", "result": "ok", "reason": MODALIAS,
    }  # fmt: skip


def test_svg_has_a_bar_for_each_module(run_tinykmod: Run, trace: Path) -> None:
    picture = ET.fromstring(run_tinykmod("trace", "convert", "--to", "svg", trace).stdout)
    space = "{http://www.w3.org/2000/svg}"
    titles = [title.text for title in picture.iter(f"{space}title")]
    assert titles[2] == "odd<&>: 5.0 ms, took 0.0 ms, ENOENT; the kernel asked for odd"
    bars = [group.find(f"{space}rect") for group in picture.iter(f"{space}g")]
    begin, width = ([float(bar.get(key)) for bar in bars] for key in ("x", "width"))
    assert begin == sorted(begin)
    assert begin[-1] > begin[0]
    assert width[1] > width[0] > width[2] == 1, "what took no time is still to be seen"
    assert bars[2].get("fill") != bars[1].get("fill")


def test_a_trace_on_standard_input(trace: Path) -> None:
    import subprocess
    import sys

    done = subprocess.run(
        [sys.executable, "-m", "tinykmod", "trace", "show", "-"], input=trace.read_text(), text=True, check=True,
        capture_output=True,
    )  # fmt: skip
    assert "virtio_pci" in done.stdout


@pytest.mark.parametrize(("text", "why"), [("", "holds no event"), ('{"t":1,"ev":"sta', "not JSON (cut short?)")])
def test_what_is_no_trace_is_one_line(run_tinykmod: Run, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "t").write_text(text)
    done = run_tinykmod("trace", "show", tmp_path / "t")
    assert (done.returncode, done.stdout) == (1, "")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1


def test_no_trace_at_all_is_one_line(run_tinykmod: Run, tmp_path: Path) -> None:
    done = run_tinykmod("trace", "show", tmp_path / "gone")
    assert (done.returncode, done.stderr) == (1, f"tinykmod: {tmp_path / 'gone'}: No such file or directory\n")
