"""The critical path: of a trace that tells what needed what, and of older ones that tell less."""

from __future__ import annotations

import pytest

from tinykmod.errors import TinykmodError
from tinykmod.trace.critical import Step, path
from tinykmod.trace.events import Event

PCI, VIRTIO = "pci:v1AF4d1001bc01", "virtio:d2v1AF4"


def module(name: str, begin: int, end: int, **more: object) -> Event:
    return {"t": begin, "ev": "module", "name": name, "why": "modalias", "by": "", "queued": begin, "worker": 1,
            "dur": end - begin, "result": 0, **more}  # fmt: skip


def seen(t: int, modalias: str, device: str, *modules: str) -> Event:
    return {"t": t, "ev": "device", "modalias": modalias, "device": device, "modules": list(modules)}


START: Event = {"t": 100, "ev": "start", "version": "1", "release": "6"}
DISK = "/devices/pci0000:00/0000:00:03.0/virtio0"
#: A bus's driver whose init has ended before its load has, the disk behind it, and the disk's filesystem.
BOOT: list[Event] = [
    START,
    seen(110, PCI, "/bus/pci/devices/0000:00:03.0", "bus"),
    module("ring", 120, 150, why="dependency", by="bus", queued=115, worker=2, needs=[]),
    module("bus", 155, 300, by=PCI, queued=115, needs=["ring"], live=25),
    seen(190, VIRTIO, DISK, "disk"),
    module("disk", 205, 260, by=VIRTIO, queued=195, needs=["ring", "bus"]),
    {"t": 250, "ev": "root", "device": "/dev/vda", "spec": "/dev/vda"},
    module("idle", 251, 900, queued=251, needs=[]),
    module("journal", 255, 300, why="dependency", by="ext4", queued=252, needs=[], live=10),
    module("ext4", 265, 350, why="root", by="ext4", queued=252, needs=["journal"]),
    {"t": 360, "ev": "mounted", "device": "/dev/vda", "type": "ext4"},
    {"t": 361, "ev": "behind", "modalias": VIRTIO},
    {"t": 362, "ev": "behind", "modalias": PCI},
]


def test_the_path_to_the_root_goes_by_what_came_last_and_adds_up() -> None:
    steps = path(BOOT)
    assert [tuple(step)[:4] for step in steps] == [
        (100, 115, "loader", ""),
        (115, 120, "worker", "ring"),
        (120, 150, "module", "ring"),
        (150, 155, "worker", "bus"),
        (155, 180, "module", "bus"),
        (180, 190, "device", "bus"),
        (190, 195, "loader", ""),
        (195, 205, "worker", "disk"),
        (205, 250, "module", "disk"),
        (250, 252, "loader", ""),
        (252, 255, "worker", "journal"),
        (255, 265, "module", "journal"),
        (265, 350, "module", "ext4"),
        (350, 360, "mount", ""),
    ]
    assert steps[7].busy == ("bus",)
    assert sum(step.duration for step in steps) == 360 - 100


def test_the_path_to_the_end_is_that_of_the_last_load() -> None:
    assert path(BOOT, "all")[-1] == Step(251, 900, "module", "idle")


@pytest.mark.parametrize(("to", "why"), [("root", "did not come to its"), ("all", "no module"), ("display", "no d")])
def test_a_target_that_was_not_reached_is_told(to, why: str) -> None:
    with pytest.raises(TinykmodError, match=f"^somewhere: .*{why}"):
        path([START], to, "somewhere")


def test_the_display_is_the_first_of_the_drivers_that_a_device_asked_for() -> None:
    screen = "pci:v1234bc03"
    trace = [
        START,
        seen(110, screen, "/bus/pci/devices/0000:00:02.0", "late", "early"),
        module("lib", 115, 130, why="dependency", by="early", needs=[], **{"class": "gpu"}),
        module("early", 130, 180, by=screen, needs=["lib"], **{"class": "gpu"}),
        module("late", 130, 200, by=screen, needs=["lib"], **{"class": "gpu"}),
    ]
    assert [(step.name, step.end) for step in path(trace, "display") if step.name] == [("lib", 130), ("early", 180)]


def test_an_older_trace_goes_by_why_and_by_the_device_most_like() -> None:
    """No needs, no modules of devices, no live: the bus was loaded for another device of its kind."""
    other = "pci:v1AF4d1005bc00"
    newer = ("needs", "live", "modules")
    trace = [{key: value for key, value in event.items() if key not in newer} for event in BOOT]
    [bus] = [event for event in trace if event.get("name") == "bus"]
    bus["by"] = other
    trace.append({"t": 105, "ev": "device", "modalias": other, "device": "/bus/pci/devices/0000:00:01.0"})
    steps = path(sorted(trace, key=lambda event: event["t"]))
    assert [step.name for step in steps if step.kind == "module"] == [
        *("ring", "bus", "disk", "journal", "ext4")
    ]
    assert sum(step.duration for step in steps) == 260


def test_circles_of_softdeps_end() -> None:
    trace = [START, module("a", 110, 120, needs=["b"]), module("b", 110, 130, needs=["a"])]
    assert path(trace, "all")[-1].name == "b"
