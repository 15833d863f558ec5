"""What the devices of real boards get through all three faces, beside Debian's modprobe, on the arm64 kernel."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from faces import Face, index_in
from make_modalias import modaliases
from once import once

from tinykmod.bench.debian import Kernel, fetch_kernel
from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import Config
from tinykmod.kmod.depmod import FROM_BUILD
from tinykmod.kmod.names import module_name
from tinykmod.modules.tree import read_tree

#: Device trees of Debian's kernel package.
BOARDS = (
    "broadcom/bcm2711-rpi-4-b",
    "rockchip/rk3399-rockpro64",
    "rockchip/rk3399-gru-kevin",
    "freescale/imx8mq-librem5-r3",
    "freescale/imx8mp-evk",
    "allwinner/sun50i-a64-pinephone-1.2",
    "allwinner/sun50i-h6-pine-h64",
)
#: Buses of such boards whose modaliases are in no device tree, as devices of these kinds have them.
OTHERS = (
    "sdio:c00v02D0dA9A6",  # brcmfmac
    "sdio:c00v024CdD723",
    "acpi:LNRO0005:",  # virtio-mmio
    "acpi:QCOM8060:",
    "acpi:NXP0008:PNP0D40:",
    "platform:cpufreq-dt",
    "platform:sdhci-pltfm",
    "platform:rk808-regulator",
    "virtio:d00000002v554D4551",
    "virtio:d00000010v00001AF4",
    "amba:d00041061",
    "mmc:block",
    "spi:spi-nor",
    "i2c:rk808",
    "usb:v0424pEC00d0200dcFFdsc00dp01icFFisc00ipFFin00",
    "of:Nspi-norT(null)Cjedec,spi-nor",
    "of:NmmcT(null)Cno-such,mmc-1Cbrcm,bcm2711-emmc2",
)


@pytest.fixture(scope="session")
def arm64() -> Kernel:
    return fetch_kernel("linux-image-arm64", "arm64")


@pytest.fixture(scope="session")
def root(arm64: Kernel, shared_dir: Path) -> Path:
    """A root with links to its modules, depmod's files and the boot index."""

    def make(root: Path) -> None:
        target = root / "lib/modules" / arm64.release
        target.mkdir(parents=True)
        for there in ("kernel", *FROM_BUILD):
            (target / there).symlink_to(arm64.root / "lib/modules" / arm64.release / there)
        subprocess.run(["/sbin/depmod", "-b", root, arm64.release], check=True)
        index_in(root, arm64.release).write_bytes(compile_index(read_tree(root, arm64.release), Config()))

    return once(shared_dir / "boards-root", make)


@pytest.fixture(scope="session")
def names(arm64: Kernel) -> list[str]:
    [trees] = arm64.root.glob("usr/lib/linux-image-*")
    found = {name for board in BOARDS for name in modaliases((trees / f"{board}.dtb").read_bytes())}
    assert len(found) > 400
    assert sum(name.count("C") > 1 for name in found) > 100, "several compatibles"
    return [*sorted(found), *OTHERS]


def modprobe(root: Path, release: str, *words: str) -> list[str]:
    command = ["/sbin/modprobe", "-C", "/dev/null", "-q", "-d", root, "-S", release, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.splitlines()


@pytest.fixture(scope="session")
def answers(root: Path, arm64: Kernel, names: list[str]) -> dict[str, set[str]]:
    """What Debian's modprobe resolves each of them to."""
    return {name: set(modprobe(root, arm64.release, "-R", name)) for name in names}


def test_devices_of_boards_get_what_modprobe_resolves(
    face: Face, root: Path, arm64: Kernel, names: list[str], answers: dict[str, set[str]]
) -> None:
    assert len({module for found in answers.values() for module in found}) > 150
    matches = face.lookup(index_in(root, arm64.release), names)
    found = {name: {module for module, _ in match} for name, match in zip(names, matches, strict=True)}
    assert found == answers


def test_they_are_loaded_with_what_modprobe_shows(
    face: Face, root: Path, arm64: Kernel, names: list[str], answers: dict[str, set[str]]
) -> None:
    several = [name for name in names if len(answers[name]) > 0][::25]
    assert len(several) > 10
    for name in several:
        lines = [line.split()[1] for line in modprobe(root, arm64.release, "-D", name) if line.startswith("insmod ")]
        assert {module for module, _ in face.loads(root, arm64.release, name)} == set(map(module_name, lines)), name
