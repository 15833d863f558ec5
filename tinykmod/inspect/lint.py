"""One module: does it keep to what the kernel's documents and the guides ask of a module's author?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

from tinykmod.errors import ModuleFormatError
from tinykmod.inspect import lint_rules as rules
from tinykmod.inspect.buses import buses_of
from tinykmod.inspect.elf_object import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE, SHN_UNDEF, SHT_NOBITS, ElfObject
from tinykmod.inspect.frames import frames
from tinykmod.inspect.judge import GPL_COMPATIBLE
from tinykmod.inspect.names import several
from tinykmod.inspect.param_table import param_table
from tinykmod.inspect.report import Finding, Rule
from tinykmod.inspect.symbols import module_exports
from tinykmod.kmod.modinfo import parameters, read_image
from tinykmod.kmod.names import module_name
from tinykmod.modules.classes import NOT_DEVICES
from tinykmod.modules.tree import Module, read_elf

#: Buses whose devices are loaded for by alias. A gameport or parport has no modalias, what serdev finds is of the
#: device tree. A platform driver's device may be its own: see _no_alias().
AUTOLOADED = frozenset(
    """
    pci usb hid i2c spi acpi pnp virtio serio pcmcia sdio hdaudio vmbus bcma ssb mei wmi sdw mdio typec tbsvc mhi
    auxiliary nd cxl ishtp rpmsg fsl-mc platform
    """.split()
)

#: How functions come in pairs, as words of their names.
COUNTERPARTS = tuple(
    tuple(pair.split("/"))
    for pair in """
    register/unregister get/put alloc/free create/destroy init/exit add/remove add/del start/stop enable/disable
    lock/unlock open/close attach/detach probe/remove map/unmap request/release begin/end acquire/release bind/unbind
    connect/disconnect load/unload init/cleanup init/fini init/deinit setup/cleanup suspend/resume read/write
    """.split()
)

_FIRMWARE = re.compile(r"(firmware_request|request_(partial_)?firmware)(_\w+)?")
#: A file's name without a conversion of printf(), as firmware is named.
_FIRMWARE_NAME = re.compile(
    rb"(?<=\0)[A-Za-z0-9][\w./+-]*\.(?:bin|fw|ucode|sbcf|mfw|hcd|bts|hex|ihex|inp|rps|rbf|tlv|mdt)(?=\0)"
)
#: Every field of an id is a wildcard, or nothing follows the bus.
_BROAD = re.compile(r"[\w-]+:\*+|(?:pci|usb|hid|pcmcia|sdio|serio|virtio|ssb|bcma|hdaudio|mei):(?:[a-z]{1,4}\*)+")
_VERSION = re.compile(r"(\d+:)?[vV]?\d+(\.\d+)*([.+~_-]?[A-Za-z0-9]+)*")
#: What a driver calls that makes its own platform devices, or wants those that are there when it is loaded.
_OWN_DEVICES = re.compile(
    r"platform_(device_(add|alloc|register)\w*|add_devices)|__platform_(create_bundle|driver_probe)"
)
_PATH = re.compile(r"(?:^|_)(path|file|filename|dir|fw|firmware|prog|program|cmd|command|helper|script)(?:_|$)")


class _Subject:
    """A module and what the rules ask of it; its ELF file is taken apart when a rule first asks."""

    def __init__(self, path: Path, where: str) -> None:
        self.where = where
        self.image = read_image(path)
        self.module = Module(module_name(str(path)), where, len(self.image), read_elf(self.image, where))

    def first(self, key: str) -> str | None:
        return next(iter(self.module.values(key)), None)

    @property
    def in_tree(self) -> bool:
        return self.first("intree") == "Y"

    @cached_property
    def elf(self) -> ElfObject:
        return ElfObject(self.image, self.where)


def lint(paths: Sequence[Path], *, progress: Callable[[int, int], None] | None = None) -> list[Finding]:
    """What the rules find in the modules of these files, which they are taken together: firmware that one of them
    declares need not be declared by another. progress: see read_tree(). Raises OSError."""
    findings: list[Finding] = []
    declared: set[str] = set()
    asked: list[tuple[str, str, list[str]]] = []
    for number, path in enumerate(paths, 1):
        where = str(path)
        try:
            subject = _Subject(path, where)
            findings += [Finding(rule, where, text) for rule, look in CHECKS.items() for text in look(subject)]
            declared.update(subject.module.values("firmware"))
            if wanted := _firmware(subject):
                asked.append((where, *wanted))
        except ModuleFormatError as error:
            findings.append(Finding(rules.UNREADABLE, where, error.why))
        if progress is not None:
            progress(number, len(paths))
    for where, asks, names in asked:
        if left := [name for name in names if name not in declared]:
            findings.append(Finding(rules.FIRMWARE, where, f"calls {asks}, names {several(left)}, and declares none"))
    order = {rule.name: number for number, rule in enumerate(rules.RULES)}
    return sorted(findings, key=lambda finding: (finding.where, order[finding.rule.name]))


def _license(subject: _Subject) -> Iterator[str]:
    if not subject.module.values("license"):
        yield "MODULE_LICENSE is missing"


def _unknown_license(subject: _Subject) -> Iterator[str]:
    for license in dict.fromkeys(subject.module.values("license")):
        if license not in GPL_COMPATIBLE and license != "Proprietary":
            yield f"license `{license}` is unknown to the kernel"


def _description(subject: _Subject) -> Iterator[str]:
    if not subject.first("description"):
        yield "MODULE_DESCRIPTION is missing"


def _author(subject: _Subject) -> Iterator[str]:
    if not subject.first("author"):
        yield "MODULE_AUTHOR is missing"


def _undescribed(subject: _Subject) -> Iterator[str]:
    known, _ = parameters(subject.module.elf.modinfo)
    missing = [parameter.name for parameter in reversed(known) if not parameter.description]
    if missing:
        yield f"without a description: {several(missing)}"


def _paths(subject: _Subject) -> Iterator[str]:
    if any(value.endswith((":charp", ":string")) for value in subject.module.values("parmtype")):
        for entry in param_table(subject.elf):
            is_text = entry.operations in ("param_ops_charp", "param_ops_string")
            if is_text and entry.permissions & 0o222 and _PATH.search(entry.name):
                yield f"{entry.name} can be written (0{entry.permissions:o})"


def _exports(subject: _Subject) -> Iterator[str]:
    if not subject.module.elf.exports:
        return
    exports = module_exports(subject.module, subject.image, subject.where)
    for name, export in exports.items():
        words = name.split("_")
        for number, word in enumerate(words):
            for one, other in COUNTERPARTS:
                twin = exports.get("_".join([*words[:number], other, *words[number + 1 :]])) if word == one else None
                if twin is None:
                    continue
                if None not in (export.gpl_only, twin.gpl_only) and export.gpl_only != twin.gpl_only:
                    closed, open_ = (name, twin.name) if export.gpl_only else (twin.name, name)
                    yield f"{closed} is GPL-only, {open_} is not"
                elif None not in (export.namespace, twin.namespace) and export.namespace != twin.namespace:
                    spaces = [f"{each.name} is in {each.namespace or 'no namespace'}" for each in (export, twin)]
                    yield ", ".join(spaces)


def _no_version(subject: _Subject) -> Iterator[str]:
    if not subject.in_tree and not subject.first("version"):
        yield "MODULE_VERSION is missing"


def _version(subject: _Subject) -> Iterator[str]:
    version = subject.first("version")
    if version is not None and not _VERSION.fullmatch(version):
        yield f"version `{version}`"


def _debug(subject: _Subject) -> Iterator[str]:
    if not subject.in_tree and not subject.elf.by_name.keys() & {".debug_info", ".zdebug_info", ".BTF"}:
        yield "has no .debug_info and no .BTF"


def _no_alias(subject: _Subject) -> Iterator[str]:
    # A library registers drivers on behalf of those that call it.
    # What a filesystem or protocol is asked for by loads its drivers too (hv_sock, net-pf-40).
    if subject.module.elf.exports or any(
        ":" in alias or alias.startswith(NOT_DEVICES) for alias in subject.module.aliases
    ):
        return
    buses = buses_of(subject.module) & AUTOLOADED
    if any(map(_OWN_DEVICES.fullmatch, subject.module.elf.imports)):
        buses -= {"platform"}
    if buses:
        yield f"registers a driver ({', '.join(sorted(buses))}), and has no alias of a device"


def _broad(subject: _Subject) -> Iterator[str]:
    for alias in subject.module.aliases:
        if _BROAD.fullmatch(alias):
            yield f"alias {alias} matches every device"


def _firmware(subject: _Subject) -> tuple[str, list[str]] | None:
    """The function by which a module asks for firmware, and the names among its strings; None for one that declares
    some, and for a library (what calls it names the files, and may declare them)."""
    if subject.module.values("firmware") or subject.module.elf.exports:
        return None
    asks = next(filter(_FIRMWARE.fullmatch, subject.module.elf.imports), None)
    if asks is None:
        return None
    # Where no name is among the strings, it comes from a caller or is put together.
    names = {
        found.decode()
        for section in subject.elf.sections
        if section.flags & SHF_ALLOC and not section.flags & SHF_EXECINSTR
        for found in _FIRMWARE_NAME.findall(b"\0" + subject.elf.contents(section))
    }
    return (asks, sorted(names)) if names else None


def _softdep(subject: _Subject) -> Iterator[str]:
    needed = {module_name(word) for field in subject.module.values("depends") for word in field.split(",") if word}
    for line in subject.module.softdeps:
        before = line.partition("post:")[0].split()
        for word in before:
            if module_name(word) in needed:
                yield f"softdep {word}, which depends= has already"


def _unused(subject: _Subject) -> Iterator[str]:
    wanted = {number: symbol.name for number, symbol in enumerate(subject.elf.symbols)
              if symbol.section == SHN_UNDEF and symbol.name in subject.module.elf.imports}  # fmt: skip
    if not wanted:
        return
    used: set[int] = set()
    for number in {section.info for section in subject.elf.sections if section.name.startswith(".rel")}:
        used.update(place.symbol for place in subject.elf.relocations(number))
    # A weak one costs nothing, and an assembler may name the compiler's helpers (__aeabi_idiv) without need.
    unused = sorted(
        name
        for number, name in wanted.items()
        if number not in used and name not in subject.module.elf.weak and not name.startswith("__")
    )
    if unused:
        yield f"nothing refers to {several(unused)}"


def _frames(subject: _Subject) -> Iterator[str]:
    large = sorted(
        (frame for frame in frames(subject.elf) if frame.size > rules.STACK), key=lambda frame: -frame.size
    )
    # Functions of different source files may have one name.
    yield from dict.fromkeys(f"{frame.function} takes {frame.size} bytes of stack" for frame in large)


def _sizes(subject: _Subject) -> Iterator[str]:
    sizes: Counter[str] = Counter()
    for section in subject.elf.sections:
        if section.flags & SHF_ALLOC:
            if section.kind == SHT_NOBITS:
                kind = "zeroed data"
            elif section.flags & SHF_EXECINSTR:
                kind = "code"
            else:
                kind = "data" if section.flags & SHF_WRITE else "read-only data"
            sizes[kind] += 0 if section.name.startswith(_NOT_THE_AUTHORS) else section.size
    for kind, most in rules.SIZES.items():
        if sizes[kind] > most:
            yield f"{sizes[kind]} bytes of {kind}; one module of 200 has more than {most}"


#: Sections that the build adds, which grow with the code.
_NOT_THE_AUTHORS = ("__versions", ".gnu.linkonce.this_module", ".note", ".orc", "__mcount_loc")

#: Each rule and what looks for it: a text for each finding.
CHECKS: dict[Rule, Callable[[_Subject], Iterator[str]]] = {
    rules.NO_LICENSE: _license,
    rules.UNKNOWN_LICENSE: _unknown_license,
    rules.NO_DESCRIPTION: _description,
    rules.NO_AUTHOR: _author,
    rules.PARAMETER: _undescribed,
    rules.PATH_PARAMETER: _paths,
    rules.EXPORT: _exports,
    rules.NO_VERSION: _no_version,
    rules.VERSION: _version,
    rules.DEBUG: _debug,
    rules.NO_ALIAS: _no_alias,
    rules.BROAD_ALIAS: _broad,
    rules.SOFTDEP: _softdep,
    rules.UNUSED_IMPORT: _unused,
    rules.STACK_FRAME: _frames,
    rules.SECTION_SIZE: _sizes,
}
