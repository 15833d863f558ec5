"""Which buses a driver registers at, by the functions that it imports for it, and which bus an alias is of."""

from __future__ import annotations

import re

from tinykmod.modules.tree import Module

#: Bus -> the functions that register a driver at it. A module's symbols are looked through as whole names.
#: Sources: the MODULE_DEVICE_TABLE types of scripts/mod/file2alias.c and each bus's header in include/linux.
REGISTERING = {
    "pci": ("__pci_register_driver", "comedi_pci_driver_register"),
    "usb": ("usb_register_driver", "usb_register_device_driver", "usb_serial_register_drivers",
            "comedi_usb_driver_register"),
    "hid": ("__hid_register_driver",),
    "platform": ("__platform_driver_register", "__platform_driver_probe", "__platform_create_bundle",
                 "__platform_register_drivers"),
    "i2c": ("i2c_register_driver",),
    "spi": ("__spi_register_driver",),
    "acpi": ("acpi_bus_register_driver", "__acpi_bus_register_driver"),
    "pnp": ("pnp_register_driver", "pnp_register_card_driver"),
    "virtio": ("register_virtio_driver", "__register_virtio_driver"),
    "serio": ("__serio_register_driver",),
    "pcmcia": ("pcmcia_register_driver",),
    "sdio": ("sdio_register_driver", "__sdio_register_driver"),
    "hdaudio": ("__hda_codec_driver_register",),
    "vmbus": ("__vmbus_driver_register",),
    "xen": ("__xenbus_register_frontend", "__xenbus_register_backend"),
    "bcma": ("__bcma_driver_register",),
    "ssb": ("__ssb_driver_register",),
    "mei": ("__mei_cldev_driver_register",),
    "wmi": ("__wmi_driver_register",),
    "auxiliary": ("__auxiliary_driver_register",),
    "sdw": ("__sdw_register_driver",),
    "mdio": ("phy_driver_register", "phy_drivers_register"),
    "rmi": ("__rmi_register_function_handler",),
    "rpmsg": ("__register_rpmsg_driver",),
    "eisa": ("eisa_driver_register",),
    "dax": ("__dax_driver_register",),
    "nd": ("__nd_driver_register",),
    "fsl-mc": ("__fsl_mc_driver_register",),
    "slimbus": ("__slim_driver_register",),
    "serdev": ("__serdev_device_driver_register",),
    "typec": ("__typec_altmode_register_driver",),
    "tbsvc": ("tb_register_service_driver",),
    "ishtp": ("ishtp_cl_driver_register",),
    "cxl": ("__cxl_driver_register",),
    "mhi": ("__mhi_driver_register",),
    "gameport": ("__gameport_register_driver",),
    "parport": ("__parport_register_driver",),
    "isa": ("isa_register_driver",),
}  # fmt: skip

_BUS_OF = {symbol: bus for bus, symbols in REGISTERING.items() for symbol in symbols}

#: The buses on which a device's aliases have a form that no other bus's have.
_OWN = {
    "pci": "pci", "usb": "usb", "hid": "hid", "i2c": "i2c", "spi": "spi", "pnp": "pnp", "pcmcia": "pcmcia",
    "serio": "serio", "virtio": "virtio", "sdio": "sdio", "hdaudio": "hdaudio", "vmbus": "vmbus", "xen": "xen",
    "bcma": "bcma", "ssb": "ssb", "mei": "mei", "wmi": "wmi", "platform": "platform", "auxiliary": "auxiliary",
    "sdw": "sdw", "mdio": "mdio", "rmi": "rmi", "rpmsg": "rpmsg", "eisa": "eisa", "fsl-mc": "fsl-mc",
    "slim": "slimbus", "typec": "typec", "tbsvc": "tbsvc", "ishtp": "ishtp", "mhi": "mhi",
}  # fmt: skip


def buses_of(module: Module) -> frozenset[str]:
    """The buses at which a module registers a driver."""
    imports = module.elf.imports
    return frozenset(bus for symbol, bus in _BUS_OF.items() if symbol in imports)


def bus_of_alias(alias: str) -> str | None:
    """The bus whose devices an alias is of; None where devices of several buses have such (acpi, of), or it is
    unknown here."""
    found = re.match(r"[a-z][a-z0-9-]*(?=:)", alias)
    return None if found is None else _OWN.get(found[0])
