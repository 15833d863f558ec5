"""`tinykmod initramfs` on the whole Debian kernel, as a user runs it."""

from __future__ import annotations

import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.image import cpio
from tinykmod.index.reader import Index

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def built(run_tinykmod: Run, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The command's output with --why, and the image."""
    output = tmp_path_factory.mktemp("image") / "initrd.img"
    done = run_tinykmod("initramfs", "--why", "-b", kernel.root, "-o", output, kernel.release)
    assert done.returncode == 0
    # No terminal: no progress line. The unpacked kernel has no firmware with it.
    lines = done.stderr.splitlines()
    assert all(re.match(r"tinykmod: \w+: firmware is missing: ", line) for line in lines)
    assert [line.split()[1] for line in lines].count("qla2xxx:") == 1
    return done.stdout, output


@pytest.fixture(scope="module")
def files(built: tuple[str, Path]) -> dict[str, cpio.Entry]:
    return {entry.path: entry for entry in cpio.read(built[1].read_bytes())}


def test_it_says_what_it_made_and_why(
    built: tuple[str, Path], files: dict[str, cpio.Entry], kernel: Kernel
) -> None:
    *lines, summary = built[0].splitlines()
    size = built[1].stat().st_size / 2**20
    modules = [path for path in files if path.endswith(".ko.tkp")]
    assert re.fullmatch(rf"{re.escape(str(built[1]))}: {size:.1f} MiB, {len(modules)} modules, [\d.]+ s", summary)
    said = [re.fullmatch(r" *(\d+)  /(\S+?)(?: -> (\S+))?: (\S.*)", line) for line in lines]
    assert [line[2] for line in said if line] == list(files)
    reasons = {line[2]: line[4] for line in said if line}
    assert {line[2]: int(line[1]) for line in said if line} == {
        path: 0 if stat.S_ISLNK(entry.mode) else len(entry.data) for path, entry in files.items()
    }
    assert reasons[f"lib/modules/{kernel.release}/kernel/drivers/nvme/host/nvme.ko.tkp"] == "class storage"
    assert reasons["init"] == "the loader"
    assert "no reason is known" not in reasons.values()


def test_the_loader_is_init(files: dict[str, cpio.Entry]) -> None:
    assert files["init"].data == loaders.find().read_bytes()


@pytest.mark.parametrize("filesystem", "ext4 xfs btrfs vfat f2fs erofs squashfs iso9660".split())
def test_each_root_filesystem_is_there_with_what_it_needs(
    files: dict[str, cpio.Entry], kernel: Kernel, filesystem: str
) -> None:
    index = Index(files[f"lib/modules/{kernel.release}/tinykmod.tki"].data)
    plan = index.plan([f"fs-{filesystem}"])
    assert plan
    assert all(f"lib/modules/{kernel.release}/{index.module(step.module).path}" in files for step in plan)


@pytest.mark.parametrize(
    "alias",
    "crypto-crc32c crypto-crc32 crypto-sha256 crypto-blake2b-256 crypto-xxhash64 nls_cp437 nls_ascii"
    " crypto-xts".split()
)
def test_what_filesystems_have_the_kernel_load_by_name_is_there(
    files: dict[str, cpio.Entry], kernel: Kernel, alias: str
) -> None:
    index = Index(files[f"lib/modules/{kernel.release}/tinykmod.tki"].data)
    assert [match for match in index.lookup(alias) if not match.builtin]


@pytest.mark.parametrize(
    ("device", "module"),
    [
        ("virtio:d00000002v00001AF4", "virtio_blk"),
        ("pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00", "virtio_pci"),
        ("pci:v00008086d00002922sv00001AF4sd00001100bc01sc06i01", "ahci"),
        ("pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02", "nvme"),
        ("pci:v00008086d0000A82Fsv00000000sd00000000bc0Csc03i30", "xhci_pci"),
        ("pci:v00008086d0000467Fsv00000000sd00000000bc01sc04i00", "vmd"),
        ("scsi:t-0x00", "sd_mod"),
        ("mmc:block", "mmc_block"),
        ("vmbus:d96361baa104294db60572e2ffb1dc7f", "hv_storvsc"),
    ],
)
def test_disks_of_all_kinds_have_their_drivers(
    files: dict[str, cpio.Entry], kernel: Kernel, device: str, module: str
) -> None:
    index = Index(files[f"lib/modules/{kernel.release}/tinykmod.tki"].data)
    assert module in [match.module for match in index.match(device)]


def test_an_error_is_one_line(run_tinykmod: Run, kernel: Kernel, tmp_path: Path) -> None:
    def fails(*words: str | Path) -> str:
        done = run_tinykmod("initramfs", "-o", tmp_path / "image", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert list(tmp_path.iterdir()) == []
        return done.stderr

    assert f"there is {kernel.release}" in fails("-b", kernel.root, "5.0-none")
    assert "storage, gpu, input" in fails("-b", kernel.root, "--class", "storage,disks", kernel.release)
    for words in ("", "storage,"):
        assert "tinykmod: '': no such driver class;" in fails("-b", kernel.root, "--class", words, kernel.release)
    assert f"{__file__}: cut short or no JSON: line 1" in fails("-b", kernel.root, "--for", __file__, kernel.release)
    assert "/nowhere: No such file" in fails("-b", kernel.root, "--for", "/nowhere", kernel.release)
    assert "/nowhere" in fails("-b", kernel.root, "--file", "/nowhere:/etc/x", kernel.release)
    assert "SRC:DST" in fails("-b", kernel.root, "--file", "/etc/passwd", kernel.release)
    assert "/nowhere" in fails("-b", kernel.root, "--busybox", "/nowhere", kernel.release)
    assert "tinykmod: loader for z80: not built" in fails("-b", kernel.root, "--arch", "z80", kernel.release)
