"""What one machine's image carries, chosen from all modules of a real kernel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tinykmod.bench.debian import Kernel
from tinykmod.boot import snapshot
from tinykmod.image.host import Needed, needed, plan
from tinykmod.image.snapshot import chosen, parse, profiles
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import read_tree
from tinykmod.trace.plan import Load, Plan

Choose = Callable[..., Needed]


def device(path: str, bus: str, modalias: str, driver: str = "", module: str = "") -> dict[str, Any]:
    bound = {"driver": driver, "module": module or driver} if driver else {}
    return {"path": path, "bus": bus, "modalias": modalias, **bound}


def pci(slot: str, ids: str, driver: str = "", module: str = "") -> dict[str, Any]:
    return device(f"pci0000:00/0000:00:{slot}", "pci", f"pci:{ids}", driver, module)


NVME = pci("01.0", "v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", "nvme")
AHCI = pci("1f.2", "v00008086d00002922sv00001AF4sd00001100bc01sc06i01", "ahci")
SMBUS = pci("1f.3", "v00008086d00002930sv00001AF4sd00001100bc0Csc05i00")
SOUND = pci("1b.0", "v00008086d0000293Esv00001AF4sd00001100bc04sc03i00", "snd_hda_intel")
XHCI = pci("05.0", "v00001B36d0000000Dsv00001AF4sd00001100bc0Csc03i30", "xhci_hcd", "xhci_pci")
QXL = pci("02.0", "v00001B36d00000100sv00001AF4sd00001100bc03sc00i00")
MASS_STORAGE = "usb:v0781p5581d0100dc00dsc00dp00ic08isc06ip50in00"
STICK = device(f"{XHCI['path']}/usb1/1-1/1-1:1.0", "usb", MASS_STORAGE, "usb-storage", "usb_storage")
STICK_DISK = device(f"{STICK['path']}/host0/target0:0:0/0:0:0:0", "scsi", "scsi:t-0x00", "sd", "sd_mod")
EEPROM = device("platform/i2c/0-0050", "i2c", "of:NeepromT(null)Catmel,24c02", "at24")
SENSOR = device("platform/i2c/0-0048", "i2c", "of:NtempT(null)Cnational,lm75")
EXT4_ON_NVME = {"source": "/dev/nvme0n1", "type": "ext4",
                "blocks": [{"name": "nvme0n1", "path": f"{NVME['path']}/nvme/nvme0/nvme0n1"}]}  # fmt: skip


@pytest.fixture(scope="module")
def choose(kernel: Kernel, kernel_index: Path) -> Choose:
    """choose(devices, classes, **members of the snapshot, strict=): what the machine needs of Debian's kernel."""
    tree, index = read_tree(kernel.root, kernel.release), Index(kernel_index.read_bytes())

    def run(
        devices: list[dict[str, Any]],
        classes: DriverClass = DriverClass.STORAGE,
        *,
        strict: bool = True,
        **members: Any,
    ) -> Needed:
        empty = {"release": "6.1", "arch": "x86_64", "cmdline": "", "modules": [], "root": EXT4_ON_NVME}
        taken = {snapshot.MARK: 1, **empty, "displays": [], "devices": devices, **members}
        return needed(tree, index, parse(snapshot.text(taken), "test"), classes, strict)

    return run


def test_strictly_what_its_devices_have(choose: Choose) -> None:
    got = choose([NVME, SMBUS, SOUND, XHCI])
    assert got.modules == {"nvme": f"drives {NVME['path']}", "ext4": "fs-ext4: a root filesystem"}
    assert got.missing == []


def test_a_disk_has_what_it_sits_behind(choose: Choose) -> None:
    got = choose([NVME, XHCI, STICK, STICK_DISK])
    # The stick matches uas as well, which may drive it next time.
    assert set(got.modules) == {"nvme", "ext4", "xhci_pci", "usb_storage", "uas", "sd_mod"}
    assert got.modules["uas"] == f"matches {STICK['path']}"


