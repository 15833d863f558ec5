"""Real boots that find their root in many places and by many names, and one that does not find it."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from once import once

from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.machines import VIRTIO_BLK, Machine, load

pytestmark = pytest.mark.vm

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
PARTUUID = "0d1e2f30-4152-4637-8495-a6b7c8d9eafb"
FIRST = "1d1e2f30-4152-4637-8495-a6b7c8d9eafb"
VIRTIO_SCSI, SD_CARD = load("virtio-scsi"), load("sd-card")
_MIB = 1 << 20


def run(*words: str | Path, text: str | None = None) -> None:
    program = shutil.which(words[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    assert program, words[0]
    done = subprocess.run([program, *words[1:]], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (words, done.stderr)


def events(result, name):
    return [event for event in result.trace or () if event["ev"] == name]


def reached(result, device, kind):
    """The root's init ran from DEVICE, which was mounted as KIND."""
    assert SENTINEL in result.lines, result.tail(40)
    [mounted] = events(result, "mounted")
    assert (mounted["device"], mounted["type"]) == (device, kind)


def said(result):
    return [text.removeprefix("tinykmod: ") for _, text in result.dmesg if text.startswith("tinykmod: ")]


def empty(path: Path, mib: int) -> Path:
    with path.open("wb") as file:
        file.truncate(mib * _MIB)
    return path


@pytest.fixture(scope="session")
def btrfs(tree: Path, shared_dir: Path) -> Path:
    return once(
        shared_dir / "btrfs.img",
        lambda path: run("mkfs.btrfs", "-q", "-U", UUID, "--rootdir", tree, empty(path, 128)),
    )


@pytest.fixture(scope="session")
def xfs_card(tree: Path, shared_dir: Path) -> Path:
    """512 MiB, as big as the smallest xfs makes an SD card, with a GPT: the root is its second partition."""

    def make(path: Path) -> None:
        part, files = path.with_name("xfs.part"), path.with_name("xfs.files")
        lines = ["/", "0 0", "d--755 0 0"]
        for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
            inside = [entry.name for entry in sorted((tree / name).iterdir())]
            lines += [f"{name} d--755 0 0", *(f"{file} ---755 0 0 {tree / name / file}" for file in inside), "$"]
        files.write_text("\n".join([*lines, "$", ""]))
        run("mkfs.xfs", "-q", "-L", "xfs root", "-p", files, empty(part, 400))
        script = f'label: gpt\nsize=16MiB, uuid={FIRST}\nsize=400MiB, name="root of it", uuid={PARTUUID}\n'
        run("sfdisk", "-q", empty(path, 512), text=script)
        with path.open("r+b") as disk, part.open("rb") as source:
            disk.seek(17 * _MIB)
            shutil.copyfileobj(source, disk, _MIB)
        part.unlink()

    return once(shared_dir / "xfs-card.img", make)


def test_btrfs_by_uuid_on_virtio_scsi_beside_swap_of_that_uuid(start, btrfs, tmp_path):
    swap = empty(tmp_path / "swap", 1)
    run("mkswap", "-q", "-U", UUID, swap)
    result = start(f"root=UUID={UUID.upper()}", swap, btrfs, machine=VIRTIO_SCSI)
    # The kernel probes SCSI disks beside each other: either may be sda.
    [mounted] = events(result, "mounted")
    reached(result, mounted["device"], "btrfs")
    assert not [line for line in said(result) if line.startswith("root /dev/")]


def test_xfs_by_partlabel_on_an_sd_card(start, xfs_card):
    result = start('root="PARTLABEL=root of it" rootfstype=ext4,xfs', xfs_card, machine=SD_CARD)
    reached(result, "/dev/mmcblk0p2", "xfs")


def test_one_label_on_two_disks(start, disk):
    """The first is taken, and a line names both."""
    both = disk(label="a b"), disk(label="a b", size_mib=17)
    result = start(r"root=LABEL=a\x20b", *both)
    reached(result, "/dev/vda", "ext4")
    assert r"root LABEL=a\x20b: is on /dev/vda and on /dev/vdb; the first is taken" in [
        line.replace(r"\\", "\\") for line in said(result)
    ]


