"""Snapshots: what is written down of a machine, by the command and by the file alone."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_machine import Machine

from tinykmod import loaders
from tinykmod.boot import snapshot
from tinykmod.image.snapshot import host

Take = Callable[[Path], dict[str, Any]]
DISK = "pci0000:00/0000:00:03.0/ata1/host0/target0:0:0/0:0:0:0"
MOUNTS = "22 27 0:21 / /proc rw - proc proc rw\n27 1 {} / / rw,relatime shared:1 - {} {} rw\n"


def pc(base: Path, number: str = "8:1", kind: str = "ext4", source: str = "/dev/sda1") -> Machine:
    machine = Machine(base, mounts=MOUNTS.format(number, kind, source), modules=["sd_mod", "ahci"])
    machine.device("pci0000:00/0000:00:03.0", "pci", "pci:bc01", "ahci", "ahci")
    machine.device(DISK, "scsi", "scsi:t-0x00", "sd", "sd_mod")
    machine.device("pci0000:00", "platform")
    machine.block(f"{DISK}/block/sda", "8:0")
    machine.block(f"{DISK}/block/sda/sda1", "8:1", partition=True)
    return machine


def by_loader(base: Path) -> str:
    words = [loaders.find(), "snapshot", "--sysroot", base]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.fixture(params=["twin", "loader"])
def take(request: pytest.FixtureRequest) -> Take:
    """take(base): the snapshot of the machine whose files are there."""
    return snapshot.take if request.param == "twin" else lambda base: json.loads(by_loader(base))


def test_devices_with_what_drives_them(take: Take, tmp_path: Path) -> None:
    taken = take(pc(tmp_path).base)
    assert taken["devices"] == [
        {"path": "pci0000:00/0000:00:03.0", "bus": "pci", "modalias": "pci:bc01", "driver": "ahci", "module": "ahci"},
        {"path": DISK, "bus": "scsi", "modalias": "scsi:t-0x00", "driver": "sd", "module": "sd_mod"},
    ]
    assert (taken["release"], taken["arch"], taken["cmdline"]) == ("6.1.0-test", "riscv64", "quiet")
    assert taken["modules"] == ["ahci", "sd_mod"]


@pytest.mark.parametrize(
    ("said", "lockdown"),
    [("none [integrity] confidentiality\n", "integrity"), ("[none] integrity\n", "none"), ("none [cut\n", ""),
     ("", "")],
)  # fmt: skip
def test_how_the_kernel_is_locked_down(take: Take, tmp_path: Path, said: str, lockdown: str) -> None:
    (pc(tmp_path).base / "sys/kernel/security").mkdir(parents=True)
    (tmp_path / "sys/kernel/security/lockdown").write_text(said)
    assert take(tmp_path)["lockdown"] == lockdown


def test_suppliers_and_who_waits_for_one(take: Take, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.device("platform/clk", "platform", "of:NclkT(null)Cvendor,clk", "clk")
    for name, waits in ("mmc", "0"), ("hdmi", "1"):
        (machine.device(f"platform/{name}", "platform") / "waiting_for_supplier").write_text(f"{waits}\n")
    machine.supplies("platform/clk", "platform/mmc")
    devices = {device["path"]: device for device in take(tmp_path)["devices"]}
    assert devices["platform/mmc"] == {"path": "platform/mmc", "bus": "platform", "suppliers": ["platform/clk"]}
    assert devices["platform/hdmi"] == {"path": "platform/hdmi", "bus": "platform", "waiting": True}


def test_alike_processors_are_there_once(take: Take, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    for number, kind in enumerate("aab"):
        machine.device(f"system/cpu/cpu{number}", "cpu", f"cpu:type:{kind}")
    assert [device["modalias"] for device in take(tmp_path)["devices"]] == ["cpu:type:a", "cpu:type:b"]


def test_root_in_a_partition(take: Take, tmp_path: Path) -> None:
    machine = pc(tmp_path)
    udev = tmp_path / "run/udev/data/b8:1"
    udev.parent.mkdir(parents=True)
    udev.write_text("E:ID_FS_UUID=7b1c9e5e\nE:ID_FS_LABEL=a=b\n")
    assert take(machine.base)["root"] == {
        "source": "/dev/sda1", "type": "ext4", "uuid": "7b1c9e5e", "label": "a=b", "partuuid": "1a2b3c4d-01",
        "blocks": [{"name": "sda1", "path": f"{DISK}/block/sda/sda1"}],
    }  # fmt: skip


def test_root_on_what_is_made_of_others(take: Take, tmp_path: Path) -> None:
    machine = pc(tmp_path, "253:0", source="/dev/mapper/vg-root")
    machine.block("virtual/block/md0", "9:0", slaves=["sda1"])
    machine.block("virtual/block/dm-0", "253:0", slaves=["md0"])
    assert [block["name"] for block in take(tmp_path)["root"]["blocks"]] == ["dm-0", "md0", "sda1"]


def test_nvme_disk_that_may_be_reached_in_several_ways(take: Take, tmp_path: Path) -> None:
    machine = Machine(tmp_path, mounts=MOUNTS.format("259:1", "xfs", "/dev/nvme0n1"))
    machine.device("pci0000:00/0000:00:04.0", "pci", "pci:nvme", "nvme", "nvme")
    (tmp_path / "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0").mkdir(parents=True)
    subsystem = "virtual/nvme-subsystem/nvme-subsys0"
    machine.block(f"{subsystem}/nvme0n1", "259:1")
    machine.link(f"sys/devices/{subsystem}/nvme0", "sys/devices/pci0000:00/0000:00:04.0/nvme/nvme0")
    assert take(tmp_path)["root"]["blocks"] == [
        {"name": "nvme0n1", "path": f"{subsystem}/nvme0n1"},
        {"name": "nvme0", "path": "pci0000:00/0000:00:04.0/nvme/nvme0"},
    ]


def test_root_without_a_device(take: Take, tmp_path: Path) -> None:
    machine = pc(tmp_path, "0:33", "overlay", "overlay")
    assert take(machine.base)["root"] == {"source": "overlay", "type": "overlay", "blocks": []}


def test_displays_are_cards_and_not_their_connectors(take: Take, tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    machine.device("pci0000:00/0000:00:02.0", "pci", "pci:vga", "bochs-drm", "bochs")
    card = "sys/devices/pci0000:00/0000:00:02.0/drm/card0"
    for place in (card, f"{card}/card0-Virtual-1"):
        (tmp_path / place).mkdir(parents=True)
        machine.link(f"sys/class/drm/{Path(place).name}", place)
    machine.link(f"{card}/device", "sys/devices/pci0000:00/0000:00:02.0")
    assert take(tmp_path)["displays"] == [{"name": "card0", "path": "pci0000:00/0000:00:02.0"}]


def test_the_loader_writes_the_same_bytes(tmp_path: Path) -> None:
    machine = pc(tmp_path, "0:40", "ext4", "/dev/\\040\"\xe9")
    odd = os.fsdecode(b"\xff\xc3\xa9\xf0\x9f\x92\xbe\x7f\\")
    for number in range(300):
        machine.device(f"platform/odd{number:x}", "platform", f"{odd}{number}")
    for number in (0, 2, 10, 1):
        card = f"sys/devices/virtual/drm/card{number}"
        machine.link(f"{card}/device", "sys/devices/platform/odd7")
        machine.link(f"sys/class/drm/card{number}", card)
        machine.supplies(f"platform/odd{number:x}", "pci0000:00/0000:00:03.0")
    found = by_loader(tmp_path)
    assert found == snapshot.text(snapshot.take(tmp_path))
    assert len(json.loads(found)["devices"]) == 302


def test_the_loader_s_is_of_this_machine(tmp_path: Path) -> None:
    output = tmp_path / "board.json"
    subprocess.run([loaders.find(), "snapshot", "-o", output], check=True)
    # Modules come and go.
    found, expected = json.loads(output.read_text()), snapshot.take()
    assert {**found, "modules": []} == {**expected, "modules": []}
    assert list(tmp_path.iterdir()) == [output]


def test_the_file_alone_writes_what_the_command_does(run_tinykmod: Callable, tmp_path: Path) -> None:
    """Without tinykmod, and without site-packages, on this machine."""
    alone, own = tmp_path / "alone.json", tmp_path / "own.json"
    words = [sys.executable, "-I", "-S", snapshot.__file__]
    done = subprocess.run([*words, "-o", alone], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    done = run_tinykmod("snapshot", "-o", own)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    first, second = (json.loads(path.read_text()) for path in (alone, own))
    # Modules come and go.
    assert {**first, "modules": []} == {**second, "modules": []}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alone.json", "own.json"]
    assert host().release == first["release"]
    ast.parse(Path(snapshot.__file__).read_text(), feature_version=(3, 7))


@pytest.mark.parametrize("by", ["command", "file", "loader"])
def test_what_hinders_is_one_line_and_leaves_what_was_there(run_tinykmod: Callable, tmp_path: Path, by: str) -> None:
    output = tmp_path / "no-such-directory/board.json"
    if by == "command":
        done = run_tinykmod("snapshot", "-o", output)
    else:
        start = [sys.executable, "-I", snapshot.__file__] if by == "file" else [loaders.find(), "snapshot"]
        done = subprocess.run([*start, "-o", output], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "No such file or directory" in done.stderr
    done = run_tinykmod("snapshot", "--sysroot", tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tinykmod: {tmp_path}/sys/bus: No such file or directory\n"
    words = [loaders.find(), "snapshot", "--sysroot", tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tinykmod: snapshot /sys/bus: No such file or directory\n"