def test_what_its_suppliers_need_whatever_their_class(choose: Choose) -> None:
    disk = {**NVME, "suppliers": [EEPROM["path"]]}
    assert set(choose([disk, {**EEPROM, "suppliers": [SENSOR["path"]]}, SENSOR]).modules) == {
        "nvme", "ext4", "at24", "lm75"
    }  # fmt: skip
    assert set(choose([disk, EEPROM, SENSOR]).modules) == {"nvme", "ext4", "at24"}


def test_a_device_that_no_driver_has_yet(choose: Choose) -> None:
    unbound = {key: value for key, value in AHCI.items() if key not in ("driver", "module")}
    assert choose([NVME, unbound]).modules["ahci"] == f"matches {AHCI['path']}"


def test_displays_where_their_class_is_asked_for(choose: Choose) -> None:
    assert "qxl" in choose([NVME, QXL], DriverClass.STORAGE | DriverClass.GPU).modules
    assert "qxl" not in choose([NVME, QXL]).modules
    only = choose([NVME, QXL], DriverClass.GPU)
    assert "qxl" in only.modules
    assert not {"nvme", "ext4"} & set(only.modules)


def test_a_moved_disk_finds_the_standards_controllers_unless_strict(choose: Choose) -> None:
    got = choose([AHCI], strict=False)
    moved = {name for name, why in got.modules.items() if why.startswith("a moved disk: ")}
    # By what the standards' controllers say of themselves; no vendor's own is among them.
    assert moved >= {"nvme", "sd_mod", "xhci_pci", "usb_storage", "uas", "virtio_blk", "virtio_scsi", "virtio_pci"}
    assert len(moved) < 12
    assert not [name for name, why in choose([AHCI]).modules.items() if "moved" in why]


def test_what_devices_wait_for_is_guessed_where_the_firmware_does_not_tell(choose: Choose) -> None:
    assert choose([NVME, SMBUS], strict=False).modules["i2c_i801"] == f"matches {SMBUS['path']}"
    assert "i2c_i801" not in choose([NVME, SMBUS, SENSOR], strict=False).modules  # a device tree tells
    waiting = {**NVME, "waiting": True}
    assert "i2c_i801" in choose([waiting, SMBUS, SENSOR], strict=True).modules


def test_a_root_that_is_encrypted_has_the_ciphers_that_are_loaded(choose: Choose) -> None:
    mapped = {**EXT4_ON_NVME, "blocks": [{"name": "dm-0", "path": "virtual/block/dm-0"}, *EXT4_ON_NVME["blocks"]]}
    loaded = ["dm_crypt", "xts", "aesni_intel", "snd_hda_intel"]
    found = choose([NVME], root=mapped, modules=loaded).modules
    assert {"dm_crypt", "xts", "aesni_intel"} <= set(found)
    assert "snd_hda_intel" not in found
    assert not {"xts", "aesni_intel"} & set(choose([NVME], modules=loaded).modules)


def test_a_root_made_of_others_has_what_is_loaded_of_that_kind(choose: Choose) -> None:
    mapped = {**EXT4_ON_NVME, "blocks": [{"name": "dm-0", "path": "virtual/block/dm-0"}, *EXT4_ON_NVME["blocks"]]}
    loaded = ["dm_mod", "dm_crypt", "ahci", "ext4", "snd_hda_intel", "raid1", "not_in_this_kernel"]
    got = choose([NVME], root=mapped, modules=loaded)
    assert set(got.modules) == {"nvme", "ext4", "dm_mod", "dm_crypt", "raid1"}
    assert set(choose([NVME], modules=loaded).modules) == {"nvme", "ext4"}


