"""Real boots of images for one machine, made from snapshots of machines that run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import guest_machine
import pytest
from once import once
from test_devices import UAS
from test_root import UUID, reached

from tinykmod.bench.machines import REFERENCE

pytestmark = pytest.mark.vm


@pytest.fixture(scope="session")
def root(disk: Callable[..., Path]) -> Path:
    return disk(init_script=guest_machine.INIT)


@pytest.fixture(scope="session")
def board(start, root, run_tinykmod: Callable, shared_dir: Path, tmp_path_factory) -> Path:
    """A snapshot of the reference machine, whose root is on virtio, as it runs."""

    def make(path: Path) -> None:
        lines = start(f"root=UUID={UUID}", root, machine=REFERENCE).lines
        sysroot = guest_machine.copy(lines, tmp_path_factory.mktemp("machine"))
        done = run_tinykmod("snapshot", "--sysroot", sysroot, "-o", path)
        assert (done.returncode, done.stderr) == (0, "")

    return once(shared_dir / "reference.json", make)


@pytest.fixture(scope="session")
def built(board, kernel, run_tinykmod: Callable, shared_dir: Path) -> Callable[..., Path]:
    """built(*words): the image for that machine."""

    def make(*words: str) -> Path:
        def build(path: Path) -> None:
            done = run_tinykmod("initramfs", "--for", board, *words, "-b", kernel.root, "-o", path, kernel.release)
            assert (done.returncode, done.stderr) == (0, "")

        return once(shared_dir / f"host{''.join(words)}.img", build)

    return make


def test_the_snapshot_is_of_the_machine(board: Path, kernel) -> None:
    taken = json.loads(board.read_text())
    assert (taken["release"], taken["arch"]) == (kernel.release, "x86_64")
    assert f"root=UUID={UUID}" in taken["cmdline"]
    [block] = taken["root"]["blocks"]
    devices = {device["path"]: device for device in taken["devices"]}
    served = {path: device.get("module") for path, device in devices.items() if block["path"].startswith(f"{path}/")}
    assert sorted(served.values()) == ["virtio_blk", "virtio_pci"]
    assert (taken["root"]["type"], block["name"]) == ("ext4", "vda")
    # More than PCI's: the keyboard's controller, the processor.
    assert {device["bus"] for device in devices.values()} >= {"pci", "virtio", "platform", "acpi", "cpu", "serio"}


def test_its_image_boots_it(start, root, built, board, image, run_tinykmod: Callable) -> None:
    own = built("--strict")
    assert own.stat().st_size < image.stat().st_size / 4
    done = run_tinykmod("image", "check", "--for", board, own)
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)
    reached(start(f"root=UUID={UUID}", root, machine=REFERENCE, initrd=own), "/dev/vda", "ext4")


def test_it_boots_where_the_disk_was_moved(start, root, built, image) -> None:
    own = built()
    assert own.stat().st_size < image.stat().st_size / 4
    # The snapshot's machine has controllers for NVMe and SATA, but no USB disk.
    reached(start(f"root=UUID={UUID}", root, machine=UAS, initrd=own), "/dev/sda", "ext4")
