"""What a trace explains, and what the replay of a boot expects of a change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykmod.cli import main
from tinykmod.errors import TinykmodError
from tinykmod.trace.events import Event
from tinykmod.trace.explain import explain
from tinykmod.trace.graph import Graph
from tinykmod.trace.replay import replay

MS = 1_000_000


def load(name: str, begin: int, end: int, cpu: int, **more: object) -> Event:
    """Times in milliseconds since the loader's start."""
    return {"t": begin * MS, "ev": "module", "name": name, "why": "modalias", "by": "", "queued": 0, "worker": 1,
            "dur": (end - begin) * MS, "cpu": cpu * MS, "result": 0, "needs": [], **more}  # fmt: skip


def device(t: int, modalias: str, path: str, *modules: str) -> Event:
    return {"t": t * MS, "ev": "device", "modalias": modalias, "device": path, "modules": list(modules)}


HOST, DISK = "/devices/pci0000:00/0000:00:05.0", "/devices/pci0000:00/0000:00:05.0/ata1"
#: One processor. A controller that waits 60 of its 100 ms, the disk behind it, its filesystem; a mouse meanwhile.
BOOT: list[Event] = [
    {"t": 0, "ev": "start", "version": "1", "release": "6", "processors": 1},
    device(0, "pci:ahci", "/bus/pci/devices/0000:00:05.0", "ahci"),
    device(0, "serio:mouse", "/bus/serio/devices/serio1", "mouse"),
    load("ahci", 0, 100, 40, by="pci:ahci"),
    load("mouse", 40, 80, 30, by="serio:mouse"),
    device(120, "scsi:disk", DISK, "sd"),
    load("sd", 120, 140, 20, by="scsi:disk", queued=120 * MS),
    {"t": 140 * MS, "ev": "root", "device": "/dev/sda", "spec": "/dev/sda"},
    load("ext4", 140, 200, 60, why="root", by="ext4", queued=140 * MS),
    {"t": 201 * MS, "ev": "mounted", "device": "/dev/sda", "type": "ext4"},
    {"t": 202 * MS, "ev": "behind", "modalias": "scsi:disk"},
    {"t": 203 * MS, "ev": "behind", "modalias": "pci:ahci"},
]


def test_a_replay_of_the_boot_as_it_was_takes_as_long() -> None:
    root, display, last = replay(Graph(BOOT))
    assert display is None
    # The mouse's processor time came out of the controller's wait; all that the model does not know is how.
    assert root == pytest.approx(201 * MS, rel=0.2)
    assert last == pytest.approx(200 * MS, rel=0.2)


def test_a_plan_loads_the_filesystem_while_the_controller_waits() -> None:
    base, planned = replay(Graph(BOOT)), replay(Graph(BOOT), planned=True)
    assert base.root is not None
    assert planned.root is not None
    assert 20 * MS <= base.root - planned.root <= 80 * MS


def test_loads_begin_in_a_replay_when_they_did() -> None:
    """On one processor; two are under way at once when the first has been waiting for its hardware for long."""
    trace = [
        BOOT[0],
        # The loader plans for all that it sees, and then begins with the most urgent.
        load("first", 1, 31, 20, queued=MS // 2),
        # In the 10 ms for which that waited others had the processor: the next begins when it has ended.
        load("second", 31, 61, 20),
        load("slow", 61, 161, 20),
        load("meanwhile", 111, 131, 20),
    ]
    assert replay(Graph(trace)).all == pytest.approx(161 * MS, rel=0.05)
    assert replay(Graph(trace), without={"second"}).all == pytest.approx(131 * MS, rel=0.05)


def test_without_what_nothing_waits_for_the_root_is_there_as_soon() -> None:
    base, other = replay(Graph(BOOT)), replay(Graph(BOOT), without={"mouse"})
    assert base.root == other.root


def test_what_would_be_gained_is_told_with_how_well_the_replay_fits() -> None:
    text = explain(BOOT)
    assert text.startswith("no display's driver was loaded in this boot\n")
    made = replay(Graph(BOOT)).root
    assert made is not None
    assert made / MS == pytest.approx(201, rel=0.1)
    off = f"{abs(made / MS / 201 - 1) * 100:.0f} % {'short' if made < 201 * MS else 'long'}"
    off = off if abs(made / MS / 201 - 1) >= 0.01 else "right within 1 %"
    assert f"T_root {made / MS:.1f} ms for 201.0 ({off}), T_all " in " ".join(text.split())
    assert "T_root, to the root mounted: 201.0 ms" in text
    assert "ahci is loaded, its device has yet to come" in text
    assert "ext4 began only when the root's device was there. A plan" in " ".join(text.split())
    assert "mouse" in text.partition("not needed for it:")[2].partition("The slowest")[0]
    path = text.partition("at ms        ms     %\n")[2].partition("\n\n")[0].splitlines()
    *parts, whole = [float(line[10:19]) for line in path]
    assert (sum(parts), whole) == (pytest.approx(201.0), 201.0)


def test_a_driver_that_takes_long_and_that_nothing_needs_is_advised_against() -> None:
    screen = device(0, "pci:screen", "/bus/pci/devices/0000:00:02.0", "gpu")
    trace = [*BOOT, screen, load("gpu", 201, 210, 9, by="pci:screen", queued=201 * MS, **{"class": "gpu"}),
             load("mouse2", 205, 500, 280, by="serio:mouse", queued=201 * MS)]  # fmt: skip
    text = " ".join(explain(sorted(trace, key=lambda event: event["t"])).split())
    assert "mouse2 took 295.0 ms, 59 % of T_all, and neither the root nor a display waits for it" in text
    assert "--omit mouse2" in text
    assert "--omit ahci" not in text
    assert "--omit gpu" not in text


def test_what_the_kernel_asked_for_in_an_init_is_as_needed_as_that() -> None:
    """crc64_rocksoft asks for its algorithm: it is no device's, and the root needs it."""
    asked = load("algorithm", 50, 95, 5, by="crypto-crc", queued=50 * MS, worker=0)
    text = explain(sorted([*BOOT, asked], key=lambda event: event["t"]))
    assert Graph([*BOOT, asked]).asker(Graph([*BOOT, asked]).nodes["algorithm"]) == "mouse"
    alone = [event for event in BOOT if event.get("name") != "mouse"]
    assert "algorithm" in Graph([*alone, asked]).to_root()
    assert "--omit algorithm" not in text


def test_a_trace_of_an_older_loader_gets_paths_and_no_gains() -> None:
    trace = [{key: value for key, value in event.items() if key != "cpu"} for event in BOOT]
    text = explain(trace)
    assert "T_root, to the root mounted: 201.0 ms" in text
    assert "No gains are estimated" in text


def test_nothing_to_explain_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TinykmodError, match="no module was loaded"):
        explain(BOOT[:2])
    file = tmp_path / "trace.jsonl"
    file.write_text('{"t":1,"ev":"start","version":"1","release":"6"}\n')
    assert main(["trace", "explain", str(file)]) == 1
    assert capsys.readouterr().err == f"tinykmod: {file}: no module was loaded in this boot\n"
