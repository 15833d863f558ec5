"""What the real boots share: images that are built once in a session, root disks, and ways to damage an image."""

from __future__ import annotations

import hashlib
import pickle
import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import guest_machine
import pytest
from once import once
from with_display import LEFT, OWN

from tinykmod import loaders
from tinykmod.bench.debian import Kernel, fetch_kernel
from tinykmod.bench.disk import REPORTING_INIT, make_root_disk
from tinykmod.bench.machines import VIRTIO_BLK, Machine
from tinykmod.bench.qemu import BootResult, boot
from tinykmod.image import cpio
from tinykmod.index.schema import checksum
from tinykmod.modules.compression import decompress
from tinykmod.modules.vmlinux import unpack_vmlinux

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
LABEL = "tinykmod-root"

#: Stands for the image's shell: the first time where rd.break= has it, then when no root has come.
SHELL = """\
#!/bin/busybox sh
bb=/bin/busybox
if [ ! -e /asked ]; then
    $bb touch /asked
    echo "first: $($bb wc -l < /proc/modules) modules"
    echo "<3>e1000 0000:00:1f.6: firmware: failed to load found.bin (-2)" > /dev/kmsg  # then it has found.bin.xz
    echo "<4>e1000 0000:00:1f.6: Direct firmware load for intel/nic.bin failed with error -2" > /dev/kmsg
    exit 0
fi
echo "--- report ---"
$bb cat /run/tinykmod/report.json
echo "--- end of report ---"
/init blkid
$bb poweroff -f
"""
MODULES_LOAD = {
    "etc/modules-load.d/20-early.conf": "# comment\n; another\n  i2c-dev \nnot-there\n",
    "etc/modules-load.d/30-masked.conf": "",
    "usr/lib/modules-load.d/30-masked.conf": "loop\n",
    "usr/lib/modules-load.d/10-vendor.conf": "squashfs\nf2fs",
    "usr/lib/modules-load.d/README": "brd\n",
}


@pytest.fixture(scope="session")
def image(kernel: Kernel, run_tinykmod: Callable, shared_dir: Path) -> Path:
    """The initramfs that `tinykmod initramfs` makes of Debian's kernel: every driver of disks and displays."""

    def make(path: Path) -> None:
        words = ("--class", "storage,gpu", "--no-firmware", "-o", path, kernel.release)
        done = run_tinykmod("initramfs", "-b", kernel.root, *words)
        assert done.returncode == 0, done.stderr

    return once(shared_dir / "initramfs.img", make)


@pytest.fixture(scope="session")
def disk(busybox: Path, shared_dir: Path) -> Callable[..., Path]:
    """disk(**arguments of make_root_disk): a root disk of UUID and LABEL, made once for the same arguments."""

    def make(**arguments: object) -> Path:
        words = repr(sorted(arguments.items())).encode()
        return once(
            shared_dir / f"root-{hashlib.sha256(words).hexdigest()[:12]}.img",
            lambda path: make_root_disk(path, busybox=busybox, **{"uuid": UUID, "label": LABEL, **arguments}),
        )

    return make


@pytest.fixture(scope="session")
def vfat_disk(busybox: Path, shared_dir: Path) -> Callable[[str], Path]:
    """vfat_disk(init_script): a root disk whose filesystem asks the kernel for character sets when it is mounted."""

    def fill(path: Path, init_script: str) -> None:
        with TemporaryDirectory() as scratch:
            tree = Path(scratch)
            for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
                (tree / name).mkdir()
            shutil.copy(busybox, tree / "bin/busybox")
            (tree / "sbin/init").write_text(init_script)
            (tree / "sbin/report").write_text(REPORTING_INIT)
            with path.open("wb") as file:
                file.truncate(16 << 20)
            mkfs = shutil.which("mkfs.vfat", path="/usr/sbin:/sbin")
            subprocess.run([mkfs, path], check=True, capture_output=True)
            subprocess.run(["mcopy", "-i", path, "-s", *sorted(tree.iterdir()), "::"], check=True)

    def make(init_script: str) -> Path:
        name = hashlib.sha256(init_script.encode()).hexdigest()[:12]
        return once(shared_dir / f"vfat-{name}.img", lambda path: fill(path, init_script))

    return make


@pytest.fixture(scope="session")
def tree(busybox: Path, shared_dir: Path) -> Path:
    """What a root needs that tells what it found, as a directory."""

    def make(path: Path) -> None:
        for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
            (path / name).mkdir(parents=True)
        shutil.copy(busybox, path / "bin/busybox")
        (path / "sbin/init").write_text(REPORTING_INIT)
        (path / "sbin/init").chmod(0o755)
        (path / "bin/busybox").chmod(0o755)

    return once(shared_dir / "root-tree", make)


@pytest.fixture(scope="session")
def own_image(kernel, busybox, run_tinykmod: Callable, shared_dir: Path, tmp_path_factory) -> Path:
    """An image with SHELL, files of modules-load.d, and modules that no device asks for."""

    def make(path: Path) -> None:
        scratch = tmp_path_factory.mktemp("own-image")
        words = []
        for number, (target, text) in enumerate({**MODULES_LOAD, "bin/sh": SHELL}.items()):
            (scratch / str(number)).write_text(text)
            (scratch / str(number)).chmod(0o755)
            words += ["--file", f"{scratch / str(number)}:/{target}"]
        for module in ("i2c_dev", "loop", "brd", "squashfs", "f2fs", "xfs", "i6300esb"):
            words += ["--add", module]
        words += ["--file", f"{busybox}:/bin/busybox"]
        done = run_tinykmod("initramfs", "-b", kernel.root, "-o", path, *words, kernel.release)
        assert done.returncode == 0, done.stderr

    return once(shared_dir / "own.img", make)


