"""Snapshots that are read: what they say, and what is said of those that are damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykmod.boot import snapshot
from tinykmod.errors import SnapshotError
from tinykmod.image.snapshot import parse, read

BOARD: dict[str, Any] = {
    "tinykmod_snapshot": 1,
    "release": "6.1.0",
    "arch": "aarch64",
    "cmdline": "root=/dev/mmcblk0p2 caf\udce9",
    "modules": ["mmc_block"],
    "root": {
        "source": "/dev/mmcblk0p2",
        "type": "ext4",
        "blocks": [{"name": "mmcblk0p2", "path": "platform/soc/mmc/mmc0/block/mmcblk0/mmcblk0p2"}],
    },
    "displays": [],
    "devices": [
        {"path": "platform/clk", "bus": "platform", "modalias": "of:NclkT(null)Cx,clk"},
        {"path": "platform/pmic", "bus": "i2c", "suppliers": ["platform/clk"]},
        {"path": "platform/soc", "bus": "platform", "driver": "simple-bus"},
        {"path": "platform/soc/mmc", "bus": "platform", "driver": "mmc", "suppliers": ["platform/pmic"]},
        {"path": "platform/soc/mmc2", "bus": "platform", "waiting": True},
    ],
}


def test_a_device_sits_behind_its_parents_and_suppliers_and_theirs() -> None:
    board = parse(snapshot.text(BOARD), "board")
    assert board.root is not None
    found = [device.path for device in board.behind([board.root.blocks[0].path])]
    assert found == ["platform/clk", "platform/pmic", "platform/soc", "platform/soc/mmc"]
    assert board.cmdline == BOARD["cmdline"]
    assert [device.waiting for device in board.devices] == [False] * 4 + [True]


def test_suppliers_of_each_other_end() -> None:
    devices = [{"path": name, "bus": "x", "suppliers": [other]} for name, other in ("ab", "ba")]
    board = parse(json.dumps({**BOARD, "devices": devices}), "board")
    assert [device.path for device in board.behind(["a"])] == ["a", "b"]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"tinykmod_snapshot": 2}, "version 2, this tinykmod reads 1"),
        ({"release": None}, "damaged: release is missing"),
        ({"cmdline": "a\nb"}, r"damaged: cmdline is 'a\nb', not a text of one line"),
        ({"cmdline": "\ud800"}, r"damaged: cmdline is '\ud800', not a text of one line"),
        ({"modules": "ext4"}, "damaged: modules is 'ext4', not a list of texts"),
        ({"modules": [1]}, "damaged: modules is '[1]', not a list of texts"),
        ({"root": []}, "damaged: root is '[]', not an object or null"),
        ({"root": {**BOARD["root"], "blocks": None}}, "damaged: root.blocks is missing"),
        ({"root": {**BOARD["root"], "uuid": 5}}, "damaged: root.uuid is '5', not a text of one line"),
        ({"displays": [5]}, "damaged: displays[0] is '5', not an object"),
        ({"devices": {}}, "damaged: devices is '{}', not a list of objects"),
        ({"devices": [{"path": "a"}]}, "damaged: devices[0].bus is missing"),
        (
            {"devices": [{"path": "../a", "bus": "b"}]},
            "damaged: devices[0].path is '../a', not a path below /sys/devices",
        ),
        (
            {"devices": [BOARD["devices"][0], {"path": "a", "bus": "b", "waiting": 1}]},
            "damaged: devices[1].waiting is '1', not true or false",
        ),
    ],
)
def test_what_is_wrong_is_one_line(change: dict[str, Any], why: str) -> None:
    with pytest.raises(SnapshotError) as error:
        parse(json.dumps({**BOARD, **change}), "board.json")
    assert str(error.value) == f"board.json: {why}"


@pytest.mark.parametrize("text", ["", "[]", "{}", "5", '{"tinykmod_snapshot": 1', "[" * 100000, "not JSON"])
def test_what_is_no_snapshot(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(SnapshotError, match=r"cut short or no JSON|no snapshot"):
        read(path)


def test_a_compressed_file_is_no_snapshot(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\x1f\x8b\x08\xff")
    with pytest.raises(SnapshotError, match="no snapshot: byte 1 is not ASCII"):
        read(path)


@given(st.data())
def test_damage_is_told_or_harmless(data: st.DataObject) -> None:
    text = snapshot.text(BOARD)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(start + 40, len(text))))
    damaged = text[:start] + data.draw(st.text(st.characters(max_codepoint=127), max_size=3)) + text[end:]
    try:
        parse(damaged, "board")
    except SnapshotError as error:
        assert "\n" not in str(error)
