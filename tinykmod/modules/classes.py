"""What a module's driver serves, found by what the driver registers, that is by the symbols that it imports.

No module is known by its name. What is looked at, the next only where those before it found nothing:

1. SURE: functions that only a driver of this class calls, libraries' wrappers of them (libahci's) included; the PCI
   class in its aliases; registering a filesystem, in fs/;
2. HINTS: functions that drivers of other classes call too (a laptop's hotkeys are an input device, a graphics card
   has an I2C bus), which count in the directories of their subsystem, and in a module that is not of the kernel tree;
3. PLACES: for a driver of some device, the directory alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import Module


class _Symbols(NamedTuple):
    exact: frozenset[str]
    prefixes: tuple[str, ...]

    @classmethod
    def of(cls, words: str) -> _Symbols:
        """From symbols with spaces between them; `*` at the end of one stands for any rest."""
        prefixes = tuple(word[:-1] for word in words.split() if word.endswith("*"))
        return cls(frozenset(word for word in words.split() if not word.endswith("*")), prefixes)

    def among(self, imports: Mapping[str, object]) -> str:
        """The first by name of those that a module imports; empty where it imports none."""
        if not self.exact.isdisjoint(imports):
            return min(self.exact.intersection(imports))
        if not self.prefixes:
            return ""
        return min((symbol for symbol in imports if symbol.startswith(self.prefixes)), default="")


SURE = {
    DriverClass.STORAGE: _Symbols.of("""
        add_disk device_add_disk __device_add_disk add_disk_fwnode
        alloc_disk __alloc_disk __alloc_disk_node __blk_alloc_disk __blk_mq_alloc_disk blk_mq_alloc_disk_for_queue
        scsi_add_host_with_dma scsi_register_driver __scsi_register_driver scsi_register_device_handler
        ata_host_activate ata_host_register ata_pci_* ahci_* __ahci_*
        nvme_init_ctrl nvme_add_ctrl nvmf_register_transport
        sas_register_ha iscsi_register_transport iscsi_host_add cxgbi_device_register
        usb_stor_probe1 ufshcd_init ufshcd_pltfrm_init memstick_register_driver
        __nd_driver_register register_mtd_blktrans
        dm_register_target register_md_personality register_md_submodule
    """),
    DriverClass.GPU: _Symbols.of("""
        drm_dev_register drm_bridge_add devm_drm_bridge_add drm_panel_add mipi_dsi_driver_register_full
    """),
    DriverClass.INPUT: _Symbols.of("""
        __hid_register_driver hid_add_device i2c_hid_core_probe
        __serio_register_driver __serio_register_port __gameport_register_driver __rmi_register_function_handler
    """),
    DriverClass.NETWORK: _Symbols.of("""
        register_netdev register_netdevice alloc_etherdev_mqs usbnet_probe register_candev
        ieee80211_register_hw wiphy_register phy_driver_register phy_drivers_register
    """),
    DriverClass.USB: _Symbols.of("""
        usb_add_hcd usb_create_hcd usb_hcd_pci_probe usb_hcd_platform_shutdown
        xhci_init_driver ehci_init_driver ohci_init_driver xhci_gen_setup ehci_setup ci_hdrc_add_device
    """),
}


def _below(places: str) -> tuple[str, ...]:
    return tuple(f"drivers/{place}/" for place in places.split())


class _Hint(NamedTuple):
    kind: DriverClass
    symbols: _Symbols
    places: tuple[str, ...]  # below kernel/


HINTS = (
    _Hint(
        DriverClass.INPUT,
        _Symbols.of("input_register_device input_register_handler"),
        _below("hid input virtio"),
    ),
    _Hint(
        DriverClass.STORAGE,
        _Symbols.of("do_map_probe nand_scan_with_ids spi_nor_scan mtd_device_parse_register"),
        _below("mtd"),
    ),
    _Hint(
        DriverClass.BUS,
        _Symbols.of("""
            register_virtio_device mmc_add_host sdhci_add_host __sdhci_add_host sdhci_pltfm_register
            dw_mci_probe dw_mci_pltfm_register tmio_mmc_host_probe memstick_add_host tifm_add_adapter
            pci_create_root_bus pci_scan_root_bus pci_scan_root_bus_bridge pci_host_probe pci_host_common_probe
            dw_pcie_host_init nvdimm_bus_register fw_core_add_card fw_card_add pcmcia_register_socket
        """),
        _below("acpi cxl firewire memstick misc mmc nvdimm pci pcmcia platform s390 remoteproc vdpa virtio"),
    ),
    _Hint(
        DriverClass.BUS,
        _Symbols.of("bus_register"),
        _below("bcma bus hv nvdimm platform/surface ssb thunderbolt virtio"),
    ),
    _Hint(
        DriverClass.PLATFORM,
        _Symbols.of("""
            of_clk_add_hw_provider devm_of_clk_add_hw_provider clk_hw_register devm_clk_hw_register qcom_cc_probe
            qcom_cc_really_probe regulator_register devm_regulator_register
            __of_phy_provider_register __devm_of_phy_provider_register usb_add_phy_dev
            pinctrl_register devm_pinctrl_register devm_pinctrl_register_and_init intel_pinctrl_probe_by_*
            gpiochip_add_data_with_key devm_gpiochip_add_data_with_key
            reset_controller_register devm_reset_controller_register
            icc_provider_add icc_provider_register mbox_controller_register devm_mbox_controller_register
            of_genpd_add_provider_simple of_genpd_add_provider_onecell iommu_device_register
            mfd_add_devices devm_mfd_add_devices intel_lpss_probe pwmchip_add devm_pwmchip_add __pwmchip_add
            extcon_dev_register devm_extcon_dev_register typec_register_port
            i2c_add_adapter i2c_add_numbered_adapter devm_i2c_add_adapter i2c_dw_probe
            spi_register_controller devm_spi_register_controller spi_bitbang_start spmi_controller_add
        """),
        _below("""
            clk extcon firmware gpio i2c interconnect iommu mailbox mfd phy pinctrl pmdomain power pwm regulator
            reset soc spi spmi usb/phy usb/typec
        """),
    ),
)

#: Directories below kernel/ all of whose drivers are of one class.
PLACES = {
    DriverClass.STORAGE: _below("ata nvme/host scsi ufs"),
    DriverClass.NETWORK: _below("net"),
    DriverClass.USB: _below(
        "usb/cdns3 usb/chipidea usb/dwc2 usb/dwc3 usb/fotg210 usb/host usb/isp1760 usb/mtu3 usb/musb"
    ),
    DriverClass.INPUT: _below("hid input"),
    DriverClass.BUS: _below("misc/cardreader misc/cb710"),
}

#: Directories below kernel/ whose drivers are of none, though some have a remote control, a fan, a data channel or an
#: accelerator that is an input device, a HID device, a network interface or a DRM device.
NO_CLASS = ("sound/", *_below("accel hwmon media"))

#: The PCI class of the devices that an alias stands for (`pci:v*d*sv*sd*bc01sc06i01*`; include/linux/pci_ids.h).
PCI_CLASSES = (
    (DriverClass.STORAGE, re.compile(r"pci:.*bc01sc")),
    (DriverClass.GPU, re.compile(r"pci:.*bc03sc")),
    (DriverClass.USB, re.compile(r"pci:.*bc0Csc03i[0-3]")),  # UHCI, OHCI, EHCI, xHCI; 40 is USB4, a bus of its own
)

#: Aliases that are asked for by name, not by a device.
NOT_DEVICES = ("devname:", "char-major", "block-major", "fs-", "net-pf-", "crypto-", "cpu:")


class Evidence(NamedTuple):
    """One class of a module, and what shows it."""

    kind: DriverClass
    why: str


def driver_class(module: Module) -> DriverClass:
    """The classes of a module; none (0) for a library and for what serves nothing of the kind."""
    found = DriverClass(0)
    for kind, _ in evidence(module):
        found |= kind
    return found


def evidence(module: Module) -> list[Evidence]:
    """Each class of a module with what shows it, the first of what would do."""
    imports, aliases, place = module.elf.imports, module.aliases, _place(module.path)
    if place is not None and place.startswith(NO_CLASS):
        return []
    found: dict[DriverClass, str] = {}
    for kind, symbols in SURE.items():
        if symbol := symbols.among(imports):
            found[kind] = f"imports {symbol}"
    for kind, pattern in PCI_CLASSES:
        if kind not in found and (alias := next(filter(pattern.match, aliases), "")):
            found[kind] = f"alias {alias}"
    if "register_filesystem" in imports and (place is None or place.startswith("fs/")):
        found[DriverClass.FILESYSTEM] = f"imports register_filesystem{' and is in fs/' if place else ''}"
    if found:
        return [Evidence(*each) for each in found.items()]
    for hint in HINTS:
        if (where := _where(place, hint.places)) is not None and (symbol := hint.symbols.among(imports)):
            return [Evidence(hint.kind, f"imports {symbol}{where}")]
    if place is not None and serves_devices(aliases):
        for kind, places in PLACES.items():
            if where := _where(place, places):
                return [Evidence(kind, f"serves devices{where}")]
    return []


def _where(place: str | None, places: tuple[str, ...]) -> str | None:
    """How to say in which of PLACES a module is; None for one that is in none, "" for one from elsewhere."""
    if place is None:
        return ""
    return next((f" and is in {each}" for each in places if place.startswith(each)), None)


def _place(path: str) -> str | None:
    """The path below kernel/, which mirrors the kernel's source; None for a module from updates/, extra/, ..."""
    return path.removeprefix("kernel/") if path.startswith("kernel/") else None


def serves_devices(aliases: Iterable[str]) -> bool:
    """Whether the module of these aliases is a driver that some device asks for."""
    return any(":" in alias and not alias.startswith(NOT_DEVICES) for alias in aliases)
