"""A small module tree of real Debian modules, and images made from it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_ko import make_ko

from tinykmod.bench.debian import Kernel
from tinykmod.image.build import build
from tinykmod.image.request import Image, Request
from tinykmod.kmod.names import module_name
from tinykmod.modules.elf import read_elf

WANTED = (
    "nvme virtio_blk virtio_pci sd_mod usb_storage uas xhci_pci e1000e cirrus"
    " ext4 vfat isofs nls_cp437 nls_ascii nls_utf8 nls_cp850 crc32c_generic crc32c_intel dm_crypt essiv"
).split()


@pytest.fixture(scope="session")
def small(kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with /lib/modules/RELEASE of WANTED and all they depend on, and the kernel's config."""
    source = kernel.root / "lib/modules" / kernel.release
    found = {module_name(path.name): path for path in source.rglob("*.ko*")}
    root = tmp_path_factory.mktemp("small")
    target = root / "lib/modules" / kernel.release
    pending = list(WANTED)
    for name in pending:
        path = found[name]
        depends = dict(read_elf(path.read_bytes(), str(path)).modinfo)["depends"]
        pending += [needed for needed in map(module_name, depends.split(",")) if needed and needed not in pending]
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / path.relative_to(source))
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copy(source / name, target / name)
    (root / "boot").mkdir()
    shutil.copy(kernel.root / "boot" / f"config-{kernel.release}", root / "boot")
    return root


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """Stands for the loader: an image looks at nothing but its ELF machine."""
    path = tmp_path / "loader"
    path.write_bytes(make_ko())
    return path


@pytest.fixture
def make(small: Path, kernel: Kernel, program: Path, tmp_path: Path) -> Callable[..., Image]:
    """make(**fields): an image of the small tree, Request's fields overridden."""

    def make(**fields: Any) -> Image:
        fields = {"root": small, "output": tmp_path / "image", "compress": "none", **fields}
        return build(Request(release=kernel.release, loader=program, **fields))

    return make
