"""Debian's systemd as the init of the root that the loader hands over to."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import pytest
from once import once

from tinykmod.bench.debian import fetch_root
from tinykmod.bench.disk import TRACE_BEGIN, TRACE_END, make_disk_of
from tinykmod.bench.machines import VIRTIO_BLK, Machine

pytestmark = pytest.mark.vm

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
#: Root on virtio-blk, and devices that the loader leaves to udev when the root is there.
MACHINE = Machine(
    "with-systemd",
    (*VIRTIO_BLK.args, *"-device virtio-gpu-pci -device e1000e -device i6300esb -device qemu-xhci".split()),
)
#: Waits for the end of systemd's start-up, and tells what became of it.
REPORT = f"""\
#!/bin/sh
exec > /dev/ttyS0 2>&1
echo "system $(systemctl is-system-running --wait)"
udevadm settle
echo "multi-user $(systemctl is-active multi-user.target)"
systemctl --failed --plain --no-legend | sed 's/^/failed /'
systemctl list-jobs --no-legend | sed 's/^/job /'
sed 's/ .*//; s/^/module /' /proc/modules
grep -E ' /(dev|proc|sys|run)? ' /proc/mounts | sed 's/^/mount /'
journalctl -b -t tinykmod -o cat --no-pager | sed 's/^/journal /'
echo '{TRACE_BEGIN}'
cat /run/tinykmod/trace.jsonl
echo '{TRACE_END}'
poweroff -ff
"""
#: What the packages' maintainer scripts and the installer would have left.
CONFIGURED = {
    "etc/hostname": "tinykmod\n",
    "etc/machine-id": "5f0c6d1e9a7b4c2d8e3f1a0b9c8d7e6f\n",
    "etc/fstab": f"UUID={UUID} / ext4 errors=remount-ro 0 1\n",
    "usr/bin/report": REPORT,
    "etc/systemd/system/report.service": "[Unit]\nAfter=basic.target\n[Service]\nExecStart=/usr/bin/report\n",
}
#: Groups that udev's rules name.
GROUPS = "".join(f"{name}:x:{number}:\n" for number, name in enumerate(("input", "kvm", "render", "sgx"), 100))


@pytest.fixture(scope="session")
def debian_disk(kernel, depmod_root: Path, shared_dir: Path, tmp_path_factory) -> Path:
    """A Debian with systemd, udev and the kernel's modules, on ext4."""

    def make(path: Path) -> None:
        tree = tmp_path_factory.mktemp("debian") / "tree"
        shutil.copytree(fetch_root(["systemd-sysv", "udev", "kmod"]), tree, symlinks=True)
        modules = f"lib/modules/{kernel.release}"
        shutil.copytree(depmod_root / modules, tree / "usr" / modules, symlinks=True, copy_function=os.link)
        for name, text in CONFIGURED.items():
            (tree / name).parent.mkdir(parents=True, exist_ok=True)
            (tree / name).write_text(text)
        (tree / "usr/bin/report").chmod(stat.S_IRWXU)
        for name, more in (("passwd", ""), ("group", GROUPS)):
            (tree / "etc" / name).write_text((tree / f"usr/share/base-passwd/{name}.master").read_text() + more)
        wants = tree / "etc/systemd/system/multi-user.target.wants"
        wants.mkdir()
        (wants / "report.service").symlink_to("../report.service")
        make_disk_of(path, tree, uuid=UUID, size_mib=1024)
        shutil.rmtree(tree)

    return once(shared_dir / "debian.img", make)


def test_systemd_starts_clean_and_its_udev_loads_the_rest(start, debian_disk):
    # A login prompt would take the console from the report.
    words = f"root=UUID={UUID} rd.tinykmod.gpu=skip systemd.getty_auto=0"
    result = start(words, debian_disk, machine=MACHINE, timeout=180)
    assert result.ended == "poweroff", result.tail(40)

    def told(what: str) -> list[str]:
        return [line.removeprefix(f"{what} ") for line in result.lines if line.startswith(f"{what} ")]

    assert told("failed") == []
    assert told("system") == ["running"], result.tail(60)
    assert told("multi-user") == ["active"]
    assert told("job") == []
    # INITRD_INTERFACE: what systemd takes over as it is.
    mounts = {words[1]: words for words in map(str.split, told("mount"))}
    assert mounts["/"][0:3] == ["/dev/vda", "/", "ext4"]
    assert mounts["/"][3].startswith("rw,"), "fstab's options"
    assert {at: words[2] for at, words in mounts.items()} == {
        "/": "ext4", "/dev": "devtmpfs", "/proc": "proc", "/sys": "sysfs", "/run": "tmpfs",
    }  # fmt: skip
    assert {"nosuid", "nodev", "mode=755", "nr_inodes=819200"} <= set(mounts["/run"][3].split(","))
    assert len(told("mount")) == len(mounts), "nothing is mounted twice"
    # The loader's record, where the real system finds it.
    assert any(line.startswith("loaded ") for line in told("journal"))
    assert result.trace
    assert result.trace[-1]["ev"] == "handover"
    # What was dropped is there now: udev saw the devices again.
    loaded = set(told("module"))
    dropped = {event["name"] for event in result.trace if event["ev"] == "dropped" and event["why"] == "modalias"}
    assert {"ahci", "xhci_pci", "e1000e", "i6300esb"} & dropped
    assert dropped <= loaded
    assert "virtio_gpu" in loaded
    assert not any(event["name"] == "virtio_gpu" for event in result.trace if event["ev"] == "module")
