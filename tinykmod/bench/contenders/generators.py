"""Debian's generators of images, each in a Debian with a kernel, set up as its users would for any PC.

A root by its UUID on ext4 takes no more than a word on the kernel's command line. No fstab names the root, so that
initramfs-tools does not check it (in an installed Debian it does), and no swap is waited for to resume from.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from tinykmod.bench.chroot import inside
from tinykmod.bench.contenders.system import system
from tinykmod.bench.debian import Kernel

_OUT = "/boot/image"


def initramfs_tools(tree: Path, kernel: Kernel, scratch: Path) -> bytes:
    """Debian's default: MODULES=most, zstd, busybox, udev by its own hook."""
    # The chroot's /proc/swaps tells of the swap of the machine that the image is made on.
    configure = "echo RESUME=none > /etc/initramfs-tools/conf.d/resume"
    return _made(tree, kernel, scratch, f"{configure} && mkinitramfs -o {_OUT} {kernel.release}")


def dracut(tree: Path, kernel: Kernel, scratch: Path) -> bytes:
    """The image for any machine (--no-hostonly) with all of dracut's modules that have what they need: systemd, udev,
    e2fsck, drivers of disks and networks; compressed as dracut chooses where Debian's recommended pigz is missing.
    """
    return _made(tree, kernel, scratch, f"dracut --quiet --force --no-hostonly {_OUT} {kernel.release}")


def tiny_initramfs(tree: Path, kernel: Kernel, drivers: list[str], scratch: Path) -> bytes:
    """The static program and DRIVERS, which it loads with what they need in the order given: it looks for no device.

    mktirfs finds them itself on the machine that it runs on; for others its users name them (--include-modules).
    """
    modules = shlex.quote(",".join(drivers))
    return _made(tree, kernel, scratch, f"mktirfs -o {_OUT} -m no -M no --include-modules={modules} {kernel.release}")


def _made(tree: Path, kernel: Kernel, scratch: Path, command: str) -> bytes:
    root = system(tree, kernel, scratch)
    inside(root, command)
    return (root / _OUT.lstrip("/")).read_bytes()
