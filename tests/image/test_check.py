"""Whether a machine would find its root with an image, asked of images of a small tree of real modules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinykmod.boot import snapshot
from tinykmod.cli import main
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.check import Verdict, carried, check
from tinykmod.image.request import Image
from tinykmod.image.snapshot import Snapshot, parse
from tinykmod.modules.driver_class import DriverClass

Make = Callable[..., Image]

CONTROLLER = "pci0000:00/0000:00:01.0"
NVME = {"path": CONTROLLER, "bus": "pci", "modalias": "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02",
        "driver": "nvme", "module": "nvme"}  # fmt: skip
CIRRUS = {"path": "pci0000:00/0000:00:02.0", "bus": "pci", "driver": "cirrus", "module": "cirrus",
          "modalias": "pci:v00001013d000000B8sv00001AF4sd00001100bc03sc00i00"}  # fmt: skip
SD_HOST = {"path": CONTROLLER, "bus": "pci", "modalias": "pci:bc08sc05", "driver": "sdhci-pci", "module": "sdhci_pci"}
SD_CARD = {"path": f"{CONTROLLER}/mmc_host/mmc0/mmc0:1", "bus": "mmc", "modalias": "mmc:block", "driver": "mmcblk"}
STICK = {"path": CONTROLLER, "bus": "usb", "driver": "uas", "module": "uas",
         "modalias": "usb:v0781p5581d0100dc00dsc00dp00ic08isc06ip50in00"}  # fmt: skip


def machine(*devices: dict[str, Any], kind: str = "ext4", below: str = CONTROLLER, **members: Any) -> Snapshot:
    root = {"source": "/dev/disk", "type": kind, "blocks": [{"name": "disk", "path": f"{below}/block/disk"}]}
    taken = {snapshot.MARK: 1, "release": "6.1", "arch": "x86_64", "cmdline": "", "modules": [], "displays": [],
             "root": root, "devices": devices, **members}  # fmt: skip
    return parse(snapshot.text(taken), "test")


def without(image: Image, *names: str) -> Path:
    """The image without some modules' files."""
    entries = [entry for entry in cpio.read(image.path.read_bytes()) if not entry.path.endswith(names)]
    with image.path.open("wb") as out:
        cpio.write(out, entries)
    return image.path


def verdict(image: Path, asked: Snapshot) -> Verdict:
    return check(carried(image), asked, "host")


def test_an_image_that_has_all(make: Make) -> None:
    assert verdict(make().path, machine(NVME)) == (True, [])


def test_a_driver_that_is_not_in_the_image(make: Make) -> None:
    image = make(classes=DriverClass.INPUT, add=["ext4"]).path
    assert verdict(image, machine(NVME)) == (False, ["host uses nvme, image lacks nvme"])


def test_a_module_that_the_driver_needs(make: Make) -> None:
    image = without(make(), "/nvme-core.ko", "/t10-pi.ko")
    assert verdict(image, machine(NVME)) == (False, ["host uses nvme, image lacks t10_pi, nvme_core"])


def test_what_the_disk_sits_behind(make: Make) -> None:
    disk = {**NVME, "suppliers": ["platform/vmd"]}
    vmd = {"path": "platform/vmd", "bus": "platform", "driver": "vmd", "module": "vmd"}
    assert verdict(make().path, machine(disk, vmd)).lines == ["host uses vmd, image lacks vmd"]
    assert verdict(make().path, machine(disk, {**vmd, "driver": "", "module": ""})).root
    assert verdict(make().path, machine(disk, {**vmd, "module": ""})).root  # built in


def test_the_filesystem(make: Make) -> None:
    image = without(make(), "/mbcache.ko")
    assert verdict(image, machine(NVME)).lines == ["host's root is ext4, image lacks mbcache"]
    assert verdict(image, machine(NVME, kind="zfs")) == (False, ["host's root is zfs, image lacks zfs"])
    assert verdict(image, machine(NVME, kind="pstore")).root  # built in


def test_another_driver_will_do(make: Make) -> None:
    image = without(make(), "/uas.ko")
    assert verdict(image, machine(STICK)).root
    assert not verdict(image, machine({**STICK, "modalias": ""})).root


def test_a_driver_whose_module_the_kernel_does_not_tell(make: Make) -> None:
    lines = verdict(make().path, machine({**SD_HOST, "module": ""}, SD_CARD, below=SD_CARD["path"])).lines
    assert lines == ["host uses driver mmcblk for mmc:block, image lacks one"]


