"""Real boots of other architectures' kernels, whose images were made on this machine."""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import guest_machine
import pytest
from foreign_loader import loader_for
from once import once
from test_root import UUID, events, reached

from tinykmod.bench.debian import Kernel, fetch_busybox, fetch_kernel
from tinykmod.bench.machines import AARCH64, ARM64_MMIO, ARM64_PCI, ARM_MMIO, Machine
from tinykmod.bench.qemu import BootResult, boot

pytestmark = pytest.mark.vm


class Board(NamedTuple):
    """Debian's kernel of an architecture, a root disk, and a way to make images: image(name, *words)."""

    kernel: Kernel
    disk: Path
    image: Callable[..., Path]

    def start(self, image: Path, machine: Machine, smp: int = 1) -> BootResult:
        return boot(self.kernel.vmlinuz, image, machine=machine, disks=[self.disk], append=f"root=UUID={UUID}",
                    timeout=240, stop_on=f"^{guest_machine.SNAPSHOT_END}$", smp=smp)  # fmt: skip


@pytest.fixture(scope="session")
def board(run_tinykmod: Callable, shared_dir: Path) -> Callable[[str, str, str], Board]:
    """board(Debian's kernel, Debian's architecture, the kernel's)."""

    def make(meta: str, debian: str, arch: str) -> Board:
        kernel, busybox, loader = fetch_kernel(meta, debian), fetch_busybox(debian), loader_for(arch)

        def image(name: str, *words: str | Path) -> Path:
            def build(path: Path) -> None:
                done = run_tinykmod("initramfs", "-b", kernel.root, *words, "--no-firmware", "-o", path,
                                    kernel.release, TINYKMOD_LOADERS=str(loader.parent))  # fmt: skip
                assert (done.returncode, done.stderr) == (0, "")

            return once(shared_dir / f"{name}-{arch}.img", build)

        disk = once(
            shared_dir / f"root-{arch}.img",
            lambda path: guest_machine.make_disk(path, uuid=UUID, busybox=busybox, loader=loader),
        )
        return Board(kernel, disk, image)

    return make


@pytest.fixture
def arm64(board: Callable[..., Board]) -> Board:
    return board("linux-image-arm64", "arm64", "aarch64")


def booted(result: BootResult, device: str) -> tuple[dict[str, Any], set[str]]:
    """The snapshot that the root's init has taken, and the modules that the loader has loaded."""
    reached(result, device, "ext4")
    loads = events(result, "module")
    # What is for another processor is no fault.
    assert {event["result"] for event in loads} <= {0, -errno.ENODEV}
    taken = guest_machine.snapshot(result.lines)
    assert taken["root"]["blocks"][0]["name"] == device.removeprefix("/dev/")
    return taken, {event["name"] for event in loads if event["result"] == 0}


@pytest.mark.parametrize(
    ("machine", "driver"), [(ARM64_MMIO, "virtio_mmio"), (ARM64_PCI, "virtio_pci")],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_arm64(arm64: Board, machine: Machine, driver: str) -> None:
    taken, loaded = booted(arm64.start(arm64.image("generic", "--arch", "aarch64"), machine), "/dev/vda")
    assert {driver, "virtio_blk", "ext4"} <= loaded
    assert taken["arch"] == "aarch64"


def test_32_bit_arm(board: Callable[..., Board]) -> None:
    armhf = board("linux-image-armmp", "armhf", "armv7l")
    taken, loaded = booted(armhf.start(armhf.image("generic", "--arch", "armv7l"), ARM_MMIO), "/dev/vda")
    assert {"virtio_mmio", "virtio_blk", "ext4"} <= loaded
    assert (taken["arch"], taken["release"]) == ("armv7l", armhf.kernel.release)


def test_a_board_has_what_its_device_tree_says_that_its_disk_waits_for(
    arm64: Board, run_tinykmod: Callable, tmp_path: Path
) -> None:
    """A Raspberry Pi 3 with its root on USB: without the driver of its PHY, a supplier, no controller is probed."""
    [tree] = arm64.kernel.root.glob("usr/lib/linux-image-*/broadcom/bcm2837-rpi-3-b.dtb")
    machine = Machine("raspi3b", ("-M", "raspi3b", "-dtb", str(tree)), "usb-storage,drive={id}", AARCH64)
    taken, _ = booted(arm64.start(arm64.image("generic", "--arch", "aarch64"), machine, smp=4), "/dev/sda")
    [usb] = [device for device in taken["devices"] if device.get("driver") == "dwc2"]
    assert "platform/phy" in usb["suppliers"]
    snapshot = tmp_path / "board.json"
    snapshot.write_text(json.dumps(taken))
    own = arm64.image("raspi3b", "--for", snapshot, "--strict")
    done = run_tinykmod("image", "check", "--for", snapshot, own)
    assert (done.returncode, done.stderr) == (0, "")
    _, loaded = booted(arm64.start(own, machine, smp=4), "/dev/sda")
    assert {"phy_generic", "dwc2", "usb_storage", "sd_mod"} <= loaded
    assert "bcm2835" not in loaded, "the SD card's controller is not what the root sits behind"
