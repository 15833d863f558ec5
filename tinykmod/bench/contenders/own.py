"""tinykmod's own images, as `tinykmod initramfs` makes them."""

from __future__ import annotations

from pathlib import Path

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.bench.machines import Machine
from tinykmod.image.archive import read_image
from tinykmod.image.build import INDEX_NAME, build
from tinykmod.image.request import Request
from tinykmod.image.snapshot import Snapshot
from tinykmod.index.reader import Index
from tinykmod.modules.driver_class import DriverClass

DISKS = DriverClass.STORAGE
DISKS_AND_DISPLAYS = DriverClass.STORAGE | DriverClass.GPU


def image(kernel: Kernel, machine: Machine, classes: DriverClass, only: Snapshot | None, scratch: Path) -> bytes:
    """The default image, its modules packed one by one: every driver of CLASSES, or what the machine ONLY needs.

    Firmware is left out: Debian's is another package, and no virtual machine wants any. Raises TinykmodError.
    """
    output = scratch / "image"
    loader = loaders.find(machine.emulator.arch)
    build(Request(kernel.root, kernel.release, output, loader, classes, firmware=None, machine=only))
    return output.read_bytes()


def index_of(image: Path) -> Index:
    """The boot index in an image of ours."""
    [data] = [entry.data for path, entry in read_image(image).entries.items() if path.endswith(f"/{INDEX_NAME}")]
    return Index(data)
