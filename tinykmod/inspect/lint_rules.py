"""What `tinykmod lint` looks for in a module. Thresholds are those that few of Debian 6.1's 4023 modules pass."""

from __future__ import annotations

from tinykmod.inspect.report import Level, Rule

#: Bytes of stack: 4 of 5316 functions with a frame of 128 bytes or more take more. Linux warns at 2048
#: (CONFIG_FRAME_WARN), with 1024 on 32 bits, but of 16 KiB a call chain of dozens of functions must live.
STACK = 1024

#: Bytes in memory that one module of two hundred passes.
SIZES = {"code": 400_000, "read-only data": 125_000, "data": 83_000, "zeroed data": 10_700}

UNREADABLE = Rule(
    "unreadable-module", Level.ERROR, "the file is cut short, no ELF object or damaged",
    "The kernel refuses it (ENOEXEC).",
    "Build it again, or copy it again.",
    "kernel/module/main.c, elf_validity_check()",
)  # fmt: skip
NO_LICENSE = Rule(
    "no-license", Level.ERROR, "there is no MODULE_LICENSE",
    "The module counts as proprietary: it taints the kernel, and no GPL-only symbol is open to it.",
    'Add MODULE_LICENSE("GPL"), or what the code is under.',
    "Documentation/process/license-rules.rst",
)  # fmt: skip
UNKNOWN_LICENSE = Rule(
    "unknown-license", Level.WARNING, "MODULE_LICENSE is none of those that the kernel knows",
    "The kernel takes it for proprietary, whatever it means, so that the module taints it.",
    'Use "GPL", "Dual BSD/GPL", "Dual MIT/GPL", "Dual MPL/GPL" or "Proprietary"; the SPDX line has the details.',
    "Documentation/process/license-rules.rst",
)  # fmt: skip
NO_DESCRIPTION = Rule(
    "no-description", Level.WARNING, "there is no MODULE_DESCRIPTION",
    "modinfo cannot tell what the module is for; the kernel's own build warns of it (W=1).",
    "Add MODULE_DESCRIPTION, one line.",
    "scripts/mod/modpost.c; The Linux Kernel Module Programming Guide, 4.4",
)  # fmt: skip
NO_AUTHOR = Rule(
    "no-author", Level.NOTE, "there is no MODULE_AUTHOR",
    "Users cannot tell whom to ask.",
    'Add MODULE_AUTHOR("Name <address>").',
    "include/linux/module.h; The Linux Kernel Module Programming Guide, 4.4",
)  # fmt: skip
PARAMETER = Rule(
    "undescribed-parameter", Level.WARNING, "a parameter has no MODULE_PARM_DESC",
    "modinfo lists it without a word, so that users must read the source.",
    "Add MODULE_PARM_DESC(name, ...) with unit, range and default.",
    "include/linux/moduleparam.h; The Linux Kernel Module Programming Guide, 4.5",
)  # fmt: skip
PATH_PARAMETER = Rule(
    "path-parameter", Level.WARNING, "a parameter that looks like a path or a program can be written while running",
    "Whoever may write it chooses what the kernel reads or runs; charp has no lock against its readers either.",
    "Make it 0444, or 0400, and take it at load only; firmware goes by request_firmware().",
    "include/linux/moduleparam.h, kernel_param_lock(); Documentation/filesystems/sysfs.rst",
)  # fmt: skip
EXPORT = Rule(
    "uneven-export", Level.NOTE, "an exported function and its counterpart are not exported alike",
    "A module that may call the one may not call the other (GPL-only, namespace), and so can use neither.",
    "Export both with EXPORT_SYMBOL_GPL or both without, and in one namespace.",
    "Documentation/core-api/symbol-namespaces.rst",
)  # fmt: skip
NO_VERSION = Rule(
    "no-version", Level.NOTE, "a module from outside the kernel tree has no MODULE_VERSION",
    "dkms and users cannot tell which of two builds is the newer.",
    "Add MODULE_VERSION and raise it with each release.",
    "dkms(8); include/linux/module.h, MODULE_VERSION",
)  # fmt: skip
VERSION = Rule(
    "version-form", Level.NOTE, "MODULE_VERSION does not compare",
    "Tools that ask which is newer go by numbers with dots.",
    "Write it as 1.2.3, with letters and signs at most behind that.",
    "include/linux/module.h, MODULE_VERSION: [<epoch>:]<version>[-<extra-version>]",
)  # fmt: skip
DEBUG = Rule(
    "no-debug-info", Level.NOTE, "a module from outside the kernel tree has neither debug information nor BTF",
    "An oops cannot be traced to a line, and bpftrace does not know its types.",
    "Build with CONFIG_DEBUG_INFO, split the debug information off when you package it.",
    "Documentation/admin-guide/bug-hunting.rst",
)  # fmt: skip
NO_ALIAS = Rule(
    "no-alias-table", Level.WARNING, "a bus driver has no aliases, so nothing loads it for its devices",
    "udev and the kernel load modules by alias: this one must be loaded by hand. Some are meant to be (new_id).",
    "Add MODULE_DEVICE_TABLE for the driver's id table; for a driver without one, MODULE_ALIAS of `platform:NAME`.",
    "Documentation/PCI/pci.rst; Documentation/driver-api/usb/writing_usb_driver.rst",
)  # fmt: skip
BROAD_ALIAS = Rule(
    "broad-alias", Level.WARNING, "an alias matches every device of a bus",
    "The module is loaded on every machine that has such a bus.",
    "Name vendors, devices or a class in the id table, unless it is the driver of last resort, as hid-generic is.",
    "Documentation/PCI/pci.rst, pci_device_id",
)  # fmt: skip
FIRMWARE = Rule(
    "undeclared-firmware", Level.WARNING, "firmware is requested, but none is declared",
    "Images and installers cannot know that the file is needed: the driver fails in the initramfs.",
    "Add MODULE_FIRMWARE for each file.",
    "Documentation/driver-api/firmware/request_firmware.rst; include/linux/module.h, MODULE_FIRMWARE",
)  # fmt: skip
SOFTDEP = Rule(
    "redundant-softdep", Level.WARNING, "a softdep names a module that its symbols require already",
    "modprobe loads it first anyway.",
    "Drop the MODULE_SOFTDEP.",
    "modprobe.d(5), softdep",
)  # fmt: skip
UNUSED_IMPORT = Rule(
    "unused-import", Level.WARNING, "a symbol is imported that no code or data refers to",
    "The module that exports it must be loaded for nothing.",
    "Drop what declares it, such as a leftover of ld -r or of an object that is not needed.",
    "kernel/module/main.c, simplify_symbols()",
)  # fmt: skip
STACK_FRAME = Rule(
    "large-frame", Level.WARNING, f"a function takes more than {STACK} bytes of stack",
    "The kernel's stack is 16 KiB for all calls together, and does not grow.",
    "Allocate large objects with kmalloc(), or make the function smaller.",
    "lib/Kconfig.debug, FRAME_WARN; Documentation/mm/vmalloced-kernel-stacks.rst",
)  # fmt: skip
SECTION_SIZE = Rule(
    "large-section", Level.NOTE, "the module takes more memory than all but one of two hundred",
    "It is memory that cannot be paged out, on every machine that loads it.",
    "Allocate tables when a device needs them, share what variants have in common, or split the module.",
    "the distribution over Debian 6.1's modules",
)  # fmt: skip

#: Every rule of lint, as --rules lists them.
RULES = (
    UNREADABLE, NO_LICENSE, UNKNOWN_LICENSE, NO_DESCRIPTION, NO_AUTHOR, PARAMETER, PATH_PARAMETER, EXPORT, NO_VERSION,
    VERSION, DEBUG, NO_ALIAS, BROAD_ALIAS, FIRMWARE, SOFTDEP, UNUSED_IMPORT, STACK_FRAME, SECTION_SIZE,
)  # fmt: skip
