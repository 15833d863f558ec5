"""Driver classes: what Debian's modules are found to be, and that names have no part in it."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from make_ko import make_ko
from make_tree import RELEASE, make_tree

from tinykmod.modules.classes import driver_class, evidence
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.elf import read_elf
from tinykmod.modules.tree import Module, ModuleTree

EXPECTED = {
    DriverClass.STORAGE: """
        nvme nvme_core ahci ata_piix ata_generic virtio_blk virtio_scsi sd_mod sr_mod usb_storage uas mmc_block dm_mod
        dm_crypt md_mod raid1 vmw_pvscsi hv_storvsc xen_blkfront megaraid_sas mpt3sas ufshcd_pci nd_pmem iscsi_tcp
        cxgb4i loop nbd zram ums_realtek bcache
    """,
    DriverClass.GPU: "virtio_gpu bochs qxl cirrus i915 amdgpu nouveau radeon ast mgag200 vmwgfx hyperv_drm udl",
    DriverClass.FILESYSTEM: "ext4 xfs btrfs vfat f2fs overlay squashfs isofs nfs fuse 9p virtiofs",
    DriverClass.BUS: """
        virtio_pci virtio_mmio sdhci_pci sdhci_acpi rtsx_pci rtsx_pci_sdmmc vmd hv_vmbus pci_hyperv nfit thunderbolt
    """,
    DriverClass.USB: "xhci_pci ehci_pci ohci_pci uhci_hcd",
    DriverClass.INPUT: "usbhid hid_generic hid_multitouch i2c_hid_acpi psmouse evdev virtio_input hyperv_keyboard",
    DriverClass.NETWORK: """
        e1000e igb r8169 realtek virtio_net hv_netvsc vmxnet3 xen_netfront iwlwifi ath10k_pci rtw88_8822be mt7921e
        libertas_sdio cdc_ether sfc bonding
    """,
    DriverClass.PLATFORM: "intel_lpss_pci pinctrl_alderlake i2c_i801",
    DriverClass(0): """
        snd_hda_intel uvcvideo thinkpad_acpi button libcrc32c crc32c_generic kvm_intel
        coretemp corsair_psu cec rc_core dvb_core snd_usb_audio
    """,
}


@pytest.mark.parametrize(("kind", "names"), EXPECTED.items(), ids=[kind.name or "none" for kind in EXPECTED])
def test_debian_modules_are_of_their_class(real_tree: ModuleTree, kind: DriverClass, names: str) -> None:
    found = {name: driver_class(real_tree.by_name[name]) for name in names.split()}
    assert found == dict.fromkeys(found, kind)


def test_each_class_is_about_as_large_as_its_subsystem(real_tree: ModuleTree) -> None:
    kinds = {module.path: driver_class(module) for module in real_tree.modules}

    def share(directory: str, kind: DriverClass) -> float:
        inside = [found for path, found in kinds.items() if path.startswith(f"kernel/{directory}/")]
        return sum(kind in found for found in inside) / len(inside)

    assert share("drivers/ata", DriverClass.STORAGE) == 1
    assert share("drivers/usb/storage", DriverClass.STORAGE) == 1
    assert share("drivers/net/ethernet", DriverClass.NETWORK) > 0.9
    assert share("drivers/net", DriverClass.STORAGE) == 0
    assert share("drivers/net", DriverClass.BUS) == 0
    assert share("drivers/gpu", DriverClass.STORAGE) == 0
    assert share("drivers/hid", DriverClass.INPUT) > 0.9
    assert share("fs", DriverClass.STORAGE) == 0
    elsewhere = ("kernel/sound/", "kernel/drivers/media/")
    assert not any(found for path, found in kinds.items() if path.startswith(elsewhere))


def made(path: str, imports: Iterable[str] = (), aliases: Iterable[str] = ()) -> DriverClass:
    elf = read_elf(make_ko([("alias", alias) for alias in aliases], imports=imports), path)
    return driver_class(Module("x", path, 0, elf))


def test_a_module_from_elsewhere_is_judged_by_its_symbols_alone() -> None:
    assert made("updates/dkms/x.ko", ["input_register_device"]) == DriverClass.INPUT
    assert made("extra/x.ko", ["mmc_add_host", "printk"]) == DriverClass.BUS
    assert made("extra/x.ko", ["register_filesystem"]) == DriverClass.FILESYSTEM
    assert made("extra/x.ko", ["printk"], ["pci:v00001234d*sv*sd*bc*sc*i*"]) == DriverClass(0)


def test_the_pci_class_tells_a_driver_without_known_symbols() -> None:
    assert made("extra/x.ko", aliases=["pci:v*d*sv*sd*bc01sc08i02*"]) == DriverClass.STORAGE
    assert made("extra/x.ko", aliases=["pci:v000010DEd*sv*sd*bc03sc02i00*"]) == DriverClass.GPU
    assert made("extra/x.ko", aliases=["pci:v*d*sv*sd*bc0Csc03i30*"]) == DriverClass.USB
    assert made("extra/x.ko", aliases=["pci:v*d*sv*sd*bc0Csc03i40*"]) == DriverClass(0)


def test_a_driver_may_be_of_two_classes() -> None:
    assert made("extra/x.ko", ["drm_dev_register", "register_netdev"]) == DriverClass.GPU | DriverClass.NETWORK


def test_hotkeys_do_not_make_a_laptop_driver_an_input_driver() -> None:
    assert made("kernel/drivers/platform/x86/x.ko", ["input_register_device"]) == DriverClass(0)


def test_the_evidence_is_the_modules_own(real_tree: ModuleTree) -> None:
    """What is said to show a class is there: an imported symbol, an alias, a directory."""
    seen: set[DriverClass | str] = set()
    for module in real_tree.modules:
        for kind, why in evidence(module):
            said = re.fullmatch(r"(?:imports (\w+)|alias (\S+)|serves devices)(?: and is in (\S+/))?", why)
            assert said, why
            symbol, alias, place = said.groups()
            assert symbol is None or symbol in module.elf.imports
            assert alias is None or alias in module.aliases
            assert place is None or module.path.startswith(f"kernel/{place}")
            seen |= {kind, why.split()[0]}
    assert seen == {*DriverClass, "imports", "alias", "serves"}


def test_the_command_shows_each_class_of_each_driver(
    run_tinykmod: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    make_tree(tmp_path, {
        "kernel/drivers/gpu/card.ko": {"imports": ["drm_dev_register", "register_netdev"]},
        "kernel/drivers/ata/disk.ko": {"modinfo": [("alias", "pci:v1d2sv*sd*bc*sc*i*")]},
        "kernel/drivers/mmc/host.ko": {"imports": ["mmc_add_host"]},
        "extra/wide.ko": {"modinfo": [("alias", "pci:v*d*sv*sd*bc01sc08i02*")]},
        "kernel/lib/library.ko": {},
    })  # fmt: skip
    done = run_tinykmod("classes", "-b", tmp_path, RELEASE)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split(maxsplit=2) for line in done.stdout.splitlines()] == [
        ["storage", "disk", "serves devices and is in drivers/ata/"],
        ["storage", "wide", "alias pci:v*d*sv*sd*bc01sc08i02*"],
        ["gpu", "card", "imports drm_dev_register"],
        ["network", "card", "imports register_netdev"],
        ["bus", "host", "imports mmc_add_host and is in drivers/mmc/"],
    ]
    failed = run_tinykmod("classes", "-b", tmp_path, "5.0-none")
    assert (failed.returncode, failed.stderr.count("\n")) == (1, 1)
