"""Which modules one machine needs, by its snapshot: its devices' of some classes, and of what they sit behind."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import NamedTuple

from tinykmod.image.select import ROOT_FILESYSTEMS, with_behind
from tinykmod.image.snapshot import Device, Root, Snapshot
from tinykmod.index.reader import Index
from tinykmod.modules.classes import serves_devices
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import ModuleTree
from tinykmod.trace.plan import Load, Plan

_PCI = "pci:v0000FFFFd0000FFFFsv0000FFFFsd0000FFFFbc{:02X}sc{:02X}i{:02X}"  # of no maker: 0xFFFF is none
_USB = "usb:vFFFFpFFFFd0000dc00dsc00dp00ic08isc06ip{}in00"
_VIRTIO = 0x1AF4
#: Where a disk may be found after it was moved to another port, case or machine, or its image to another hypervisor:
#: what controllers and disks of the standards say of themselves, whoever has made them.
MOVED = {
    "NVMe": (_PCI.format(1, 8, 2),),
    "AHCI": (_PCI.format(1, 6, 1), "scsi:t-0x00"),
    "USB": (_PCI.format(0xC, 3, 0x30), _USB.format(50), _USB.format(62), "scsi:t-0x00"),
    "virtio": (
        f"pci:v{_VIRTIO:08X}d00001042sv{_VIRTIO:08X}sd00001100bc01sc00i00",
        f"virtio:d00000002v{_VIRTIO:08X}",  # a block device
        f"virtio:d00000008v{_VIRTIO:08X}",  # a SCSI host
    ),
}
#: Microseconds until a device is there, where nobody has measured it: what makes it is begun first.
_LATER = 1000


class Needed(NamedTuple):
    """What a machine needs: module -> reason, and what it needs but the tree does not have, a line each."""

    modules: dict[str, str]
    missing: list[str]


def needed(tree: ModuleTree, index: Index, machine: Snapshot, classes: DriverClass, strict: bool = False) -> Needed:
    """The modules for MACHINE's devices of CLASSES, without what the modules themselves need.

    A device has the module that it is bound to and those that match it. With it go those of what it sits behind: its
    parents and suppliers. Unless STRICT, a disk may have been moved (MOVED) where the classes have STORAGE, and what
    devices wait for is guessed where the firmware does not tell: only from a device tree does the kernel learn that.
    """
    drivers = {device.path: _drivers(index, device) for device in machine.devices}
    carried = with_behind(classes)
    disks = [block.path for block in machine.root.blocks] if machine.root and DriverClass.STORAGE in classes else []
    cards = [card.path for card in machine.displays] if DriverClass.GPU in classes else []
    wanted = {*_of(classes, drivers, index), *disks, *cards}
    device_tree = any(device.modalias.startswith("of:") for device in machine.devices)
    if any(device.waiting for device in machine.behind(wanted)) or not (device_tree or strict):
        wanted |= {*_of(carried & DriverClass.PLATFORM, drivers, index)}
    modules: dict[str, str] = {}
    missing: list[str] = []
    for device in machine.behind(wanted):
        for name in drivers[device.path]:
            # What another device waits for may be of no class (a thermal sensor, an EEPROM).
            supplies = not device.driver and device.path not in wanted
            if name == device.module or supplies or index.module(name).classes & carried:
                modules.setdefault(name, f"{'drives' if name == device.module else 'matches'} {device.path}")
        if device.module and not drivers[device.path] and not index.lookup(device.module):
            missing.append(f"module {device.module}, which drives {device.path}: not in {tree.release}")
    if DriverClass.STORAGE in classes:
        modules.update({name: why for name, why in _software(tree, index, machine).items() if name not in modules})
        for kind in [machine.root.type] if machine.root and machine.root.blocks else ROOT_FILESYSTEMS:
            found = index.lookup(f"fs-{kind}") or index.lookup(kind)
            modules.update({match.module: f"fs-{kind}: a root filesystem" for match in found if not match.builtin})
            if not found and machine.root and machine.root.blocks:
                missing.append(f"filesystem {kind} of the root: not in {tree.release}")
        if not strict:
            for standard, modaliases in MOVED.items():
                for modalias in modaliases:
                    for name in _matching(index, modalias):
                        modules.setdefault(name, f"a moved disk: {standard}")
    return Needed(modules, missing)


def _drivers(index: Index, device: Device) -> list[str]:
    """The modules that DEVICE is or may be driven by."""
    bound = [match.module for match in index.lookup(device.module) if not match.builtin] if device.module else []
    return list(dict.fromkeys([*bound, *(_matching(index, device.modalias) if device.modalias else ())]))


def _matching(index: Index, modalias: str) -> list[str]:
    found = [match.module for match in index.match(modalias) if not match.builtin]
    return [name for name in found if not index.is_blacklisted(name)]


def _of(classes: DriverClass, drivers: dict[str, list[str]], index: Index) -> Iterable[str]:
    """The paths of the devices that have a driver of CLASSES."""
    return (path for path, names in drivers.items() if any(index.module(name).classes & classes for name in names))


def _software(tree: ModuleTree, index: Index, machine: Snapshot) -> dict[str, str]:
    """Where the root is made of other devices: what is loaded of storage and serves no device (LVM, LUKS, RAID), and
    what is loaded of ciphers and hashes, which those ask for by name."""
    if machine.root is None or not made_of_others(machine.root):
        return {}
    loaded = [match.module for name in machine.modules for match in index.lookup(name) if not match.builtin]
    return {
        name: f"{machine.root.source} is made of other devices"
        for name in loaded
        if (DriverClass.STORAGE in index.module(name).classes and not serves_devices(tree.by_name[name].aliases))
        or any(alias.startswith("crypto-") for alias in tree.by_name[name].aliases)
    }


def made_of_others(root: Root) -> bool:
    """Whether the root's device is none that a driver finds."""
    return bool(root.blocks) and root.blocks[0].path.startswith("virtual/block/")


def plan(index: Index, machine: Snapshot) -> Plan | None:
    """What leads to MACHINE's root, for the loader to begin with: its filesystem comes in while its disk spins up.

    None where the snapshot tells of no root, or no module leads to it.
    """
    if machine.root is None or not machine.root.blocks:
        return None
    behind = machine.behind(block.path for block in machine.root.blocks)
    drivers = {device.path: _drivers(index, device)[:1] for device in behind}
    modules: dict[str, Load] = {}
    for device in behind:
        above = (drivers.get(str(path), []) for path in PurePosixPath(device.path).parents)
        maker = next(filter(None, above), [""])[0]
        for name in drivers[device.path]:
            modules.setdefault(name, Load(0, maker, _LATER) if maker not in ("", name) else Load(0))
    kind = f"fs-{machine.root.type}"
    modules.update({match.module: Load(0) for match in index.lookup(kind) if not match.builtin})
    return Plan([*(device.modalias for device in behind if device.modalias), kind], modules) if modules else None