class Qmp:
    """QEMU's machine protocol on a socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.do("qmp_capabilities")

    def do(self, command: str, **arguments: object) -> None:
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while "event" in (answer := json.loads(self.file.readline())):
            pass
        assert "return" in answer, answer


def test_usb_stick_by_number_plugged_in_5_seconds_after_the_start(start, disk, tmp_path):
    stick = Path(shutil.copy(disk(), tmp_path / "stick.img"))
    path = tmp_path / "qmp"
    args = ("-device", "qemu-xhci,id=usb", "-qmp", f"unix:{path},server=on,wait=off")
    machine = Machine("usb", (*VIRTIO_BLK.args, *args))
    waited = []

    def plug() -> None:
        qmp = Qmp(path)
        qmp.do("blockdev-add", driver="file", filename=str(stick), **{"node-name": "stick"})
        qmp.do("device_add", driver="usb-storage", bus="usb.0", drive="stick")

    def on_line(line: str) -> None:
        if "tinykmod: init started" in line and not waited:
            waited.append(threading.Timer(5, plug))
            waited[0].start()

    result = start("root=8:0 rootwait loglevel=7", machine=machine, on_line=on_line)
    reached(result, "/dev/sda", "ext4")
    began, root = events(result, "start")[0]["t"], events(result, "root")[0]["t"]
    assert root - began > 4e9
    loaded = {event["name"] for event in events(result, "module")}
    assert {"xhci_pci", "usb_storage", "sd_mod"} <= loaded


def test_modules_that_the_user_names(start, xfs_card, own_image):
    """rd.driver.pre comes first of all, the others at the end; the root is the partition behind PARTUUID's."""
    words = (
        f"root=PARTUUID={FIRST.upper()}/PARTNROFF=1 rd.driver.pre=i6300esb,isofs rd.driver.post=brd,crc32c "
        "rd.modules_load=erofs modules-load=vfat modprobe.blacklist=f2fs"
    )
    result = start(words, xfs_card, initrd=own_image)
    reached(result, "/dev/vda2", "xfs")
    order = [event["name"] for event in sorted(events(result, "module"), key=lambda event: event["t"])]
    asked = [event["name"] for event in events(result, "module") if event["why"] == "request"]
    assert asked[:2] == ["i6300esb", "isofs"]
    assert order.index("i6300esb") < order.index("virtio_blk")
    assert [name for name in asked if name in order[order.index("xfs") :]][:5] == [
        "erofs", "vfat", "squashfs", "i2c_dev", "brd",
    ]  # fmt: skip
    assert not {"loop", "f2fs"} & set(order)
    missing = "module not-there: /etc/modules-load.d/20-early.conf asks for it, but it is not in this image"
    assert missing in said(result)


def test_report_of_a_root_that_does_not_come(start, disk, xfs_card, own_image):
    """Its JSON and its lines name the disks, what failed and what is missing; rd.break stops before the modules."""
    result = start(
        "root=LABEL=nowhere rd.tinykmod.timeout=7 rd.break=pre-trigger module_blacklist=libahci",
        disk(label="a b"), xfs_card, initrd=own_image,
    )  # fmt: skip
    assert result.ended == "poweroff", result.tail(60)
    assert "first: 0 modules" in result.lines
    lines = result.lines
    report = json.loads("".join(lines[lines.index("--- report ---") + 1 : lines.index("--- end of report ---")]))
    assert report["root"] == "LABEL=nowhere"
    assert 7 <= report["seconds"] <= 14
    assert report["why"] == f"no root: root=LABEL=nowhere is not there after {report['seconds']} s"
    disks = {seen.pop("device"): seen for seen in report["disks"]}
    assert disks["/dev/vda"] == {"size": 16 * _MIB, "type": "ext4", "uuid": UUID, "label": "a b"}
    assert disks["/dev/vdb"] == {"size": 512 * _MIB}
    assert disks["/dev/vdb2"].pop("uuid")
    assert disks["/dev/vdb2"] == {
        "size": 400 * _MIB, "type": "xfs", "label": "xfs root", "partuuid": PARTUUID, "partlabel": "root of it",
    }  # fmt: skip
    assert report["loaded"] > 5
    failed = {entry["module"]: entry["why"] for entry in report["failed"]}
    assert failed["libahci"] == "blacklisted on the kernel command line (module_blacklist=)"
    assert failed["ahci"] == "it needs libahci, which was not loaded"
    assert report["in_init"] == []
    assert report["deferred"] == []
    assert report["firmware"] == ["intel/nic.bin"]
    assert any(alias.startswith("acpi:PNP0103:") for alias in report["without_driver"])
    [alias] = [entry["modalias"] for entry in report["driver_failed"] if entry["module"] == "ahci"]
    assert "bc01sc06i01" in alias
    for word in (
        f"disk /dev/vda (16 MiB): ext4 UUID={UUID} LABEL=a b",
        "firmware intel/nic.bin: was asked for and is not in this image",
        f"the driver failed of {alias}: ahci: it needs libahci, which was not loaded",
    ):
        assert f"tinykmod: {word}" in result.console
    # blkid, in the same shell.
    assert f'/dev/vda: LABEL="a b" UUID="{UUID}" TYPE="ext4"' in lines
