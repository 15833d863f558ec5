"""Debian's initramfs-tools and dracut, with the hooks and without: their images, what is in them, and that they boot.

`make test-generators` runs this, as root; it prints when each image has its root.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from once import once

from tinykmod.bench.chroot import inside
from tinykmod.bench.disk import REPORTING_INIT, make_disk_of
from tinykmod.bench.machines import REFERENCE
from tinykmod.bench.qemu import boot
from tinykmod.image.archive import read_image
from tinykmod.image.cpio import Entry

pytestmark = [
    pytest.mark.generators,
    pytest.mark.skipif(os.geteuid() != 0, reason="debootstrap, chroot and mount need root"),
]

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"


class Case(NamedTuple):
    """A generator; what makes an image in a root with kernel RELEASE; the hook's script in the image, and the list of
    the generator's that tells of it.

    The images are compressed by what is quick: what is timed begins at /init.
    """

    generator: str
    command: str
    script: str
    list: str


_DRACUT = Case("dracut", "dracut -q --force --no-hostonly --compress 'lz4 -l -1' {image} {release}",
               "usr/lib/dracut/hooks/pre-udev/00-tinykmod.sh", "usr/lib/dracut/modules.txt")  # fmt: skip
CASES = {
    "initramfs-tools": Case("initramfs-tools", "mkinitramfs -c lz4 -l 1 -o {image} {release}",
                            "scripts/init-top/tinykmod", "scripts/init-top/ORDER"),
    "dracut": _DRACUT,
    "dracut-without-systemd": _DRACUT._replace(command=f"{_DRACUT.command} --omit systemd"),
}  # fmt: skip


def files(root: Path) -> set[str]:
    """What is below ROOT, but for what the generators themselves leave."""
    left = ("boot", "var/tmp", "var/cache", "var/log")
    names = (str(path.relative_to(root)) for path in root.rglob("*"))
    return {name for name in names if not name.startswith(left)}


@pytest.fixture(scope="session")
def images(debian: Callable[[str], Path], kernel, shared_dir: Path) -> Callable[[str], Path]:
    """images(case): a directory with the image `plain` and, by the same root with the hooks, `hooked`.

    With the hooks removed the root is what it was before.
    """

    def make(case: str) -> Path:
        root = debian(case)
        generator = CASES[case].generator
        command = CASES[case].command.format(image="/boot/image", release=kernel.release)

        def build(directory: Path) -> None:
            directory.mkdir()
            before = files(root)
            for name, prepare in (("plain", "true"), ("hooked", f"tinykmod install-hooks --for {generator}")):
                inside(root, prepare)
                said = inside(root, command)
                assert "tinykmod" not in said, said
                (root / "boot/image").rename(directory / name)
            inside(root, f"tinykmod install-hooks --for {generator} --remove")
            assert files(root) == before

        return once(shared_dir / f"{case}-images", build)

    return make


@pytest.fixture(scope="session")
def disk(busybox: Path, shared_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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


@pytest.mark.parametrize("case", CASES)
def test_the_image_is_what_it_was_and_the_loader(images, kernel, case: str):
    plain, hooked = (read_image(images(case) / name).entries for name in ("plain", "hooked"))
    differ = {path for path in {*plain, *hooked} if _contents(plain, path) != _contents(hooked, path)}
    modules = next(path for path in plain if path.endswith(f"lib/modules/{kernel.release}"))
    added = {f"usr/lib/tinykmod{name}" for name in ("", "/coldplug", "/tinykmod")} | {f"{modules}/tinykmod.tki"}
    assert differ == added | {CASES[case].script, CASES[case].list}
    assert not added & plain.keys()


def _contents(entries: dict[str, Entry], path: str) -> tuple[int, bytes] | None:
    return (entries[path].mode, entries[path].data) if path in entries else None


@pytest.mark.parametrize("name", ["plain", "hooked"])
@pytest.mark.parametrize("case", CASES)
def test_the_image_reaches_its_root(images, vmlinux: Path, disk: Path, case: str, name: str):
    result = boot(vmlinux, images(case) / name, machine=REFERENCE, disks=[disk], icount=True,
                  append=f"root=UUID={UUID} ro", timeout=900)  # fmt: skip
    assert result.ended == "poweroff", result.tail(40)
    init, found, mounted = (
        next(time for time, text in result.dmesg if said in text)
        for said in ("Run /init as init process", "[vda]", "mounted filesystem")
    )
    print(f"{case}, {name}: from /init to the disk {found - init:.2f} s, to the root mounted {mounted - init:.2f} s")
    if name == "plain":
        assert result.trace is None
        return
    assert result.trace
    [root] = [event for event in result.trace if event["ev"] == "root"]
    assert (root["device"], root["spec"]) == ("/dev/vda", f"UUID={UUID}")
    # What udev had triggered before would not be in the trace, or would have been there already.
    assert result.trace[0]["t"] / 1e9 < found < root["t"] / 1e9 < mounted
    assert {"virtio_blk", "ext4"} <= {event["name"] for event in result.trace if event["ev"] == "module"}


@pytest.mark.parametrize("generator", ["initramfs-tools", "dracut"])
def test_without_the_command_the_image_is_made_as_before(debian, images, kernel, generator: str):
    """The hook as its generator runs it, with a tinykmod that fails: a warning, and no failure."""
    run = {
        "initramfs-tools": "export verbose=n DESTDIR=$(mktemp -d) version={release};"
                           " sh -e /usr/share/initramfs-tools/hooks/tinykmod && find $DESTDIR -type f",
        "dracut": "bash -c '. /usr/lib/dracut/modules.d/99tinykmod/module-setup.sh; dwarn() {{ echo \"$@\"; }};"
                  " initdir=$(mktemp -d) srcmods=/none kernel={release}; install && installkernel &&"
                  " find $initdir -type f'",
    }[generator]  # fmt: skip
    images(generator)  # the root has its hooks while they are made, and shall not have them
    root = debian(generator)
    inside(root, f"tinykmod install-hooks --for {generator}")
    broken = root / "usr/local/bin/tinykmod"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    said = inside(root, f"PATH=/usr/local/bin:$PATH; {run.format(release=kernel.release)}").splitlines()
    [line] = said
    assert "tinykmod: no loader, the image is made without it" in line


def test_kernel_install_installs_the_image(debian, images, kernel):
    """systemd's, with its other plugins: the kernel, our image, and an entry of the boot loader for both."""
    images("initramfs-tools")
    root = debian("initramfs-tools")
    inside(root, "tinykmod install-hooks --for kernel-install")
    (root / "etc/kernel").mkdir(exist_ok=True)
    (root / "etc/kernel/install.conf").write_text("layout=bls\ninitrd_generator=tinykmod\n")
    (root / "boot/loader/entries").mkdir(parents=True)
    inside(root, f"kernel-install add {kernel.release} /boot/vmlinuz-{kernel.release}")
    [entry] = (root / "boot/loader/entries").iterdir()
    [initrd] = (root / "boot").glob(f"*/{kernel.release}/initrd")
    assert str(initrd.relative_to(root / "boot")) in entry.read_text()
    entries = read_image(initrd).entries
    assert any(path.endswith(f"lib/modules/{kernel.release}/tinykmod.tki") for path in entries)
