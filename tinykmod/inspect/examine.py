"""What a kernel would refuse a module for, found in the module, its tree, the kernel's image and its options."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence

from tinykmod.errors import ModuleFormatError, TinykmodError
from tinykmod.inspect import btf, built_out, trusted
from tinykmod.inspect.cause import Cause, explain
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.judge import Fault, Refusal, User, refusals
from tinykmod.inspect.kernel import THIS_MODULE, Kernel
from tinykmod.inspect.names import several
from tinykmod.inspect.option_values import why_invalid
from tinykmod.inspect.param_table import param_table
from tinykmod.inspect.symbols import KERNEL, owner_of
from tinykmod.kmod.names import module_name
from tinykmod.kmod.signature import read_signature
from tinykmod.modules.compression import compression, decompress
from tinykmod.modules.elf_module import ElfModule
from tinykmod.modules.tree import read_elf

#: Either has the versions of the symbols that a module needs (CONFIG_EXTENDED_MODVERSIONS, Linux 6.14).
_VERSIONS = frozenset(("__versions", "__version_ext_crcs"))
#: Of how many unknown symbols it is looked for where they could come from.
_MOST = 3


def examine(raw: bytes, which: str, kernel: Kernel, options: str = "", *, quick: bool = False) -> Iterator[Cause]:
    """What KERNEL would refuse a module for, in the order in which it looks.

    RAW is the module's file, compressed or not; OPTIONS are the parameters that it would be given. QUICK: of
    modules that export the same only those are found that depmod has chosen, so that not all need be read. Raises
    OSError and TinykmodError where a file of the kernel's or of another module cannot be read.
    """
    kind = compression(raw)
    if kind and kind != "packed" and kernel.loads_compressed(kind) is False:
        text = (f"compressed with {kind}, which this kernel does not decompress (CONFIG_MODULE_DECOMPRESS, "
                "CONFIG_MODULE_COMPRESS_*)")  # fmt: skip
        yield Cause("compression", text, (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS), fatal=False,
                    harmless="modprobe does it, a boot needs it packed or plain")  # fmt: skip
    try:
        image = decompress(raw, which)
    except ModuleFormatError as damage:
        yield Cause("damaged", f"its {damage.why}", (errno.EINVAL, errno.ENOEXEC, errno.EIO))
        return
    yield from _signature(image, which, kernel)
    try:
        elf = read_elf(image, which)
        sections = ElfObject(image, which)
    except ModuleFormatError as damage:
        yield Cause("format", f"its file is damaged: {damage.why}" if image[:4] == b"\x7fELF"
                    else f"its file is no module: {_what(image)}", (errno.ENOEXEC,))  # fmt: skip
        return
    yield from _machine(sections, kernel)
    yield from _struct(sections, kernel)
    yield from _vermagic(elf, sections, kernel)
    yield from _symbols(elf, sections, module_name(which), kernel)
    yield from _clashes(elf, module_name(which), kernel, quick=quick)
    yield from _options(elf, sections, options)
    yield from _btf(sections, kernel)


def translated(number: int, name: str, found: Sequence[Cause], log: Iterable[str], kernel: Kernel) -> Cause:
    """As cause.explain(); a symbol that only the log calls unknown is looked for in the kernel's tree."""
    cause = explain(number, name, found, log)
    if cause.kind != "symbol" or any(other.kind == "symbol" and other.subject == cause.subject for other in found):
        return cause
    return cause._replace(text=f"{cause.text}: {where_is(cause.subject, kernel)}")


def _what(data: bytes) -> str:
    if not data:
        return "it is empty"
    if not data.strip(b"\0"):
        return "it is all zeros"
    line = data[:20].split(b"\n")[0]
    if line.isascii() and line.decode().isprintable():
        return f"it is text that begins with {line.decode()!r}"
    return "it is not ELF"


def _signature(image: bytes, which: str, kernel: Kernel) -> Iterator[Cause]:
    """mod_verify_sig(): one that does not fit is refused always, none or a stranger's only if that is enforced."""
    if kernel.config and kernel.config.get("CONFIG_MODULE_SIG") != "y":
        return
    enforced = kernel.enforces
    refused = f": refused for {enforced}" if enforced else ""
    harmless = "" if enforced else "no hindrance here, but it taints the kernel (E)"
    numbers = (errno.EKEYREJECTED, errno.EPERM)
    try:
        signature = read_signature(image, which)
        if signature is None:
            yield Cause("unsigned", f"it is not signed{refused}", numbers, bool(enforced), harmless=harmless)
            return
        key = next((key for key in kernel.keys if key.serial == signature.key.lstrip(b"\0")), None)
        if key is not None and trusted.verified(image, which, signature, key) is False:
            text = f"its signature by '{signature.signer}' is not of this file: it was changed after it was signed"
            yield Cause("signature", text, (errno.EKEYREJECTED, errno.EBADMSG))
        elif key is None and kernel.keys:
            by = f"'{signature.signer}', key {signature.key.hex()}"
            unless = ", unless the machine's firmware brought it (MOK)" if enforced else ""
            text = f"it is signed by {by}, which is none of the kernel's own keys{refused}{unless}"
            yield Cause("key", text, (*numbers, errno.ENOKEY), bool(enforced), harmless=harmless)
    except ModuleFormatError as damage:
        yield Cause("signature", f"its signature is damaged: {damage.why}", (errno.EBADMSG, errno.EKEYREJECTED))
    except TinykmodError:
        return  # what reads signatures is not installed


