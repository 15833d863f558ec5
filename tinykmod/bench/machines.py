"""The virtual machines that boots are tried and measured on: QEMU's arguments beside kernel, initrd and speed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Emulator:
    """QEMU for one architecture: its program, Debian's package of that, and the console on the first serial port."""

    program: str
    package: str
    console: str


X86_64 = Emulator("qemu-system-x86_64", "qemu-system-x86", "ttyS0")
AARCH64 = Emulator("qemu-system-aarch64", "qemu-system-arm", "ttyAMA0")
ARMV7L = Emulator("qemu-system-arm", "qemu-system-arm", "ttyAMA0")


@dataclass(frozen=True)
class Machine:
    """`args` describe the machine; `disk` is the -device of each disk image, with {id} for the drive."""

    name: str
    args: tuple[str, ...]
    disk: str = "virtio-blk-pci,drive={id}"
    emulator: Emulator = X86_64


def null_disk(device: str, name: str) -> tuple[str, ...]:
    """A disk of 64 MiB (a power of two, which SD cards must have) that holds nothing and needs no file."""
    blockdev = f"null-co,node-name={name},size={64 << 20},read-zeroes=on"
    return ("-blockdev", blockdev, "-device", f"{device},drive={name}")


_Q35 = ("-M", "q35", "-m", "1G")
#: -nodefaults: without the CD-ROM and floppy drive that nobody asked for.
_BARE = (*_Q35, "-nodefaults")

VIRTIO_BLK = Machine("virtio-blk", _BARE)
NVME = Machine("nvme", _BARE, "nvme,serial={id},drive={id}")
AHCI = Machine("ahci", _BARE, "ide-hd,drive={id}")
NO_DISK = Machine("no-disk", _BARE)
#: The machine of the measurements: root on virtio-blk, and one of most kinds of device that QEMU has.
REFERENCE = Machine(
    "reference",
    (
        *_Q35,
        *null_disk("nvme,serial=null", "null-nvme"),
        *null_disk("ide-hd", "null-ahci"),
        *("-device", "virtio-scsi-pci"),
        *null_disk("scsi-hd", "null-scsi"),
        *("-device", "virtio-gpu-pci", "-device", "bochs-display"),
        *("-device", "qemu-xhci", "-device", "usb-kbd"),
        *("-device", "e1000e", "-device", "virtio-net-pci"),
        *("-device", "virtio-rng-pci", "-device", "virtio-balloon-pci"),
        *("-device", "sdhci-pci"),
        *null_disk("sd-card", "null-sd"),
        *("-device", "i6300esb"),
    ),
)

#: Boards: what they have is in a device tree, which QEMU makes.
_ARM64 = ("-M", "virt", "-cpu", "cortex-a57", "-m", "1G", "-nodefaults")
ARM64_MMIO = Machine("arm64-mmio", _ARM64, "virtio-blk-device,drive={id}", AARCH64)
ARM64_PCI = Machine("arm64-pci", _ARM64, "virtio-blk-pci,drive={id}", AARCH64)
#: highmem=off: all of it below 4 GiB, where a kernel without LPAE reaches it.
ARM_MMIO = Machine("arm-mmio", ("-M", "virt,highmem=off", "-cpu", "cortex-a15", "-m", "1G", "-nodefaults"),
                   "virtio-blk-device,drive={id}", ARMV7L)  # fmt: skip

#: Those that amd64 kernels boot on, by name.
MACHINES = {machine.name: machine for machine in (VIRTIO_BLK, NVME, AHCI, NO_DISK, REFERENCE)}