@pytest.mark.parametrize("strict", [True, False])
def test_a_profile_has_what_machines_of_that_kind_have(kernel: Kernel, kernel_index: Path, strict: bool) -> None:
    tree, index = read_tree(kernel.root, kernel.release), Index(kernel_index.read_bytes())
    assert "virtual" in profiles()
    machine = chosen("virtual")
    assert machine
    found = needed(tree, index, machine, DriverClass.STORAGE | DriverClass.GPU, strict)
    assert found.missing == []
    # virtio, emulated hardware, VMware, Hyper-V and Xen.
    wanted = (
        "virtio_blk virtio_scsi virtio_pci virtio_mmio sd_mod sr_mod nvme ahci ata_piix xhci_pci uas"
        " vmw_pvscsi vmwgfx hv_vmbus hv_storvsc hyperv_drm xen_blkfront virtio_gpu bochs qxl ext4"
    )
    assert set(wanted.split()) <= set(found.modules)
    assert not {"amdgpu", "mpt3sas", "e1000e"} & set(found.modules)
    # Each device of the profile is one that some driver of the kernel serves.
    assert [device.path for device in machine.devices if not index.match(device.modalias)] == []


def test_without_a_root_every_filesystem_that_one_may_have(choose: Choose) -> None:
    for root in (None, {"source": "overlay", "type": "overlay", "blocks": []}):
        got = choose([NVME], root=root)
        assert {"ext4", "xfs", "btrfs", "squashfs"} <= set(got.modules)
        assert got.missing == []


def test_a_plan_leads_to_the_root(kernel_index: Path) -> None:
    """What makes a device goes first; the filesystem comes in meanwhile."""
    index = Index(kernel_index.read_bytes())
    blocks = [{"name": "sda", "path": f"{STICK_DISK['path']}/block/sda"}]
    members = {"release": "6.1", "arch": "x86_64", "cmdline": "", "modules": [], "displays": []}

    def planned(root: dict[str, Any] | None) -> Plan | None:
        machine = {"tinykmod_snapshot": 1, **members, "devices": [SOUND, XHCI, STICK, STICK_DISK], "root": root}
        return plan(index, parse(snapshot.text(machine), "board"))

    assert planned({"source": "/dev/sda", "type": "xfs", "blocks": blocks}) == Plan(
        [XHCI["modalias"], MASS_STORAGE, "scsi:t-0x00", "fs-xfs"],
        {"xhci_pci": Load(0), "usb_storage": Load(0, "xhci_pci", 1000), "sd_mod": Load(0, "usb_storage", 1000),
         "xfs": Load(0)},
    )  # fmt: skip
    assert planned({"source": "overlay", "type": "overlay", "blocks": []}) is None
    assert planned(None) is None


def test_what_the_kernel_lacks_is_told(choose: Choose) -> None:
    other = pci("09.0", "v0000FFFFd0000FFFF", "own")
    root = {"source": "/dev/own0", "type": "zfs", "blocks": [{"name": "own0", "path": f"{other['path']}/block/own0"}]}
    got = choose([other], root=root)
    assert got.modules == {}
    assert [line.partition(": not in ")[0] for line in got.missing] == [
        "module own, which drives pci0000:00/0000:00:09.0", "filesystem zfs of the root"
    ]  # fmt: skip


def test_a_blacklisted_module_is_there_only_where_it_drives(small: Path, kernel: Kernel, tmp_path: Path) -> None:
    (tmp_path / "local.conf").write_text("blacklist uas\nblacklist usb_storage\n")
    tree = read_tree(small, kernel.release)
    index = Index(compile_index(tree, read_config(tmp_path, paths=[tmp_path / "local.conf"])))
    taken = {snapshot.MARK: 1, "release": "6.1", "arch": "x86_64", "cmdline": "", "modules": [], "root": None,
             "displays": [], "devices": [STICK]}  # fmt: skip
    got = needed(tree, index, parse(snapshot.text(taken), "test"), DriverClass.STORAGE, False)
    assert "uas" not in got.modules
    assert got.modules["usb_storage"] == f"drives {STICK['path']}"
