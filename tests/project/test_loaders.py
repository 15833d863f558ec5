"""Loaders for every architecture: the script builds them without a word, they pass the gates, QEMU runs them."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from foreign_loader import BOOTED, SCRIPT, loader_for

from tinykmod import loaders
from tinykmod.bench.debian import Kernel

sys.path.insert(0, str(SCRIPT.parent))

import check_loader
from build_loader import TARGETS

#: What QEMU calls an architecture, where it is another name than the kernel's.
QEMU = {"armv7l": "arm", "i686": "i386"}


@pytest.mark.parametrize("arch", [
    pytest.param(arch, marks=() if arch in BOOTED else pytest.mark.loaders)
    for arch in TARGETS if arch != platform.machine()
])  # fmt: skip
def test_loader_of_another_architecture(arch: str, kernel_index: Path, kernel: Kernel) -> None:
    """What it says of the same index and the same module is what this machine's says: no layout is another's."""
    program = loader_for(arch)
    assert list(check_loader.object_faults(program.with_name(f"loader-{arch}.o"))) == []
    assert list(check_loader.program_faults(program.with_name(f"loader-{arch}.symbols"))) == []
    assert list(check_loader.size_faults(program, check_loader.BUDGET[arch])) == []
    emulator = shutil.which(f"qemu-{QEMU.get(arch, arch)}")
    assert emulator, "Debian: apt-get install qemu-user"
    nvme = next((kernel.root / "lib/modules" / kernel.release).rglob("nvme.ko*"))
    for words in (
        ["resolve", kernel_index, "fs-ext4", "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", "btrfs"],
        ["match", kernel_index, "usb:v0BDAp8153d3100dc00dsc00dp00icFFiscFFip00in00", "of:Ni2cT(null)Catmel,24c02"],
        ["modinfo", nvme],
        ["modinfo", __file__],
    ):
        expected, found = (
            subprocess.run([*start, *words], capture_output=True, check=False)
            for start in ([loaders.find()], [emulator, program])
        )
        assert expected.stdout or expected.returncode
        assert found.stdout == expected.stdout
        assert (found.returncode, found.stderr) == (expected.returncode, expected.stderr)
