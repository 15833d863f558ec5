"""What the real boots share: images that are built once in a session, root disks, and ways to damage an image."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tinykmod.bench.debian import Kernel
from tinykmod.bench.disk import make_root_disk
from tinykmod.bench.machines import VIRTIO_BLK
from tinykmod.bench.qemu import BootResult, boot
from tinykmod.modules.compression import decompress

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
LABEL = "tinykmod-root"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    with path.with_name(f".{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def image(kernel: Kernel, run_tinykmod: Callable, shared_dir: Path) -> Path:
    """The initramfs that `tinykmod initramfs` makes of Debian's kernel, with nothing chosen."""
    path = shared_dir / "initramfs.img"
    with locked(path):
        if not path.exists():
            done = run_tinykmod("initramfs", "-b", kernel.root, "-o", path, kernel.release)
            assert done.returncode == 0, done.stderr
    return path


@pytest.fixture(scope="session")
def disk(busybox: Path, shared_dir: Path) -> Callable[..., Path]:
    """disk(**arguments of make_root_disk): a root disk of UUID and LABEL, made once for the same arguments."""

    def make(**arguments: object) -> Path:
        words = repr(sorted(arguments.items())).encode()
        path = shared_dir / f"root-{hashlib.sha256(words).hexdigest()[:12]}.img"
        with locked(path):
            if not path.exists():
                make_root_disk(path, busybox=busybox, **{"uuid": UUID, "label": LABEL, **arguments})
        return path

    return make


@pytest.fixture(scope="session")
def vfat_disk(busybox: Path, shared_dir: Path) -> Callable[[str], Path]:
    """vfat_disk(init_script): a root disk whose filesystem asks the kernel for character sets when it is mounted."""

    def make(init_script: str) -> Path:
        path = shared_dir / "root-vfat.img"
        with locked(path), TemporaryDirectory() as scratch:
            tree = Path(scratch)
            for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
                (tree / name).mkdir()
            shutil.copy(busybox, tree / "bin/busybox")
            (tree / "sbin/init").write_text(init_script)
            with path.open("wb") as file:
                file.truncate(16 << 20)
            mkfs = shutil.which("mkfs.vfat", path="/usr/sbin:/sbin")
            subprocess.run([mkfs, path], check=True, capture_output=True)
            subprocess.run(["mcopy", "-i", path, "-s", *sorted(tree.iterdir()), "::"], check=True)
        return path

    return make


@pytest.fixture(scope="session")
def vmlinux(kernel: Kernel, shared_dir: Path) -> Path:
    """The kernel uncompressed, which QEMU starts directly: under TCG a boot is a third shorter so."""
    path = shared_dir / "vmlinux"
    with locked(path):
        if not path.exists():
            # The kernel's Documentation/arch/x86/boot.rst: setup_sects, payload_offset, payload_length.
            packed = kernel.vmlinuz.read_bytes()
            offset, length = struct.unpack_from("<II", packed, 0x248)
            begin = (packed[0x1F1] + 1) * 512 + offset
            # Behind the compressed data are four bytes of the kernel's size, which are no xz padding.
            path.write_bytes(decompress(packed[begin : begin + length - 4], str(kernel.vmlinuz)))
    return path


@pytest.fixture(scope="session")
def start(vmlinux: Path, image: Path) -> Callable[..., BootResult]:
    """start(append, *disks, ...): boot the kernel with the session's image, or with `initrd=`."""

    def run(append: str, *disks: Path, initrd: Path = image, **arguments: object) -> BootResult:
        return boot(vmlinux, initrd, append=append, disks=disks,
                    **{"machine": VIRTIO_BLK, "timeout": 90, **arguments})  # fmt: skip

    return run


class Archive:
    """An initramfs's newc archive as bytes that can be changed in place."""

    def __init__(self, image: Path) -> None:
        self.data = bytearray(decompress(image.read_bytes(), str(image)))

    def files(self) -> Iterator[tuple[str, int, int, int]]:
        """(path, offset of the path, offset of the data, size) of each entry."""
        at = 0
        while True:
            assert self.data[at : at + 6] == b"070701", f"no entry at {at}"
            size, length = (int(self.data[at + field : at + field + 8], 16) for field in (54, 94))
            name, body = at + 110, (at + 110 + length + 3) & ~3
            path = self.data[name : name + length - 1].decode()
            if path == "TRAILER!!!":
                return
            yield path, name, body, size
            at = (body + size + 3) & ~3

    def find(self, end: str) -> tuple[str, int, int, int]:
        """The one entry whose path ends with END."""
        [entry] = [entry for entry in self.files() if entry[0].endswith(end)]
        return entry

    def flip(self, end: str, position: float, count: int = 1) -> None:
        """Invert COUNT bytes of the file, from POSITION (0 to 1) of it on."""
        *_, body, size = self.find(end)
        for at in range(body + int(size * position), body + int(size * position) + count):
            self.data[at] ^= 0xFF

    def hide(self, end: str) -> None:
        """Give the file another name: it is no longer where the index says."""
        path, name, *_ = self.find(end)
        self.data[name + len(path) - 1] ^= 1


@pytest.fixture
def damaged(image: Path, tmp_path: Path) -> Callable[[Callable[[Archive], None]], Path]:
    """damaged(change): a copy of the image whose archive CHANGE has been at; not compressed."""

    def make(change: Callable[[Archive], None]) -> Path:
        archive = Archive(image)
        change(archive)
        path = tmp_path / "damaged.img"
        path.write_bytes(archive.data)
        return path

    return make
