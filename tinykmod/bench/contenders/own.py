"""tinykmod's own images, as `tinykmod initramfs` makes them."""

from __future__ import annotations

from pathlib import Path

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.bench.machines import Machine
from tinykmod.errors import TinykmodError
from tinykmod.image.archive import read_image
from tinykmod.image.build import INDEX_NAME, build
from tinykmod.image.request import Request
from tinykmod.image.snapshot import Snapshot
from tinykmod.index.reader import Index
from tinykmod.modules.driver_class import DriverClass

DISKS = DriverClass.STORAGE
DISKS_AND_DISPLAYS = DriverClass.STORAGE | DriverClass.GPU
#: QEMU's programs -> what `uname -m` and Debian call the architecture that they run.
_ARCHES = {
    "qemu-system-x86_64": ("x86_64", "amd64"),
    "qemu-system-aarch64": ("aarch64", "arm64"),
    "qemu-system-arm": ("armv7l", "armhf"),
}


def image(kernel: Kernel, machine: Machine, classes: DriverClass, only: Snapshot | None, scratch: Path) -> bytes:
    """The default image, its modules packed one by one: every driver of CLASSES, or what the machine ONLY needs.

    Firmware is left out: Debian's is another package, and no virtual machine wants any. Raises TinykmodError.
    """
    output = scratch / "image"
    build(Request(kernel.root, kernel.release, output, loader(machine), classes, firmware=None, machine=only))
    return output.read_bytes()


def loader(machine: Machine) -> Path:
    """The loader that runs on MACHINE. Raises TinykmodError."""
    return loaders.find(_arches(machine)[0])


def debian_arch(machine: Machine) -> str:
    """MACHINE's architecture as Debian says it. Raises TinykmodError."""
    return _arches(machine)[1]


def index_of(image: Path) -> Index:
    """The boot index in an image of ours."""
    [data] = [entry.data for path, entry in read_image(image).entries.items() if path.endswith(f"/{INDEX_NAME}")]
    return Index(data)




def _arches(machine: Machine) -> tuple[str, str]:
    program = machine.emulator.program
    if program not in _ARCHES:
        raise TinykmodError(machine.name, f"there is no loader for what {program} runs")
    return _ARCHES[program]
