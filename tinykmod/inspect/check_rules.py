"""What `tinykmod check` looks for in a module tree."""

from __future__ import annotations

from tinykmod.inspect.report import Level, Rule

UNREADABLE = Rule(
    "unreadable-module", Level.ERROR, "a module's file is cut short, no ELF object or damaged",
    "The kernel refuses it (ENOEXEC), and depmod stops at it.",
    "Install the package that it belongs to again, or copy the file again.",
    "kernel/module/main.c, elf_validity_check()",
)  # fmt: skip
MACHINE = Rule(
    "wrong-machine", Level.ERROR, "a module is of another architecture than the tree",
    "The kernel refuses it (ENOEXEC).",
    "Build it for this kernel's architecture (ARCH=, CROSS_COMPILE=).",
    "kernel/module/main.c, elf_validity_check()",
)  # fmt: skip
UNKNOWN_SYMBOL = Rule(
    "unknown-symbol", Level.ERROR, "a module needs symbols that neither the kernel nor a module exports",
    "The kernel refuses it with `Unknown symbol` (ENOENT).",
    "Build the module for this kernel, install the module that exports them, or set the kernel's option for them.",
    "kernel/module/main.c, simplify_symbols()",
)  # fmt: skip
SYMBOL_VERSION = Rule(
    "symbol-version", Level.ERROR, "a symbol's CRC is not the one that the module was built with",
    "The kernel refuses it with `disagrees about version of symbol` (EINVAL).",
    "Build the module again for this kernel, with its Module.symvers.",
    "Documentation/kbuild/modules.rst, Module Versioning",
)  # fmt: skip
GPL_ONLY = Rule(
    "gpl-only", Level.ERROR, "a module whose license is not the GPL's needs symbols that are exported GPL-only",
    "The kernel treats these symbols as unknown (ENOENT).",
    "Set MODULE_LICENSE to what the code is under, or use symbols that are open to it.",
    "include/linux/license.h; kernel/module/main.c, find_symbol()",
)  # fmt: skip
NAMESPACE = Rule(
    "namespace", Level.ERROR, "a module needs a symbol of a namespace that it does not import",
    "The kernel refuses it (EINVAL), unless it was built with MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS.",
    "Add MODULE_IMPORT_NS to the module's source.",
    "Documentation/core-api/symbol-namespaces.rst",
)  # fmt: skip
MISSING_DEPENDENCY = Rule(
    "missing-dependency", Level.ERROR, "modules were built against a module that is not in the tree",
    "What that module exports will be unknown symbols.",
    "Install the module that is missing, or build this one again.",
    "Documentation/kbuild/modules.rst, Symbols and External Modules",
)  # fmt: skip
VERMAGIC = Rule(
    "vermagic", Level.ERROR, "a module's vermagic is not the tree's",
    "The kernel refuses it with `version magic ... should be ...` (ENOEXEC).",
    "Build the module for this kernel, with its configuration.",
    "kernel/module/main.c, check_modinfo(); include/linux/vermagic.h",
)  # fmt: skip
NAME = Rule(
    "module-name", Level.WARNING, "a module's file is named other than the module within",
    "modprobe finds it by its file's name, the kernel knows it by the other: it cannot tell that it is loaded.",
    "Rename the file to NAME.ko.",
    "modprobe(8); scripts/mod/modpost.c",
)  # fmt: skip
DUPLICATE_EXPORT = Rule(
    "duplicate-export", Level.WARNING, "several modules, or a module and the kernel, export one symbol",
    "Of two such modules only the first can be loaded: `exports duplicate symbol` (ENOEXEC).",
    "Remove one of them, or rename its symbol. Of alternatives keep the one that is needed.",
    "kernel/module/main.c, verify_exported_symbols()",
)  # fmt: skip
CYCLE = Rule(
    "dependency-cycle", Level.ERROR, "modules depend on each other in a circle",
    "None of them can be loaded, and depmod refuses the tree.",
    "Move what both need into a third module.",
    "depmod(8)",
)  # fmt: skip
SOFTDEP = Rule(
    "softdep-target", Level.NOTE, "a module's softdep or weakdep names what is not there",
    "modprobe passes over it.",
    "Drop it, or install the module.",
    "modprobe.d(5), softdep",
)  # fmt: skip
CONTESTED = Rule(
    "contested-alias", Level.NOTE, "several drivers claim the same devices",
    "All of them are loaded; the first to bind has the device, and that is not always the same one.",
    "Blacklist those that are not wanted, where the drivers do not settle it among themselves.",
    "modprobe(8); Documentation/driver-api/driver-model/binding.rst",
)  # fmt: skip
FIRMWARE = Rule(
    "missing-firmware", Level.NOTE, "a module names firmware that is not installed",
    "Its devices do not work, or without some of their functions.",
    "Install the firmware's package, if there are such devices.",
    "Documentation/driver-api/firmware/fw_search_path.rst",
)  # fmt: skip
BUILD_FILE = Rule(
    "build-file", Level.WARNING, "a file that the kernel's build leaves for depmod is missing",
    "depmod cannot tell what is built into the kernel (modules.builtin), or which module is first (modules.order).",
    "Install the kernel's package again, or `make modules_install`.",
    "depmod(8); Documentation/kbuild/kbuild.rst",
)  # fmt: skip
NO_INDEX = Rule(
    "no-index", Level.WARNING, "depmod was not run for the tree",
    "modprobe finds no module by its name or alias.",
    "Run tinykmod depmod VERSION.",
    "depmod(8)",
)  # fmt: skip
STALE_INDEX = Rule(
    "stale-index", Level.ERROR, "one of depmod's files is not what the tree's modules ask for",
    "modprobe does not find modules that are there, or fails at such as are not.",
    "Run tinykmod depmod VERSION.",
    "depmod(8)",
)  # fmt: skip
DAMAGED_INDEX = Rule(
    "damaged-index", Level.ERROR, "one of depmod's files is cut short or damaged",
    "modprobe fails, or finds only some of the modules.",
    "Run tinykmod depmod VERSION.",
    "depmod(8); libkmod-index.c",
)  # fmt: skip
CONFIG_LINE = Rule(
    "config-line", Level.WARNING, "a line or a file of modprobe.d means nothing",
    "modprobe passes over it.",
    "See modprobe.d(5) for what there is.",
    "modprobe.d(5)",
)  # fmt: skip
PARAMETER = Rule(
    "unknown-parameter", Level.WARNING, "modprobe.d sets a parameter that the module does not have",
    "The kernel says `unknown parameter ... ignored` and goes on without it.",
    "tinykmod modinfo -p MODULE lists the parameters. A comment must begin in a line's first column.",
    "modprobe.d(5); kernel/params.c",
)  # fmt: skip
BUILTIN_CONFIG = Rule(
    "config-of-builtin", Level.WARNING, "modprobe.d speaks of what is built into the kernel",
    "modprobe loads nothing for it, so the line does nothing.",
    "Options of built-in code go on the kernel's command line, MODULE.PARAMETER=VALUE; blacklisting takes"
    " initcall_blacklist=.",
    "Documentation/admin-guide/kernel-parameters.rst",
)  # fmt: skip
BLACKLIST_ALIAS = Rule(
    "blacklist-of-alias", Level.WARNING, "a blacklist line names an alias, not a module",
    "Only names of modules are blacklisted: the line does nothing.",
    "Blacklist the modules that the alias stands for.",
    "modprobe.d(5), blacklist",
)  # fmt: skip
CONFIG_NOTHING = Rule(
    "config-of-nothing", Level.NOTE, "modprobe.d speaks of a module that is not there",
    "The line does nothing with this kernel. Many distributions ship such lines on purpose.",
    "Correct the name, or drop the line.",
    "modprobe.d(5)",
)  # fmt: skip
CONFIG_SOFTDEP = Rule(
    "config-softdep-target", Level.WARNING, "a softdep or weakdep in modprobe.d names what is not there",
    "modprobe passes over it.",
    "Correct the name, or drop it.",
    "modprobe.d(5), softdep",
)  # fmt: skip

#: Every rule of check, as --rules lists them.
RULES = (
    UNREADABLE, MACHINE, UNKNOWN_SYMBOL, SYMBOL_VERSION, GPL_ONLY, NAMESPACE, MISSING_DEPENDENCY, VERMAGIC, NAME,
    DUPLICATE_EXPORT, CYCLE, SOFTDEP, CONTESTED, FIRMWARE, BUILD_FILE, NO_INDEX, STALE_INDEX, DAMAGED_INDEX,
    CONFIG_LINE, PARAMETER, BUILTIN_CONFIG, BLACKLIST_ALIAS, CONFIG_NOTHING, CONFIG_SOFTDEP,
)  # fmt: skip
