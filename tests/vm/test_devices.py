"""Real boots from disks of more kinds and filesystems, and beside devices that do not answer."""

from __future__ import annotations

import errno
import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from once import once
from test_root import Qmp, empty, events, reached, run, said

from tinykmod.bench.disk import DMESG_END
from tinykmod.bench.machines import AHCI, NVME, VIRTIO_BLK, Machine

pytestmark = pytest.mark.vm

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
DISK_ID = "1a2b3c4d"
UAS = Machine(
    "uas", (*VIRTIO_BLK.args, *"-device qemu-xhci -device usb-uas,id=uas".split()), "scsi-hd,bus=uas.0,drive={id}"
)
CDROM = Machine("cdrom", VIRTIO_BLK.args, "ide-cd,drive={id}")
_MIB = 1 << 20


@pytest.fixture(scope="session")
def made(tree: Path, shared_dir: Path) -> Callable[[str], Path]:
    """made(filesystem): a disk whose root is of that kind."""

    def f2fs(path: Path) -> None:
        run("mkfs.f2fs", "-q", "-l", "f2 é", empty(path, 64))
        run("sload.f2fs", "-f", tree, path)

    def erofs(path: Path) -> None:
        run("mkfs.erofs", "-U", UUID, path, tree)

    def squashfs(path: Path) -> None:
        part = path.with_name("squashfs.part")
        run("mksquashfs", tree, part, "-quiet", "-no-progress", "-noappend")
        run("sfdisk", "-q", empty(path, 16), text=f"label: dos\nlabel-id: 0x{DISK_ID}\nsize=1MiB\nsize=12MiB\n")
        with path.open("r+b") as disk:
            disk.seek(2 * _MIB)
            disk.write(part.read_bytes())
        part.unlink()

    def iso9660(path: Path) -> None:
        run("xorriso", "-as", "mkisofs", "-quiet", "-R", "-V", "LIVE_CD", "-o", path, tree)

    makers = {maker.__name__: maker for maker in (f2fs, erofs, squashfs, iso9660)}
    return lambda kind: once(shared_dir / f"root.{kind}", makers[kind])


@pytest.mark.parametrize(
    ("kind", "machine", "root", "device"),
    [
        ("f2fs", UAS, 'root="LABEL=f2 é"', "/dev/sda"),
        ("erofs", NVME, f"root=/dev/disk/by-uuid/{UUID} rw", "/dev/nvme0n1"),
        ("squashfs", AHCI, f"root=PARTUUID={DISK_ID}-02", "/dev/sda2"),
        ("iso9660", CDROM, "root=LABEL=LIVE_CD", "/dev/sr0"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_root_of_kind(start, made, kind, machine, root, device):
    result = start(root, made(kind), machine=machine)
    reached(result, device, kind)
    assert result.ended == "poweroff"
    # What is for another processor is no fault.
    assert {event["result"] for event in events(result, "module")} <= {0, -errno.ENODEV}
    assert machine is not UAS or "uas" in {event["name"] for event in events(result, "module")}


#: A disk that takes an hour for each read. QEMU itself would read it in order to guess its geometry.
DEAD = "null-co,node-name=dead,size=67108864,latency-ns=3600000000000"
DEAD_DISK = ("-blockdev", DEAD, "-device", "virtio-blk-pci,drive=dead,cyls=130,heads=16,secs=63")


def test_a_disk_that_does_not_answer_holds_up_nothing(start, disk, own_image, tmp_path):
    """Its driver stays in its init for ever; the report names it, the shell ends, then the root is plugged in."""
    stick = Path(shutil.copy(disk(), tmp_path / "stick.img"))
    path = tmp_path / "qmp"
    args = ("-device", "qemu-xhci,id=usb", "-qmp", f"unix:{path},server=on,wait=off")
    machine = Machine("dead", (*VIRTIO_BLK.args, *DEAD_DISK, *args))

    def plug() -> None:
        qmp = Qmp(path)
        qmp.do("blockdev-add", driver="file", filename=str(stick), **{"node-name": "stick"})
        qmp.do("device_add", driver="usb-storage", bus="usb.0", drive="stick")

    def on_line(line: str) -> None:
        if line.startswith("first: "):
            threading.Timer(1, plug).start()

    words = f"root=UUID={UUID} rd.tinykmod.timeout=4 rd.tinykmod.drain=0"
    # QEMU ends no machine whose disk has not answered.
    result = start(words, machine=machine, initrd=own_image, on_line=on_line, stop_on=f"^{DMESG_END}")
    reached(result, "/dev/sda", "ext4")
    lines = said(result)
    assert f"no root: root=UUID={UUID} is not there after 4 s" in lines
    assert "no disk has appeared" in lines
    # Whichever comes second probes the disk.
    left = {event["name"] for event in events(result, "left")}
    assert left & {"virtio_pci", "virtio_blk"}
    for name in left:
        assert any(line.startswith(f"module {name}: is still in its init after ") for line in lines)
        assert f"module {name}: is still in its init; the boot goes on without it" in lines
    [mounted], [handover] = events(result, "mounted"), events(result, "handover")
    assert handover["t"] - mounted["t"] < 2e9


def test_a_disk_whose_probe_never_ends_keeps_no_module_from_what_needs_it(start, disk):
    """sd probes beside, and in the kernel the load of any driver waits for that; the root is behind several."""
    dead = "-device virtio-scsi-pci,addr=2 -device scsi-hd,drive=dead,cyls=130,heads=16,secs=63 -device qemu-xhci"
    machine = Machine("dead-scsi", (*VIRTIO_BLK.args, "-blockdev", DEAD, *dead.split()), "usb-storage,drive={id}")
    result = start(f"root=UUID={UUID}", disk(), machine=machine, stop_on=f"^{DMESG_END}")
    reached(result, "/dev/sdb", "ext4")
    assert not events(result, "left")
    [mounted], [handover] = events(result, "mounted"), events(result, "handover")
    assert handover["t"] - mounted["t"] < 2e9
    # Both loads have yet to end.
    found = {event["name"]: event for event in events(result, "module") if event["result"] == 0}
    assert all(found[name]["t"] + found[name]["dur"] > mounted["t"] for name in ("usbcore", "usb_storage"))
