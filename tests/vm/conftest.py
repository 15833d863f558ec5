"""What the real boots share: images that are built once in a session, root disks, and ways to damage an image."""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zstandard

from tinykmod.bench.debian import Kernel
from tinykmod.bench.disk import make_root_disk
from tinykmod.bench.machines import VIRTIO_BLK
from tinykmod.bench.qemu import BootResult, boot

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
def start(kernel: Kernel, image: Path) -> Callable[..., BootResult]:
    """start(append, *disks, ...): boot the kernel with the session's image, or with `initrd=`."""

    def run(append: str, *disks: Path, initrd: Path = image, **arguments: object) -> BootResult:
        return boot(kernel.vmlinuz, initrd, append=append, disks=disks,
                    **{"machine": VIRTIO_BLK, **arguments})  # fmt: skip

    return run


class Archive:
    """An initramfs's newc archive as bytes that can be changed in place."""

    def __init__(self, image: Path) -> None:
        data = image.read_bytes()
        if data.startswith(zstandard.FRAME_HEADER):
            data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
        self.data = bytearray(data)

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
