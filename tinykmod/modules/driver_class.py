"""The classes of drivers: what an image is made for, and the order in which a boot loads."""

from __future__ import annotations

from enum import IntFlag


class DriverClass(IntFlag):
    """What a module's driver serves, found by what it registers (tinykmod.modules.classes); it may be several."""

    STORAGE = 1  # disks and their controllers
    GPU = 2
    INPUT = 4
    NETWORK = 8
    USB = 16  # USB host controllers
    BUS = 32  # other buses: what makes further devices appear (virtio, MMC hosts, VMD, Hyper-V)
    FILESYSTEM = 64
    PLATFORM = 128  # what other devices of a board wait for (clocks, regulators, PHYs, pin controllers, GPIO)
