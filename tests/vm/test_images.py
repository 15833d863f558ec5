"""Real boots of images for all machines and of images for one, with two of Debian's kernels.

The modules of 6.12's generic image are .ko.xz, as they come with the kernel, which decompresses them itself; those of
the others are packed by themselves, as is the default.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Callable
from pathlib import Path

import guest_machine
import pytest
from once import once
from test_boot import UUID, events, loads, reached_root
from test_devices import UAS
from with_display import MACHINES, OWN

from tinykmod.bench.machines import Machine
from tinykmod.bench.qemu import BootResult
from tinykmod.bench.report import timeline

pytestmark = pytest.mark.vm


@pytest.fixture(scope="session")
def snapshot(booted, run_tinykmod: Callable, shared_dir: Path, tmp_path_factory) -> Callable[[str], Path]:
    """snapshot(version): of the machine with all its drivers loaded; of 6.1 Python's, of 6.12 the loader's."""

    def make(version: str) -> Path:
        def take(path: Path) -> None:
            lines = booted(version, MACHINES[0][0]).lines
            if version == "6.1":
                sysroot = guest_machine.copy(lines, tmp_path_factory.mktemp("machine"))
                done = run_tinykmod("snapshot", "--sysroot", sysroot, "-o", path)
                assert (done.returncode, done.stderr) == (0, "")
            else:
                path.write_text(json.dumps(guest_machine.snapshot(lines)))

        return once(shared_dir / f"snapshot-{version}.json", take)

    return make


@pytest.fixture(scope="session")
def own(debian, snapshot, run_tinykmod: Callable, shared_dir: Path) -> Callable[[str], Path]:
    """own(version): the image of the machine; that of 6.1 has nothing for a moved disk."""

    def make(version: str) -> Path:
        def build(path: Path) -> None:
            words = ("--strict",) if version == "6.1" else ()
            kernel = debian(version).kernel
            done = run_tinykmod("initramfs", "--for", snapshot(version), *words, "--class", "storage,gpu", "-b",
                                kernel.root, "--no-firmware", "-o", path, kernel.release)  # fmt: skip
            assert (done.returncode, done.stderr) == (0, "")

        return once(shared_dir / f"own-{version}.img", build)

    return make


def served(result: BootResult, device: str, driver: str, why: str = "modalias") -> None:
    """The root came from DEVICE, by the index, its DRIVER because of WHY, and no module failed."""
    assert reached_root(result)
    [mounted] = events(result, "mounted")
    assert mounted["device"].startswith(device)
    assert mounted["type"] == "ext4"
    assert events(result, "index")
    assert not events(result, "fallback")
    found = loads(result)
    # What is for another processor is no fault.
    assert {event["result"] for event in found.values()} <= {0, -errno.ENODEV}
    assert found[driver]["why"] == why
    if why == "modalias":
        assert found[driver]["by"] in {event["modalias"] for event in events(result, "device")}
    # What needs a module comes after it.
    order = list(found)
    assert order.index("jbd2") < order.index("ext4")


NAMES = [machine.name for machine, *_ in MACHINES]
with_kernels = pytest.mark.parametrize("version", ["6.1", "6.12"])


@with_kernels
@pytest.mark.parametrize(("machine", "device", "driver", "display"), MACHINES, ids=NAMES)
def test_the_generic_image_has_root_and_display(booted, debian, version, machine, device, driver, display) -> None:
    """The display is there when the root's init begins."""
    result = booted(version, machine)
    served(result, device, driver)
    assert f"display {display}" in result.lines, result.tail(60)
    assert guest_machine.snapshot(result.lines)["release"] == debian(version).kernel.release
    text = timeline(result)
    assert driver in text
    assert "root's init running" in text


@with_kernels
@pytest.mark.parametrize(("machine", "device", "driver"), [entry[:3] for entry in MACHINES], ids=NAMES)
def test_the_image_of_a_machine_has_its_root_and_display(debian, own, version, machine, device, driver) -> None:
    """The root may be on any of its controllers; it was on virtio when the snapshot was taken."""
    result = debian(version).start(Machine(machine.name, OWN, machine.disk), own(version))
    served(result, device, driver, "plan" if driver == "virtio_blk" else "modalias")
    assert "display virtio-pci" in result.lines, result.tail(60)


@with_kernels
def test_the_image_of_a_machine_is_small_and_passes_its_check(debian, snapshot, own, run_tinykmod, version) -> None:
    assert own(version).stat().st_size < debian(version).generic.stat().st_size / 4
    done = run_tinykmod("image", "check", "--for", snapshot(version), own(version))
    assert (done.returncode, done.stdout.count("\n")) == (0, 1)


def test_it_boots_where_the_disk_was_moved(debian, own) -> None:
    """To USB, for which the machine has no controller."""
    served(debian("6.12").start(UAS, own("6.12")), "/dev/sd", "uas")


def test_the_snapshot_is_of_the_machine(booted, snapshot, kernel) -> None:
    taken = json.loads(snapshot("6.1").read_text())
    assert (taken["release"], taken["arch"]) == (kernel.release, "x86_64")
    assert f"root=UUID={UUID}" in taken["cmdline"]
    [block] = taken["root"]["blocks"]
    devices = {device["path"]: device for device in taken["devices"]}
    behind = {path: device.get("module") for path, device in devices.items() if block["path"].startswith(f"{path}/")}
    assert sorted(behind.values()) == ["virtio_blk", "virtio_pci"]
    assert (taken["root"]["type"], block["name"]) == ("ext4", "vda")
    # More than PCI's: the keyboard's controller, the processor.
    assert {device["bus"] for device in devices.values()} >= {"pci", "virtio", "platform", "acpi", "cpu", "serio"}
    # The loader saw the same.
    assert guest_machine.snapshot(booted("6.1", MACHINES[0][0]).lines) == taken
