"""Images whose modules come without their signatures, and kernels for which that is refused."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_build import compressed_copy, index_of
from test_check import NVME, machine

from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.image.archive import read_image
from tinykmod.image.request import Image
from tinykmod.index.schema import ModuleFlag
from tinykmod.kmod.names import module_name
from tinykmod.kmod.signature import MAGIC, TRAILER
from tinykmod.modules.compression import decompress

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Make = Callable[..., Image]


def modules_of(image: Image) -> dict[str, bytes]:
    """By name, uncompressed."""
    entries = read_image(image.path).entries
    return {module_name(path): decompress(entry.data, path) for path, entry in entries.items() if ".ko" in path}


def unsigned(small: Path) -> dict[str, bytes]:
    """The tree's modules as they were before they were signed."""
    modules = {}
    for path in small.rglob("*.ko"):
        data = path.read_bytes()
        assert data.endswith(MAGIC)
        end = len(data) - len(MAGIC) - TRAILER.size
        modules[module_name(path.name)] = data[: end - int.from_bytes(data[end + 8 : end + 12], "big")]
    return modules


@pytest.mark.parametrize("compress", ["modules", "none", "zstd"])
def test_what_is_before_the_signatures_stays(make: Make, small: Path, compress: str) -> None:
    found = modules_of(make(compress=compress, drop_signatures=True))
    wanted = unsigned(small)
    assert found == {name: wanted[name] for name in found}
    assert {"nvme", "ext4"} <= found.keys()


def test_of_modules_that_the_kernel_would_decompress(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    """The signature is within what is compressed, so that it cannot stay so."""
    root = compressed_copy(small, kernel, tmp_path / "root", ".xz", lambda data: lzma.compress(data, preset=0))
    (root / "boot").mkdir(exist_ok=True)
    (root / "boot" / f"config-{kernel.release}").write_text(
        "CONFIG_MODULE_DECOMPRESS=y\nCONFIG_MODULE_COMPRESS_XZ=y\nCONFIG_MODULE_SIG=y\n"
    )
    stays = read_image(make(root=root).path).entries
    assert any(path.endswith("/nvme.ko.xz") for path in stays)
    image = make(root=root, drop_signatures=True)
    assert not any(path.endswith(".xz") for path in read_image(image.path).entries)
    assert modules_of(image)["nvme"] == unsigned(small)["nvme"]


def test_what_checks_signatures_is_not_loaded_first(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    quick = next((kernel.root / "lib/modules").rglob("sha256-ssse3.ko"))
    (root / "lib/modules" / kernel.release / "kernel" / quick.name).write_bytes(quick.read_bytes())
    flagged = []
    for drop in (False, True):
        index = index_of(make(root=root, add=["sha256_ssse3"], drop_signatures=drop), kernel)
        flagged.append({name for name in index.names if ModuleFlag.HASH in index.module(name).flags})
    assert flagged == [{"sha256_ssse3"}, set()]


@pytest.mark.parametrize(
    "option",
    [
        "CONFIG_MODULE_SIG_FORCE",
        "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
        "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
    ],
)
def test_a_kernel_that_is_built_to_enforce_them(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path, option: str
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    config = root / "boot" / f"config-{kernel.release}"
    config.write_text(config.read_text().replace(f"# {option} is not set", f"{option}=y"))
    with pytest.raises(TinykmodError, match=rf"config-\S+: the kernel enforces signatures \({option}\)"):
        make(root=root, drop_signatures=True)
    make(root=root)


@pytest.mark.parametrize(
    "word",
    ["module.sig_enforce", "module.sig_enforce=1", "module.sig-enforce=Y", "module.sig_enforce=on",
     "lockdown=integrity", "lockdown=confidentiality"],
)  # fmt: skip
def test_a_machine_whose_command_line_enforces_them(make: Make, word: str) -> None:
    asked = machine(NVME, cmdline=f"root=/dev/sda1 {word} quiet")
    with pytest.raises(TinykmodError, match=rf"^--drop-signatures: the machine's kernel enforces .* \({word}\)$"):
        make(machine=asked, drop_signatures=True)


@pytest.mark.parametrize("lockdown", ["integrity", "confidentiality"])
def test_a_machine_that_is_locked_down(make: Make, lockdown: str) -> None:
    """As Debian's kernels are under Secure Boot, whatever the command line says."""
    with pytest.raises(TinykmodError, match=rf"enforces signatures \(it is locked down: {lockdown}\)$"):
        make(machine=replace(machine(NVME), lockdown=lockdown), drop_signatures=True)
    make(machine=replace(machine(NVME), lockdown="none"), drop_signatures=True)


def test_a_machine_whose_command_line_does_not(make: Make) -> None:
    asked = machine(NVME, cmdline="module.sig_enforce=0 module.sig_enforce=off lockdown=none nomodule.sig_enforce")
    make(machine=asked, drop_signatures=True)


def test_the_command_says_what_it_means(run_tinykmod: Run, small: Path, kernel: Kernel, tmp_path: Path) -> None:
    words = ("initramfs", "-b", small, "-o", tmp_path / "image", "--drop-signatures", kernel.release)
    done = run_tinykmod(*words)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert "tainted (E)" in done.stderr
    assert "locked down" in done.stderr


def test_a_kernel_that_knows_no_signatures(make: Make, small: Path, kernel: Kernel, tmp_path: Path) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    config = root / "boot" / f"config-{kernel.release}"
    assert make(root=root, drop_signatures=True).warnings
    config.write_text(config.read_text().replace("CONFIG_MODULE_SIG=y\n", ""))
    assert make(root=root, drop_signatures=True).warnings == []
    config.unlink()
    assert make(root=root, drop_signatures=True).warnings
