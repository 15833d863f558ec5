"""Debian's initramfs-tools and dracut with the hooks installed: each makes an image in a root of its own, which boots.

`make test-generators` runs these; PYTHONPATH's package is installed in that root as from a wheel.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from once import once
from wheel import unpack_wheel

import tinykmod
from tinykmod import loaders
from tinykmod.bench.debian import fetch_root
from tinykmod.bench.disk import make_root_disk
from tinykmod.bench.machines import REFERENCE
from tinykmod.bench.qemu import BootResult, boot

pytestmark = [
    pytest.mark.generators,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mount need root"),
]

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
PACKAGES = ("initramfs-tools-core", "dracut-core", "busybox", "systemd-sysv", "udev", "kmod", "klibc-utils", "cpio",
            "mawk", "zstd", "python3", "e2fsprogs")  # fmt: skip
#: What their maintainer scripts would have left.
LINKS = {"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils"}
#: The image's name, and what makes it in a root with kernel RELEASE.
COMMANDS = {
    "initramfs-tools": "mkinitramfs -o {image} {release}",
    "dracut": "dracut -q --force --no-hostonly {image} {release}",
    "dracut-without-systemd": "dracut -q --force --no-hostonly --omit 'systemd dracut-systemd' {image} {release}",
}
#: A chroot with the mounts that a generator wants, which are gone when it ends.
ENTER = """\
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmp "$0/run" &&
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TMPDIR=/var/tmp sh -c "$1"
"""
TINYKMOD = '#!/bin/sh\nPYTHONPATH=/opt/tinykmod exec python3 -m tinykmod "$@"\n'


@pytest.fixture(scope="session")
def debian(kernel, shared_dir: Path, tmp_path_factory) -> Path:
    """A Debian with a kernel, the generators, and tinykmod as from a wheel; without the hooks."""

    def make(root: Path) -> None:
        shutil.copytree(fetch_root(PACKAGES), root, symlinks=True)
        for name, target in LINKS.items():
            if not os.path.lexists(root / name):
                (root / name).symlink_to(target)
        modules = root / "usr/lib/modules" / kernel.release
        shutil.copytree(kernel.root / "lib/modules" / kernel.release, modules, symlinks=True, copy_function=os.link)
        shutil.copytree(kernel.root / "boot", root / "boot", dirs_exist_ok=True, copy_function=os.link)
        site = root / "opt/tinykmod"
        unpack_wheel(site, tmp_path_factory.mktemp("wheel"))
        shutil.copy(loaders.find(), site / "tinykmod/loaders")
        for extension in Path(tinykmod.__file__).parent.glob("_core*.so"):
            shutil.copy(extension, site / "tinykmod")  # without it all is slower
        for package in ("elftools", "pyasn1", "pyasn1_modules", "shtab", "zstandard"):
            spec = importlib.util.find_spec(package)
            assert spec and spec.submodule_search_locations
            shutil.copytree(spec.submodule_search_locations[0], site / package)
        (root / "usr/bin/tinykmod").write_text(TINYKMOD)
        (root / "usr/bin/tinykmod").chmod(0o755)
        inside(root, f"depmod {kernel.release}")

    return once(shared_dir / "generators-root", make)


def inside(root: Path, command: str) -> str:
    """What COMMAND says in a chroot; it must not fail."""
    done = subprocess.run(["unshare", "-m", "sh", "-c", ENTER, root, command], check=False, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout
