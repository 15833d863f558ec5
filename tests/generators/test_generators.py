"""Debian's initramfs-tools and dracut, with the hooks and without: images made in a root of their own, which boot.

`make test-generators` runs this, as root; it prints when each has its root.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from once import once
from wheel import unpack_wheel

import tinykmod
from tinykmod import loaders
from tinykmod.bench.debian import fetch_root
from tinykmod.bench.disk import REPORTING_INIT, make_disk_of
from tinykmod.bench.machines import REFERENCE
from tinykmod.bench.qemu import BootResult, boot, unpack_vmlinux

pytestmark = [
    pytest.mark.generators,
    pytest.mark.skipif(os.geteuid() != 0, reason="chroot and mount need root"),
]

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
PACKAGES = ("initramfs-tools-core", "dracut-core", "busybox", "systemd-sysv", "udev", "kmod", "klibc-utils", "cpio",
            "mawk", "zstd", "python3", "e2fsprogs")  # fmt: skip
#: What their maintainer scripts would have left.
LINKS = {"usr/bin/awk": "mawk", "usr/bin/which": "which.debianutils"}
#: What makes an image in a root with kernel RELEASE.
COMMANDS = {
    "initramfs-tools": "mkinitramfs -o {image} {release}",
    "dracut": "dracut -q --force --no-hostonly {image} {release}",
}
#: A chroot with the mounts that a generator wants, which are gone when it ends.
ENTER = """\
mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs tmp "$0/run" &&
exec chroot "$0" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C TMPDIR=/var/tmp sh -c "$1"
"""
TINYKMOD = '#!/bin/sh\nPYTHONPATH=/opt/tinykmod exec python3 -B -m tinykmod "$@"\n'


@pytest.fixture(scope="session")
def debian(kernel, shared_dir: Path, tmp_path_factory) -> Path:
    """A Debian with a kernel, the generators, and tinykmod as from a wheel; without the hooks."""

    def make(root: Path) -> None:
        shutil.copytree(fetch_root(PACKAGES), root, symlinks=True)
        for name, target in LINKS.items():
            if not os.path.lexists(root / name):
                (root / name).symlink_to(target)
        for name in ("passwd", "group"):
            shutil.copy(root / f"usr/share/base-passwd/{name}.master", root / "etc" / name)
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


@pytest.fixture(scope="session")
def disk(busybox: Path, shared_dir: Path, tmp_path_factory) -> Path:
    """A root that tells what it found."""

    def make(path: Path) -> None:
        tree = tmp_path_factory.mktemp("root")
        for name in ("bin", "sbin", "dev", "proc", "sys", "run", "etc"):
            (tree / name).mkdir()
        shutil.copy(busybox, tree / "bin/busybox")
        (tree / "sbin/init").write_text(REPORTING_INIT)
        (tree / "etc/os-release").touch()  # without one systemd takes it for no root
        for program in ("bin/busybox", "sbin/init"):
            (tree / program).chmod(0o755)
        make_disk_of(path, tree, uuid=UUID, size_mib=16)

    return once(shared_dir / "generators.img", make)


@pytest.fixture(scope="session")
def vmlinux(kernel, shared_dir: Path) -> Path:
    return once(shared_dir / "vmlinux", lambda path: path.write_bytes(unpack_vmlinux(kernel.vmlinuz)))


def files(root: Path) -> set[str]:
    """What is below ROOT, but for what the generators themselves leave."""
    left = ("boot", "var/tmp", "var/cache", "var/log")
    names = (str(path.relative_to(root)) for path in root.rglob("*"))
    return {name for name in names if not name.startswith(left)}


def root_time(result: BootResult) -> float:
    """Seconds of virtual time from /init to the root mounted."""
    [start] = [time for time, text in result.dmesg if text == "Run /init as init process"]
    return next(time for time, text in result.dmesg if "mounted filesystem" in text) - start


@pytest.mark.parametrize("generator", COMMANDS)
def test_the_image_reaches_its_root_with_the_hooks_and_without(debian: Path, kernel, vmlinux, disk, generator: str):
    before = files(debian)
    results = {}
    for what in ("plain", "hooked"):
        if what == "hooked":
            inside(debian, f"tinykmod install-hooks --for {generator}")
        made = inside(debian, COMMANDS[generator].format(image=f"/boot/{what}", release=kernel.release))
        assert "tinykmod" not in made, made
        results[what] = boot(vmlinux, debian / "boot" / what, machine=REFERENCE, disks=[disk], icount=True,
                             append=f"root=UUID={UUID} ro", timeout=900)  # fmt: skip
    inside(debian, f"tinykmod install-hooks --for {generator} --remove")
    assert files(debian) == before, "nothing is left behind"
    for result in results.values():
        assert result.ended == "poweroff", result.tail(40)
    plain, hooked = results["plain"], results["hooked"]
    print(f"\n{generator}: /init to root mounted {root_time(plain):.2f} s, with the hooks {root_time(hooked):.2f} s")
    assert plain.trace is None
    assert hooked.trace
    [root] = [event for event in hooked.trace if event["ev"] == "root"]
    assert (root["device"], root["spec"]) == ("/dev/vda", f"UUID={UUID}")
    assert {"virtio_blk", "ext4"} <= {event["name"] for event in hooked.trace if event["ev"] == "module"}


@pytest.mark.parametrize("generator", COMMANDS)
def test_without_the_command_the_image_is_made_as_before(debian: Path, kernel, generator: str):
    """The hook as its generator runs it, with a tinykmod that fails: a warning, and no failure."""
    run = {
        "initramfs-tools": "export verbose=n DESTDIR=$(mktemp -d) version={release};"
                           " sh -e /usr/share/initramfs-tools/hooks/tinykmod && find $DESTDIR -type f",
        "dracut": "bash -c '. /usr/lib/dracut/modules.d/99tinykmod/module-setup.sh; dwarn() {{ echo \"$@\"; }};"
                  " initdir=$(mktemp -d) srcmods=/none kernel={release}; install && installkernel &&"
                  " find $initdir -type f'",
    }[generator]  # fmt: skip
    inside(debian, f"tinykmod install-hooks --for {generator}")
    (debian / "usr/local/bin").mkdir(parents=True, exist_ok=True)
    broken = debian / "usr/local/bin/tinykmod"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    try:
        said = inside(debian, f"PATH=/usr/local/bin:$PATH; {run.format(release=kernel.release)}").splitlines()
    finally:
        broken.unlink()
        inside(debian, f"tinykmod install-hooks --for {generator} --remove")
    [line] = said
    assert "tinykmod: no loader, the image is made without it" in line
