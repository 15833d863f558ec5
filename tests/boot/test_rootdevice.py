"""The forms of `root=` by what sysfs and udev say, on a made tree."""

from __future__ import annotations

from pathlib import Path

import pytest

from tinykmod.boot.rootdevice import RootDevice
from tinykmod.errors import TinykmodError

LINKS = {
    "by-uuid/7B1C-9e5e": "sda1",
    r"by-label/a\x20b\xc3\xa9": "sda1",
    "by-label/plain": "sdb",
    "by-partuuid/1a2b3c4d-02": "sda1",
    r"by-partlabel/a\x2fb": "sda1",
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name, number in (("sda1", "8:1"), ("sdb", "8:16"), ("cciss!c0d0p2", "104:2")):
        directory = tmp_path / "sys/class/block" / name
        directory.mkdir(parents=True)
        (directory / "dev").write_text(f"{number}\n")
        (tmp_path / "sys/dev/block").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sys/dev/block" / number).symlink_to(f"../../class/block/{name}")
    for link, name in LINKS.items():
        path = tmp_path / "dev/disk" / link
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(f"../../{name}")
    (tmp_path / "run/udev/data").mkdir(parents=True)
    (tmp_path / "run/udev/control").touch()
    (tmp_path / "run/udev/data/b8:1").write_text("S:disk/by-uuid/x\nE:ID_FS_TYPE=ext4\nE:ID_FS_USAGE=filesystem\n")
    return tmp_path


@pytest.mark.parametrize(
    ("spec", "name"),
    [
        ("/dev/sda1", "sda1"), ("/dev/sdc", None), ("/dev/cciss/c0d0p2", "cciss!c0d0p2"), ("8:16", "sdb"),
        ("8:17", None), ("801", "sda1"), ("6802", "cciss!c0d0p2"), ("UUID=7b1c-9E5E", "sda1"), ("UUID=7b1c", None),
        ("LABEL=a bé", "sda1"), (r"LABEL=a\x20b\xc3\xa9", "sda1"), ('LABEL="plain"', "sdb"), ("LABEL=Plain", None),
        ("PARTUUID=1A2B3C4D-02", "sda1"), ("PARTLABEL=a/b", "sda1"), ("/dev/disk/by-label/plain", "sdb"),
    ],
)  # fmt: skip
def test_each_form_finds_its_device(base: Path, spec: str, name: str | None) -> None:
    assert RootDevice(spec, base).find() == name


def test_the_type_is_what_udev_found(base: Path) -> None:
    assert [RootDevice(spec, base).filesystem() for spec in ("/dev/sda1", "/dev/sdb", "/dev/no")] == ["ext4", "", ""]


@pytest.mark.parametrize("spec", ["", "sdz", "UUID=", "/dev/", "/dev/disk/by-id/x", "PARTUUID=x/PARTNROFF=1", "8:"])
def test_forms_that_are_none_are_told(base: Path, spec: str) -> None:
    with pytest.raises(TinykmodError, match="no form of root="):
        RootDevice(spec, base)


def test_tags_need_udev(tmp_path: Path) -> None:
    with pytest.raises(TinykmodError, match="no udev runs here"):
        RootDevice("UUID=x", tmp_path)
    assert RootDevice("/dev/sda", tmp_path).find() is None