def _machine(elf: ElfObject, kernel: Kernel) -> Iterator[Cause]:
    if kernel.machine is None:
        return
    if elf.architecture != kernel.machine:
        text = f"it is for {elf.architecture}, the kernel for {kernel.machine}"
        yield Cause("architecture", text, (errno.ENOEXEC,))


def _struct(elf: ElfObject, kernel: Kernel) -> Iterator[Cause]:
    section = elf.by_name.get(THIS_MODULE)
    if section is None:
        yield Cause("format", f"it is an ELF object, but no module: it has no {THIS_MODULE} (was it linked by "
                    "modpost?)", (errno.ENOEXEC,))  # fmt: skip
    elif kernel.module_struct and section.size != kernel.module_struct:
        yield Cause("struct", f"its struct module has {section.size} bytes, that of this kernel's modules "
                    f"{kernel.module_struct}: it was built with other options", (errno.ENOEXEC,))  # fmt: skip


def _vermagic(elf: ElfModule, sections: ElfObject, kernel: Kernel) -> Iterator[Cause]:
    """check_modinfo(), same_magic(): with symbol versions in the module the release itself does not count."""
    theirs = kernel.vermagic
    own = next((value for key, value in elf.modinfo if key == "vermagic"), None)
    if own is None:
        yield Cause("vermagic", "it has no version magic", (errno.ENOEXEC,), not _forced(kernel),
                    harmless=_taints(kernel))  # fmt: skip
        return
    if not theirs:
        return
    release, *flags = own.split()
    expected, *needed = theirs.split()
    told = []
    versioned = kernel.config.get("CONFIG_MODVERSIONS") == "y" or "modversions" in needed
    if release != expected and not (versioned and "__versions" in sections.by_name):
        told.append(f"built for {release or 'no release'}, this kernel is {expected}")
    told += [f"the kernel has '{flag}', the module not" for flag in needed if flag not in flags]
    told += [f"the module has '{flag}', the kernel not" for flag in flags if flag not in needed]
    if told:
        yield Cause("vermagic", f"version magic: {'; '.join(told)}", (errno.ENOEXEC,))


def _symbols(elf: ElfModule, sections: ElfObject, name: str, kernel: Kernel) -> Iterator[Cause]:
    user = User.of(name, elf.modinfo)
    versions = not kernel.config or kernel.config.get("CONFIG_MODVERSIONS") == "y"
    if kernel.config and versions and elf.imports and not _VERSIONS & sections.by_name.keys():
        yield Cause("crc", "it has no versions of its symbols, which this kernel goes by (was it built without a "
                    "Module.symvers?)", (errno.ENOEXEC,), not _forced(kernel), harmless=_taints(kernel))  # fmt: skip
    found = [each for each in refusals(elf, user, kernel.export)
             if (versions or each.fault != Fault.CRC)
             and (kernel.exports.exports or each.fault != Fault.UNKNOWN)]  # fmt: skip
    # The version of module_layout stands for struct module itself, and is looked at first.
    found.sort(key=lambda each: (each.fault, each.symbol != "module_layout"))
    for number, refusal in enumerate(found):
        yield _refused(refusal, user, kernel, told=number < _MOST)


def _forced(kernel: Kernel) -> bool:
    """Whether it takes what it cannot compare."""
    return kernel.config.get("CONFIG_MODULE_FORCE_LOAD") == "y"


def _taints(kernel: Kernel) -> str:
    return "it loads, and taints the kernel (F)" if _forced(kernel) else ""