def test_what_the_configuration_keeps_away(make: Make, tmp_path: Path) -> None:
    config = tmp_path / "local.conf"
    for statement, verb in ("install nvme /bin/false", "forbids"), ("blacklist nvme", "blacklists"):
        config.write_text(f"{statement}\n")
        image = make(config=[config]).path
        assert verdict(image, machine(NVME)).lines == [f"host uses nvme, image's configuration {verb} nvme"]


def test_displays_do_not_decide(make: Make) -> None:
    shown = machine(NVME, CIRRUS, displays=[{"name": "card0", "path": CIRRUS["path"]}])
    storage = make()
    [line] = verdict(storage.path, shown).lines
    assert "class gpu" in line
    both = make(classes=DriverClass.STORAGE | DriverClass.GPU)
    assert verdict(both.path, shown) == (True, [])
    assert verdict(without(both, "/cirrus.ko"), shown) == (True, ["card0: host uses cirrus, image lacks cirrus"])


def test_another_machines_image(make: Make) -> None:
    lines = ["host is aarch64, image's /init is for ELF machine 62"]
    assert verdict(make().path, machine(NVME, arch="aarch64")) == (False, lines)
    assert verdict(make().path, machine(NVME, arch="mips64")).root


def test_a_command_line_that_means_another_root(make: Make) -> None:
    def lines(cmdline: str) -> list[str]:
        root = {"source": "/dev/disk", "type": "ext4", "uuid": "AB-1", "blocks": [
            {"name": "disk", "path": f"{CONTROLLER}/block/disk"}
        ]}  # fmt: skip
        found = verdict(image, machine(NVME, root=root, cmdline=cmdline))
        assert found.root
        return found.lines

    image = make().path
    for cmdline in ("", "quiet root=/dev/disk", "root=UUID=ab-1 ro", "root=UUID=x root=UUID=AB-1", "root=LABEL=x"):
        assert lines(cmdline) == []
    assert lines("root=UUID=ab-2") == ["host's command line has root=UUID=ab-2, its root /dev/disk is AB-1"]


def test_what_cannot_be_told(make: Make) -> None:
    image = make().path
    mapped = {"source": "/dev/mapper/a", "type": "ext4", "blocks": [
        {"name": "dm-0", "path": "virtual/block/dm-0"}, {"name": "disk", "path": f"{CONTROLLER}/block/disk"}
    ]}  # fmt: skip
    assert verdict(image, machine(NVME, root=mapped)) == (
        True, ["host's root /dev/mapper/a is made of other devices: not checked what sets it up"]
    )  # fmt: skip
    for root in (None, {"source": "overlay", "type": "overlay", "blocks": []}):
        with pytest.raises(TinykmodError, match="is on no disk: nothing to check"):
            verdict(image, machine(NVME, root=root))


def test_the_command(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    board = tmp_path / "board.json"
    words = ["image", "check", "--for", str(board), str(make().path)]
    for kind, code in ("ext4", 0), ("zfs", 1):
        root = {"source": "/dev/nvme0n1", "type": kind, "blocks": [{"name": "n", "path": f"{CONTROLLER}/n"}]}
        taken = {snapshot.MARK: 1, "release": "", "arch": "", "cmdline": "", "modules": [], "displays": []}
        board.write_text(snapshot.text({**taken, "root": root, "devices": [NVME]}))
        assert main(words) == code
        out, err = capsys.readouterr()
        assert (f"root /dev/nvme0n1 ({kind}) would {'not ' * code}be found" in out, err) == (True, "")
    assert f"{board}'s root is zfs, image lacks zfs\n" in out


def test_what_is_no_image_is_one_line(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = make().path
    board = tmp_path / "board.json"
    taken = {snapshot.MARK: 1, "release": "", "arch": "", "cmdline": "", "modules": [], "displays": [], "devices": []}
    board.write_text(snapshot.text({**taken, "root": None}))
    data = image.read_bytes()
    other = tmp_path / "other"
    with (tmp_path / "none").open("wb") as out:
        cpio.write(out, [])
    at = data.index(b"TINYKMOD") if b"TINYKMOD" in data else data.index(b"tinykmod.tki\0") + 200
    for content, why in (
        (data[:5000], "cut short at byte 5000"),
        (b"\x28\xb5\x2f\xfd" + data[:50], "zstd data at byte 0 are damaged"),
        ((tmp_path / "none").read_bytes(), "has 0 boot indexes, where one is expected"),
        (data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :], "tinykmod.tki: "),
    ):
        other.write_bytes(content)
        assert main(["image", "check", "--for", str(board), str(other)]) == 1
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert why in err
