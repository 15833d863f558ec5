"""The virtual machines that boots are tried and measured on: QEMU's arguments beside kernel, initrd and speed.

Each is a TOML file, whose keys docs/boot-one.md has: those of machine_files/ go by name, a user's own by its path.
"""

from __future__ import annotations

import difflib
import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykmod.errors import TinykmodError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

FILES = Path(__file__).resolve().parent / "machine_files"
#: Key of a machine's file -> its type, and whether it has to be there.
_KEYS = {"about": (str, False), "arch": (str, True), "qemu": (str, True), "devices": (list, False),
         "disk": (str, True)}  # fmt: skip


@dataclass(frozen=True)
class Emulator:
    """QEMU for one architecture: its program, Debian's package of that, and the console on the first serial port.

    `arch` is the architecture as `uname -m` says it, `debian` as Debian does, `kernel` Debian's meta-package for it.
    """

    program: str
    package: str
    console: str
    arch: str
    debian: str
    kernel: str


X86_64 = Emulator("qemu-system-x86_64", "qemu-system-x86", "ttyS0", "x86_64", "amd64", "linux-image-amd64")
AARCH64 = Emulator("qemu-system-aarch64", "qemu-system-arm", "ttyAMA0", "aarch64", "arm64", "linux-image-arm64")
ARMV7L = Emulator("qemu-system-arm", "qemu-system-arm", "ttyAMA0", "armv7l", "armhf", "linux-image-armmp")
_EMULATORS = {emulator.arch: emulator for emulator in (X86_64, AARCH64, ARMV7L)}


@dataclass(frozen=True)
class Machine:
    """`args` describe the machine; `disk` is the -device of each disk image, with {id} for the drive."""

    name: str
    args: tuple[str, ...]
    disk: str = "virtio-blk-pci,drive={id}"
    emulator: Emulator = X86_64
    about: str = ""


def null_disk(device: str, name: str) -> tuple[str, ...]:
    """A disk of 64 MiB (a power of two, which SD cards must have) that holds nothing and needs no file."""
    blockdev = f"null-co,node-name={name},size={64 << 20},read-zeroes=on"
    return ("-blockdev", blockdev, "-device", f"{device},drive={name}")


def names() -> list[str]:
    """Of the machines in the package."""
    return sorted(path.stem for path in FILES.glob("*.toml"))


def load(name: str | os.PathLike[str]) -> Machine:
    """The machine of that NAME in the package; or of a file, if it has a / in it or ends with .toml.

    Raises TinykmodError where there is none of that name (with those that are near), or its file is damaged; OSError
    where a file cannot be read.
    """
    text = os.fspath(name)
    if "/" in text or text.endswith(".toml"):
        return _read(Path(text))
    if text not in names():
        near = difflib.get_close_matches(text, names(), 3, 0.5) or names()
        raise TinykmodError(text, f"no machine of this name; there is {', '.join(near)}, or a file: ./NAME.toml")
    return _read(FILES / f"{text}.toml")


def _read(path: Path) -> Machine:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TinykmodError(path, f"is no TOML: {error}") from None
    wrong = _fault(found)
    if wrong:
        raise TinykmodError(path, wrong)
    try:
        args = shlex.split(found["qemu"])
    except ValueError as error:
        raise TinykmodError(path, f"`qemu` are no words as in a shell: {error}") from None
    for number, device in enumerate(found.get("devices", ())):
        # What has to be on the bus of another comes after it, as on QEMU's own command line.
        rest, empty, more = device.partition(",drive={empty}")
        args += null_disk(rest + more, f"empty{number}") if empty else ("-device", device)
    return Machine(path.stem, tuple(args), found["disk"], _EMULATORS[found["arch"]], found.get("about", ""))


def _fault(found: dict[str, Any]) -> str:
    """What is wrong with a machine's file; empty where nothing is."""
    for key, value in found.items():
        if key not in _KEYS:
            near = difflib.get_close_matches(key, _KEYS, 1)
            return f"`{key}` is no key of a machine{f'; {near[0]}?' if near else ''} (there is {', '.join(_KEYS)})"
        kind = _KEYS[key][0]
        if not isinstance(value, kind) or (kind is list and not all(isinstance(item, str) for item in value)):
            return f"`{key}` is not {'a list of texts' if kind is list else 'a text'}"
    for key, (_, needed) in _KEYS.items():
        if needed and key not in found:
            return f"has no `{key}`"
    if found["arch"] not in _EMULATORS:
        return f"`arch` is {found['arch']!r}, not one of {', '.join(_EMULATORS)}"
    if "{id}" not in found["disk"]:
        return "`disk` has no {id}, which stands for the drive"
    return ""


VIRTIO_BLK = load("virtio-blk")
NVME = load("nvme")
AHCI = load("ahci")
#: Booted without a disk.
NO_DISK = Machine("no-disk", VIRTIO_BLK.args)
#: The machine of the measurements: root on virtio-blk, and one of most kinds of device that QEMU has.
REFERENCE = load("reference")

#: Boards: what they have is in a device tree, which QEMU makes.
ARM64_MMIO = load("arm64-mmio")
ARM64_PCI = load("arm64-pci")
ARM_MMIO = load("arm-mmio")

#: Those that amd64 kernels boot on, by name.
MACHINES = {name: machine for name in names() if (machine := load(name)).emulator is X86_64}