@pytest.fixture(scope="session")
def start(vmlinux: Path, image: Path) -> Callable[..., BootResult]:
    """start(append, *disks, ...): boot the kernel with the session's image, or with `initrd=`."""

    def run(append: str, *disks: Path, initrd: Path = image, **arguments: object) -> BootResult:
        return boot(vmlinux, initrd, append=append, disks=disks,
                    **{"machine": VIRTIO_BLK, "timeout": 90, **arguments})  # fmt: skip

    return run


class Debian(NamedTuple):
    """A kernel, its generic image, and how both are started: start(machine, image, *words)."""

    kernel: Kernel
    generic: Path
    start: Callable[..., BootResult]


@pytest.fixture(scope="session")
def telling_root(busybox: Path, shared_dir: Path) -> Path:
    """A root disk of UUID with guest_machine's INIT."""
    return once(
        shared_dir / "telling.img",
        lambda path: guest_machine.make_disk(path, uuid=UUID, busybox=busybox, loader=loaders.find()),
    )


@pytest.fixture(scope="session")
def debian(kernel, vmlinux, image, telling_root, run_tinykmod: Callable, shared_dir: Path) -> Callable[[str], Debian]:
    """debian(version): that kernel of Debian's."""

    def of(kernel: Kernel, vmlinux: Path, generic: Path) -> Debian:
        def start(machine: Machine, initrd: Path, *words: str) -> BootResult:
            append = " ".join([f"root=UUID={UUID}", *words])
            return boot(vmlinux, initrd, append=append, disks=[telling_root], machine=machine, timeout=180)

        return Debian(kernel, generic, start)

    def make(version: str) -> Debian:
        if version == "6.1":
            return of(kernel, vmlinux, image)
        other = fetch_kernel(f"linux-image-{version}-amd64")

        def build(path: Path) -> None:
            words = ("--class", "storage,gpu", "--compress", "none", "--no-firmware", "-o", path, other.release)
            done = run_tinykmod("initramfs", "-b", other.root, *words)
            assert (done.returncode, done.stderr) == (0, "")

        unpacked = shared_dir / f"vmlinux-{version}"
        once(unpacked, lambda path: path.write_bytes(unpack_vmlinux(other.vmlinuz)))
        return of(other, unpacked, once(shared_dir / f"generic-{version}.img", build))

    return make


@pytest.fixture(scope="session")
def booted(debian, shared_dir: Path) -> Callable[[str, Machine], BootResult]:
    """booted(version, machine): a boot of the generic image, once a session."""

    def make(version: str, machine: Machine) -> BootResult:
        def run(path: Path) -> None:
            words = [LEFT] if machine.args == OWN else []
            words += [guest_machine.TELL_ALL] if (version, machine.args) == ("6.1", OWN) else []
            path.write_bytes(pickle.dumps(debian(version).start(machine, debian(version).generic, *words)))

        return pickle.loads(once(shared_dir / f"booted-{version}-{machine.name}", run).read_bytes())

    return make


class Archive:
    """An initramfs's entries, which can be changed."""

    def __init__(self, image: Path) -> None:
        self.entries = list(cpio.read(decompress(image.read_bytes(), str(image))))

    def _change(self, end: str, change: Callable[[cpio.Entry], cpio.Entry]) -> None:
        """Change the one entry whose path ends with END."""
        [at] = [at for at, entry in enumerate(self.entries) if entry.path.endswith(end)]
        self.entries[at] = change(self.entries[at])

    def flip(self, end: str, position: float, count: int = 1) -> None:
        """Invert COUNT bytes of the file, from POSITION (0 to 1) of it on."""

        def inverted(entry: cpio.Entry) -> cpio.Entry:
            data = bytearray(entry.data)
            start = int(len(data) * position)
            data[start : start + count] = (byte ^ 0xFF for byte in data[start : start + count])
            return replace(entry, data=bytes(data))

        self._change(end, inverted)

    def hide(self, end: str) -> None:
        """Give the file another name: it is no longer where the index says."""
        self._change(end, lambda entry: replace(entry, path=f"{entry.path}.hidden"))


    def move(self, source: str, target: str) -> None:
        """Give whatever lies below SOURCE another place."""
        self.entries = [replace(entry, path=entry.path.replace(source, target)) for entry in self.entries]

    def relabel(self, end: str, release: str, other: str) -> None:
        """Make the index tell that it is of OTHER, a release of the same length; its checksum fits again."""

        def relabelled(entry: cpio.Entry) -> cpio.Entry:
            data = bytearray(entry.data.replace(release.encode(), other.encode()))
            # `sum` and `weighted` are at byte 24 (docs/index-format.md).
            data[24:40] = struct.pack("<QQ", *checksum(data, "little"))
            return replace(entry, data=bytes(data))

        self._change(end, relabelled)


@pytest.fixture
def damaged(image: Path, tmp_path: Path) -> Callable[[Callable[[Archive], None]], Path]:
    """damaged(change): a copy of the image whose archive CHANGE has been at; not compressed."""

    def make(change: Callable[[Archive], None]) -> Path:
        archive = Archive(image)
        change(archive)
        path = tmp_path / "damaged.img"
        with path.open("wb") as out:
            cpio.write(out, archive.entries)
        return path

    return make
