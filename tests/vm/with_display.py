"""Machines with a display and a root on each kind of controller, which images are tried on."""

from __future__ import annotations

from tinykmod.bench.machines import AHCI, NVME, VIRTIO_BLK, Machine, null_disk

#: Images are made for this machine, from a snapshot of it with its root on virtio.
OWN = (*VIRTIO_BLK.args, *null_disk("nvme,serial=null", "null-nvme"), *null_disk("ide-hd,bus=ide.0", "null-ahci"),
       "-device", "virtio-gpu-pci")  # fmt: skip
#: What a udev on the root would load.
LEFT = "rd.driver.post=nvme,ahci,sd_mod"
#: Machine, what its root's device begins with, the driver of that, and the one of its display or of what that is on.
MACHINES = [
    (Machine("virtio", OWN, VIRTIO_BLK.disk), "/dev/vd", "virtio_blk", "virtio-pci"),
    (Machine("nvme", (*NVME.args, "-device", "bochs-display"), NVME.disk), "/dev/nvme", "nvme", "bochs-drm"),
    (Machine("ahci", (*AHCI.args, "-device", "qxl"), AHCI.disk), "/dev/sd", "ahci", "qxl"),
]
