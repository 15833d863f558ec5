"""A made root and a made machine that the tests of loading share."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from make_tree import RELEASE, make_tree

from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree

MODULES = {
    "kernel/base.ko": {"exports": {"base": 1}},
    "kernel/crc.ko": {"modinfo": [("alias", "crypto-crc")]},
    "kernel/disk.ko": {
        "imports": {"base": 1, "device_add_disk": None},
        "modinfo": [("alias", "pci:disk*"), ("softdep", "pre: crypto-crc")],
    },
    "kernel/sound.ko": {"imports": {"base": 1}, "modinfo": [("alias", "pci:sound*")]},
    "kernel/spare.ko": {"modinfo": [("alias", "pci:disk1")]},
    "kernel/packed.ko.xz": {"modinfo": [("alias", "pci:packed")]},
}
DEVICES = {"pci/1": "pci:sound1", "pci/2": "pci:disk1", "pci/3": "pci:disk1", "usb/4": "pci:packed", "usb/5": "",
           "usb/6": "pci:unknown"}  # fmt: skip


def image(root: Path, config: str = "") -> Path:
    """A root as an image has it: modules, index, and the text files."""
    make_tree(root, MODULES, config=config)
    directory = root / "lib/modules" / RELEASE
    (directory / "tinykmod.tki").write_bytes(compile_index(read_tree(root, RELEASE), read_config(root)))
    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    return root


def make_sysroot(root: Path, devices: Mapping[str, str], cmdline: str = "") -> Path:
    """A copied /sys and /proc: DEVICES maps `bus/device` to its modalias."""
    for place, modalias in devices.items():
        bus, device = place.split("/")
        directory = root / "sys" / "bus" / bus / "devices" / device
        directory.mkdir(parents=True)
        (directory / "uevent").write_text(f"DRIVER=x\nMODALIAS={modalias}\n" if modalias else "DEVTYPE=none\n")
    (root / "proc").mkdir(parents=True, exist_ok=True)
    (root / "proc" / "cmdline").write_text(cmdline + "\n")
    return root
