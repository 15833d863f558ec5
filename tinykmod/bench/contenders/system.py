"""A Debian system with the generators of images and a kernel, for a chroot; and trees of a kernel's modules."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path

from tinykmod.bench.chroot import inside
from tinykmod.bench.debian import Kernel, fetch_root
from tinykmod.errors import TinykmodError
from tinykmod.files import replace_all
from tinykmod.kmod import depmod
from tinykmod.modules.directory import module_directory
from tinykmod.modules.tree import read_tree

#: The generators, and what Debian has them recommend for the same job. systemd is what Debian's systems run, so that
#: dracut puts it in.
PACKAGES = ("busybox", "cpio", "dracut-core", "initramfs-tools-core", "kmod", "mawk", "systemd-sysv",
            "tiny-initramfs-core", "udev", "zstd")  # fmt: skip
#: What the maintainer scripts of Debian's packages would have done; fetch_root() runs none.
_CONFIGURE = """\
ln -sf mawk /usr/bin/awk
for name in passwd group; do cp /usr/share/base-passwd/$name.master /etc/$name; done
systemd-sysusers
"""


def tools() -> Path:
    """The packages' files, fetched once; the directory's name is a digest of the packages' versions.

    Raises TinykmodError.
    """
    return fetch_root(PACKAGES)


def system(tree: Path, kernel: Kernel, root: Path) -> Path:
    """ROOT with the files of TREE and KERNEL, as links, configured as packages are.

    Files that are there must not be written into, but be replaced. Raises TinykmodError, on another architecture than
    x86_64 too, since programs are to run in it.
    """
    if platform.machine() != "x86_64":
        raise TinykmodError("Debian's generators", f"run on x86_64 only, and this machine is {platform.machine()}")
    _copy(tree, root)
    for name in ("dev", "proc", "run", "sys", "tmp", "var/tmp"):
        (root / name).mkdir(parents=True, exist_ok=True)
    _copy(kernel.root / "boot", root / "boot")
    _copy(module_directory(kernel.root, kernel.release), root / "lib/modules" / kernel.release)
    run_depmod(root, kernel.release)
    inside(root, _CONFIGURE)
    return root


def _copy(source: Path, target: Path) -> None:
    """SOURCE's files in TARGET, which may be there: links to them where the file system can."""
    shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, copy_function=_link_or_copy)


def copy_files(source: Path, target: Path, names: Iterable[str]) -> None:
    """The files NAMES of SOURCE in TARGET: links to them where the file system can."""
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        _link_or_copy(str(source / name), str(target / name))


def run_depmod(root: Path, release: str) -> None:
    """The files of depmod for the modules below ROOT, as kmod's would write them."""
    tree = read_tree(root, release)
    replace_all(tree.directory, depmod.make(tree).files)


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
