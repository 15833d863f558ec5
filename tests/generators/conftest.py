"""A debootstrapped Debian for each generator, with a kernel and with tinykmod."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from once import once
from wheel import unpack_wheel

import tinykmod
from tinykmod import loaders
from tinykmod.bench.chroot import inside

PACKAGES = ("busybox", "cpio", "dracut-core", "e2fsprogs", "initramfs-tools-core", "klibc-utils", "kmod", "lz4",
            "python3", "systemd-sysv", "udev")  # fmt: skip
#: What makes dpkg quick where a root that is not whole is thrown away, and the root small.
DPKG = "force-unsafe-io\n" + "".join(f"path-exclude=/usr/share/{name}/*\n" for name in "doc info locale man".split())
TINYKMOD = '#!/bin/sh\nPYTHONPATH=/opt/tinykmod exec python3 -B -m tinykmod "$@"\n'


@pytest.fixture(scope="session")
def bootstrapped(cache: Path) -> Path:
    """The release that runs here, debootstrapped with the generators; it stays in the cache."""
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]

    def make(root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)  # of a session that was interrupted
        (root / "etc/dpkg/dpkg.cfg.d").mkdir(parents=True)
        (root / "etc/dpkg/dpkg.cfg.d/quick").write_text(DPKG)
        done = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, root],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout[-2000:]
        inside(root, "apt-get clean")

    (cache / "roots").mkdir(parents=True, exist_ok=True)
    return once(cache / "roots" / "+".join((suite, *PACKAGES)), make)


@pytest.fixture(scope="session")
def site(shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tinykmod as from a wheel, and what it imports."""

    def make(site: Path) -> None:
        unpack_wheel(site, tmp_path_factory.mktemp("wheel"))
        shutil.copy(loaders.find(), site / "tinykmod/loaders")
        for extension in Path(tinykmod.__file__).parent.glob("_core*.so"):
            shutil.copy(extension, site / "tinykmod")  # without it all is slower
        for package in ("elftools", "lz4", "pyasn1", "pyasn1_modules", "shtab", "zstandard"):
            spec = importlib.util.find_spec(package)
            assert spec and spec.submodule_search_locations
            shutil.copytree(spec.submodule_search_locations[0], site / package)

    return once(shared_dir / "site", make)


@pytest.fixture(scope="session")
def debian(bootstrapped: Path, site: Path, kernel, depmod_root: Path, shared_dir: Path) -> Callable[[str], Path]:
    """debian(generator): a root of the generator's own, with a kernel and the command tinykmod; without the hooks."""

    def make(root: Path) -> None:
        shutil.rmtree(root, ignore_errors=True)
        subprocess.run(["cp", "-a", bootstrapped, root], check=True)  # with its device nodes
        shutil.copytree(kernel.root / "boot", root / "boot", dirs_exist_ok=True)
        modules = f"lib/modules/{kernel.release}"
        shutil.copytree(depmod_root / modules, root / modules, symlinks=True, copy_function=os.link)
        shutil.copytree(site, root / "opt/tinykmod")
        (root / "usr/bin/tinykmod").write_text(TINYKMOD)
        (root / "usr/bin/tinykmod").chmod(0o755)

    return lambda generator: once(shared_dir / f"{generator}-root", make)