def _refused(refusal: Refusal, user: User, kernel: Kernel, *, told: bool) -> Cause:
    """TOLD: it is said as well where an unknown symbol could come from, for which much is read."""
    symbol, export = refusal.symbol, refusal.export
    if export is None:
        where = f": {where_is(symbol, kernel)}" if told else ""
        return Cause("symbol", f"unknown symbol {symbol}{where}", (errno.ENOENT,), subject=symbol)
    owner = owner_of(export)
    match refusal.fault:
        case Fault.CRC:
            text = (f"built against another version of {symbol}: CRC 0x{refusal.crc:08x}, but {owner} exports "
                    f"0x{export.crc:08x}")  # fmt: skip
            return Cause("crc", text, (errno.ENOEXEC if symbol == "module_layout" else errno.EINVAL,), subject=symbol)
        case Fault.GPL_ONLY:
            license = ", ".join(user.licenses) or "none"
            text = f"{symbol} is exported by {owner} to GPL modules only, and this one's license is '{license}'"
            return Cause("gpl", text, (errno.ENOENT,), subject=symbol)
    text = f"{symbol} is exported by {owner} in the namespace {export.namespace}, which the module does not import"
    fatal = kernel.config.get("CONFIG_MODULE_ALLOW_MISSING_NAMESPACE_IMPORTS") != "y"
    return Cause("namespace", f"{text} (MODULE_IMPORT_NS)", (errno.EINVAL,), fatal, symbol)


def where_is(symbol: str, kernel: Kernel) -> str:
    """Who exports a symbol that a load did not find, or could have exported it: a module that was not loaded, or that
    depmod does not know; the kernel's options, itself, other versions' trees."""
    export = kernel.export(symbol)
    if export is not None and export.owner == KERNEL:
        return "this kernel exports it; was it another that ran?"
    if export is not None:
        return f"{export.owner} exports it, and was not loaded"
    if strangers := [module.name for module in kernel.unlisted if symbol in module.elf.exports]:
        return f"{strangers[0]} exports it, which depmod's files do not know: depmod was not run"
    nor = ", nor does the kernel" if kernel.exports.source is not None else ""
    told = [f"no module of this tree exports it{nor}"]
    if option := built_out.option_of(symbol, kernel):
        told.append(f"it comes with {option}, which this kernel was built without")
    if symbol in kernel.kept_within:
        told.append("the kernel has it, but does not export it")
    for release in kernel.others():
        other = Kernel(kernel.root, release)
        try:
            export = other.export(symbol)
        except (TinykmodError, OSError):
            continue
        if export is not None:
            told.append(f"in {release} {owner_of(export)} exports it")
    return "; ".join(told)


def _clashes(elf: ElfModule, name: str, kernel: Kernel, *, quick: bool) -> Iterator[Cause]:
    """verify_exported_symbols(): who comes second is refused, and the kernel is always first."""
    clashing: dict[str, list[str]] = {}
    exporters = kernel.exporters if quick else kernel.all_exporters
    for symbol in elf.exports:
        if symbol in kernel.exports.exports:
            clashing.setdefault(KERNEL, []).append(symbol)
        for module in exporters(symbol):
            if module.name != name:
                clashing.setdefault(module.name, []).append(symbol)
    for owner, symbols in clashing.items():
        users = [] if quick else [user for user in kernel.importers(symbols) if user != name]
        needed = f" ({several(users)})" if users else ""
        if owner == KERNEL:
            text = f"it exports {several(symbols)}, which the kernel exports itself: this module is refused"
            yield Cause("clash", text, (errno.ENOEXEC,), subject="kernel")
            continue
        here = bool(kernel.state_of(owner))
        chosen = exporters(symbols[0])[-1].name
        who = f"{owner} is loaded, so this one is refused" if here else "the second of them to be loaded is refused"
        text = (f"it exports {several(symbols)}, as {owner} does: {who}; modprobe takes {chosen} for those that need "
                f"it{needed}")  # fmt: skip
        yield Cause("clash", text, (errno.ENOEXEC,), here, owner)


def _options(elf: ElfModule, sections: ElfObject, options: str) -> Iterator[Cause]:
    for refused in why_invalid(elf.modinfo, options, lambda: param_table(sections)):
        yield Cause("parameter", f"parameter {refused.word}: {refused.why}",
                    (errno.EINVAL, errno.ERANGE, errno.ENOSPC, errno.ENOENT), refused.fatal,
                    refused.name)  # fmt: skip


def _btf(elf: ElfObject, kernel: Kernel) -> Iterator[Cause]:
    section = elf.by_name.get(".BTF")
    base = kernel.image.btf if kernel.image is not None else None
    if section is None or kernel.config.get("CONFIG_DEBUG_INFO_BTF_MODULES") != "y" or base is None:
        return
    # With a distilled base of its own (Linux 6.11) it counts on from that.
    if ".BTF.base" in elf.by_name:
        return
    _, why = btf.read(elf.contents(section), elf.order, base)
    if why:
        fatal = kernel.config.get("CONFIG_MODULE_ALLOW_BTF_MISMATCH") != "y"
        harmless = "" if fatal else "it loads without its types (CONFIG_MODULE_ALLOW_BTF_MISMATCH)"
        yield Cause("btf", f"its BTF does not fit this kernel's: {why}", (errno.EINVAL,), fatal, harmless=harmless)
