"""The record of many boots: boots that are no boots, interrupted, and gone on with."""

from __future__ import annotations

import json

import pytest

from tinykmod.bench.qemu import BootResult
from tinykmod.bench.soak import MODULE, Record, Setting, soak, summary
from tinykmod.errors import TinykmodError

ABOUT = {"release": "6.1.0", "machine": "reference", "loader": "abc", "seed": 7}


class Machine:
    """Boots that end as they are told to."""

    def __init__(self):
        self.booted = []
        self.ends = {}

    def __call__(self, setting, delay):
        self.booted.append((setting, delay))
        end = self.ends.get(setting.boot, {})
        if callable(end):
            end = end(delay)
        modules = end.get("modules", ["ahci", "ext4", "sd_mod"])
        loads = [{"ev": "module", "name": name, "t": end.get("t", 1000000), "dur": 500000, "result": 0}
                 for name in modules]  # fmt: skip
        trace = [{"ev": "start", "t": 0}, *loads, *end.get("events", [])]
        lines = "".join(f"{MODULE}{name}\n" for name in modules)
        return BootResult(f"console of {setting.boot}\n{lines}", end.get("ended", "poweroff"), 12.345, trace, [])


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def run(tmp_path, machine):
    """run(boots): go on with the record; the record, and what was said."""

    def go_on(boots, **about):
        record = Record(tmp_path / "soak.jsonl", {**ABOUT, **about})
        said = []
        soak(record, boots, machine, delay=5, say=said.append)
        return record, said

    return go_on


def test_the_first_boot_is_serial_and_the_others_are_by_chance(run, machine):
    record, said = run(100)
    settings = [setting for setting, _ in machine.booted]
    assert settings[0] == Setting(0, 1, 1)
    assert {setting.jobs for setting in settings[1:]} == set(range(2, 17))
    assert {setting.smp for setting in settings[1:]} == {1, 2}
    assert record.differences() == {}
    assert len(said) == 100
    assert [line for line in summary(record) if "0 differ" in line]


def test_an_interrupted_run_goes_on_with_the_boots_that_are_missing(run, machine, tmp_path):
    def interrupt(delay):
        raise KeyboardInterrupt

    machine.ends[4] = interrupt
    with pytest.raises(KeyboardInterrupt):
        run(10)
    first = [setting for setting, _ in machine.booted][:4]
    # Cut off while it wrote.
    with (tmp_path / "soak.jsonl").open("a") as file:
        file.write('{"boot": 4, "jo')
    machine.booted.clear()
    del machine.ends[4]
    record, _ = run(10, seed=None)
    assert [setting.boot for setting, _ in machine.booted] == [4, 5, 6, 7, 8, 9]
    assert [*first, *(setting for setting, _ in machine.booted)] == [Setting.of(7, boot) for boot in range(10)]
    lines = [json.loads(line) for line in (tmp_path / "soak.jsonl").read_text().splitlines()]
    assert [line["boot"] for line in lines[1:]] == list(range(10))
    machine.booted.clear()
    again, _ = run(10)
    assert machine.booted == []
    assert again.outcomes == record.outcomes
    # More than there were.
    run(12)
    assert [setting.boot for setting, _ in machine.booted] == [10, 11]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        ({"modules": ["ahci", "ext4"]}, "without sd_mod"),
        ({"modules": ["ahci", "ext4", "sd_mod", "sr_mod"]}, "also sr_mod"),
        ({"ended": "panic"}, "ended with: panic"),
        ({"events": [{"ev": "left", "name": "drm", "t": 1, "dur": 1}]}, "still in its init: drm"),
        ({"events": [{"ev": "module", "name": "drm", "t": 1, "dur": 1, "result": -5}]}, "failed: drm"),
    ],
)
def test_a_boot_that_differs_is_told_and_its_console_is_kept(run, machine, tmp_path, end, why):
    machine.ends[2] = end
    record, said = run(4)
    assert record.differences() == {2: [why]}
    assert f"; {why}; see {tmp_path / 'soak-boot-2.log'}" in said[2]
    assert (tmp_path / "soak-boot-2.log").read_text().startswith("console of 2\n")
    assert f"  boot 2: {why}" in summary(record)
    assert not (tmp_path / "soak-boot-1.log").exists()


def test_a_root_that_came_too_soon_is_made_to_wait(run, machine):
    machine.ends[1] = lambda delay: {"events": [{"ev": "dropped", "name": "drm", "t": 1}] if delay < 20 else []}
    machine.ends[2] = {"events": [{"ev": "dropped", "name": "drm", "t": 1}]}
    # With one job the root's filesystem is loaded last.
    late = {"ev": "module", "name": "ext4", "t": 6 * 10**9, "dur": 1, "result": 0}
    machine.ends[0] = {"modules": ["ahci", "ext4", "sd_mod"], "events": [late]}
    # A keyboard that the hub has yet to find is in nobody's queue.
    machine.ends[3] = lambda delay: {
        "modules": ["ahci"] if delay < 10 else ["ahci", "ext4", "sd_mod"],
        "t": 4 * 10**9,
    }
    record, _ = run(4)
    assert [(setting.boot, delay) for setting, delay in machine.booted] == [
        (0, 5), (1, 5), (1, 10), (1, 20), (2, 5), (2, 10), (2, 20), (2, 40), (2, 80), (3, 5), (3, 10),
    ]  # fmt: skip
    assert record.outcomes[1].delay == 20
    assert record.differences() == {2: ["dropped: drm"]}


@pytest.mark.parametrize("other", [{"loader": "other"}, {"release": "6.2"}, {"machine": "nvme"}, {"seed": 8}])
def test_a_record_of_something_else_is_refused(run, other):
    run(2)
    with pytest.raises(TinykmodError, match=f"is of another {next(iter(other))}: .* remove it"):
        run(3, **other)


@pytest.mark.parametrize("text", ["not json\n", "[1]\n", f"{json.dumps(ABOUT)}\nnot json\n",
                                  f"{json.dumps(ABOUT)}\n{json.dumps(ABOUT)}\n"])  # fmt: skip
def test_what_is_no_record_is_refused(run, tmp_path, text):
    (tmp_path / "soak.jsonl").write_text(text)
    with pytest.raises(TinykmodError, match="is no record of a soak"):
        run(1)
