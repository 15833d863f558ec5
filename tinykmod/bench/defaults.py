"""What a boot needs and was not given: Debian's kernel, an image of it, a root that reports."""

from __future__ import annotations

import re
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tinykmod import loaders
from tinykmod.bench.debian import Kernel, fetch_busybox, fetch_kernel
from tinykmod.bench.disk import make_root_disk
from tinykmod.bench.machines import Emulator
from tinykmod.errors import TinykmodError
from tinykmod.image.build import build
from tinykmod.image.request import Image, Request
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.vmlinux import unpack_vmlinux

ROOT_UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
#: By architecture: places and bytes, one of which each of its kernels has. Linux's Documentation/arch/x86/boot.rst,
#: arm64/booting.rst, arch/arm/boot/compressed/head.S; QEMU takes ELF and gzip as well.
_MAGIC = {
    "x86_64": ((0x202, b"HdrS"), (0, b"\x7fELF")),
    "aarch64": ((0x38, b"ARM\x64"), (0, b"\x1f\x8b")),
    "armv7l": ((0x24, b"\x18\x28\x6f\x01"),),
}


def kernel(package: str, emulator: Emulator, where: Path) -> tuple[Kernel, Path]:
    """The kernel of Debian's meta-package, and the file to boot: below WHERE, uncompressed, where that is quicker."""
    found = fetch_kernel(package, emulator.debian)
    if emulator.arch != "x86_64":
        return found, found.vmlinuz
    unpacked = where / "vmlinux"
    unpacked.write_bytes(unpack_vmlinux(found.vmlinuz))
    return found, unpacked


def check_kernel(file: Path, emulator: Emulator) -> None:
    """Raises TinykmodError where FILE is no kernel of EMULATOR's architecture, OSError where it cannot be read."""
    with file.open("rb") as opened:
        head = opened.read(0x210)
    magic = _MAGIC[emulator.arch]
    if not any(head[place : place + len(text)] == text for place, text in magic):
        raise TinykmodError(file, f"is no kernel for {emulator.arch}")


def tree_of(file: Path) -> Kernel:
    """The kernel in FILE with the root that its modules are below: of an unpacked package, if it is in boot/ of one,
    or this machine's. Raises TinykmodError where its release is not known, or no modules are there."""
    release = _release(file)
    if not release:
        raise TinykmodError(file, "does not tell its release, so that its modules cannot be found: give --initrd")
    for root in (file.resolve().parent.parent, Path("/")):
        if (root / "lib/modules" / release).is_dir():
            return Kernel(release, file, root)
    raise TinykmodError(file, f"no lib/modules/{release} beside its directory or in /: give --initrd")


def _release(file: Path) -> str:
    """By the file's name, or by what a bzImage says of itself (boot.rst: kernel_version, from 0x200 on)."""
    named = re.match(r"vmlinu[xz]-(.+)", file.name)
    if named:
        return named[1]
    with file.open("rb") as opened:
        head = opened.read(0x10000)
    if head[0x202:0x206] != b"HdrS":
        return ""
    [offset] = struct.unpack_from("<H", head, 0x20E)
    words = head[0x200 + offset :].split(b"\0")[0].split()
    return words[0].decode(errors="replace") if offset and words else ""


def image(of: Kernel, emulator: Emulator, where: Path, tell: Callable[[str], None]) -> Image:
    """A generic image of OF's drivers of disks and displays, below WHERE. Raises what build() does."""
    loader = loaders.find(emulator.arch)
    request = Request(of.root, of.release, where / "initrd.img", loader,
                      DriverClass.STORAGE | DriverClass.GPU, firmware=None)  # fmt: skip
    return build(request, tell)


def root_disk(emulator: Emulator, where: Path) -> Path:
    """A disk below WHERE, the root of ROOT_UUID on it, whose init reports and powers off."""
    return make_root_disk(where / "root.img", busybox=fetch_busybox(emulator.debian), uuid=ROOT_UUID)


def root_of(disk: Path) -> str:
    """`UUID=...` of the one filesystem on DISK. Raises TinykmodError where there is not just one."""
    which = "give --append root=..."
    command = [str(loaders.find()), "blkid", str(disk)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    found = re.findall(r' UUID="([^"]+)" TYPE="', done.stdout)
    if len(found) != 1:
        there = f"{len(found)} filesystems with a UUID are on it" if found else "no filesystem with a UUID is on it"
        raise TinykmodError(disk, f"{there}: {which}")
    return f"UUID={found[0]}"
