"""An initramfs image: the loader as /init, the boot index, and the modules that were selected.

/init                                the loader; /sbin/modprobe, insmod, rmmod, lsmod and modinfo are links
/sbin/tinykmod                       the loader, where /init is the user's
/lib/modules/RELEASE/tinykmod.tki    the boot index of the modules in the image
/lib/modules/RELEASE/modules.*       dep, alias and softdep as text: what the loader goes by without an index
/lib/modules/RELEASE/kernel/...      the modules, packed by themselves where the image is not compressed as a whole
/lib/firmware/...                    their firmware
/etc/initrd-release                  what makes systemd know an initrd (its INITRD_INTERFACE document)
/dev/console, /dev/null              for what is said before devtmpfs is there
/bin/busybox, /bin/sh                a rescue shell, where a busybox was given
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

import zstandard

from tinykmod import __version__
from tinykmod.errors import TinykmodError
from tinykmod.files import replacing
from tinykmod.image import check, cpio, firmware, host, kernel_config, modules_load
from tinykmod.image.lz4_frame import Lz4Writer
from tinykmod.image.reasons import File, file_of
from tinykmod.image.select import omit, select
from tinykmod.image.snapshot import Snapshot
from tinykmod.index.compiler import compile_index, install_notes
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.kmod.names import encoded
from tinykmod.modules import packed
from tinykmod.modules.compression import decompress
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.files import uncompressed
from tinykmod.modules.packed import pack
from tinykmod.modules.tree import Module, ModuleTree, read_tree
from tinykmod.trace.plan import Plan, plan_notes

if TYPE_CHECKING:
    from elftools.elf.elffile import ELFFile

APPLETS = ("modprobe", "insmod", "rmmod", "lsmod", "modinfo")
DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys")
INDEX_NAME = "tinykmod.tki"
LOADER_BESIDE = "sbin/tinykmod"

#: Each module by itself. Of a generic image few are ever loaded, and only those are then decompressed.
BY_MODULE = "modules"
#: Compression -> the kernel's option that it takes; the loader has a packed module loaded from a file in memory.
COMPRESSIONS = {
    BY_MODULE: "CONFIG_MEMFD_CREATE",
    "zstd": "CONFIG_RD_ZSTD",
    "xz": "CONFIG_RD_XZ",
    "gzip": "CONFIG_RD_GZIP",
    "lz4": "CONFIG_RD_LZ4",
    "none": "",
}
# Level 19 makes an image of Debian's storage modules 11 % smaller and takes twenty times as long.
ZSTD_LEVEL = 9


@dataclass(frozen=True)
class Request:
    """What image is wanted."""

    root: Path
    release: str
    output: Path
    loader: Path
    classes: DriverClass = DriverClass.STORAGE
    add: Sequence[str] = ()
    omit: Sequence[str] = ()
    #: One of COMPRESSIONS; empty: the first that the kernel can undo.
    compress: str = ""
    #: (file on this machine, absolute path in the image)
    files: Sequence[tuple[Path, str]] = ()
    busybox: Path | None = None
    #: Whether the root's modules-load.d goes in, with the modules that it names.
    modules_load: bool = False
    #: Files and directories instead of the root's modprobe.d.
    config: Sequence[Path] | None = None
    #: What the loader begins with.
    plan: Plan | None = None
    #: Directories that come before the root's lib/firmware; None: no firmware at all.
    firmware: Sequence[Path] | None = ()
    #: Of the classes only what this machine needs.
    machine: Snapshot | None = None
    #: What is /init instead of the loader, which is then /sbin/tinykmod.
    init: Path | None = None
    #: Missing firmware is an error, and the machine gets nothing for a disk that was moved.
    strict: bool = False


@dataclass(frozen=True)
class Image:
    """What was written: the file, its size in bytes, each module in it with the reason, and warnings for the user."""

    path: Path
    size: int
    modules: dict[str, str]
    warnings: list[str]
    #: Each file, link, node and directory, in the archive's order.
    files: list[File]
    #: Module -> the names of its firmware that is not there.
    missing_firmware: dict[str, list[str]]


def build(request: Request, progress: Callable[[int, int], None] | None = None) -> Image:
    """Build the image, written beside its place, read back, checked, renamed: a failure leaves what was there before.

    The same inputs give the same bytes; times in it are SOURCE_DATE_EPOCH or 0. PROGRESS is read_tree()'s.
    Raises TinykmodError and OSError.
    """
    with replacing(request.output) as out:
        return _build(request, out, progress)


def _build(request: Request, out: BinaryIO, progress: Callable[[int, int], None] | None) -> Image:
    # What can be wrong with the request is found out first: reading a tree takes seconds.
    mtime = _epoch()
    config = kernel_config.read(request.root, request.release)
    compress = _compression(request, config)
    system = list(_system(request))
    given = [_given(source, target) for source, target in request.files]
    tree = read_tree(request.root, request.release, progress=progress)
    _check_machine(request.loader, tree)
    modprobe_config = read_config(request.root, paths=request.config)
    whole = Index(compile_index(tree, modprobe_config), verify=False)
    files_to_load = modules_load.read(request.root) if request.modules_load else []
    listed = modules_load.names(files_to_load)
    omitted, warnings = omit(whole, request.omit)
    machine = host.needed(tree, whole, request.machine, request.classes, request.strict) if request.machine else None
    chosen, left_out = select(
        tree, whole, request.classes, request.add, config, listed, omitted, machine.modules if machine else None
    )
    modules = [tree.by_name[name] for name in chosen]
    stored = {
        module.name: uncompressed(module.path) + (packed.SUFFIX.removeprefix(".ko") if compress == BY_MODULE else "")
        for module in modules
        if compress == BY_MODULE
        or (module.compression and not kernel_config.loads_compressed(config, module.compression))
    }
    data = compile_index(
        tree,
        modprobe_config,
        only=chosen.keys(),
        whole=whole,
        classes=request.classes,
        stored=stored,
        plan=request.plan,
    )
    index = Index(data, verify=False)
    home = f"lib/modules/{tree.release}"
    texts = {INDEX_NAME: data, **_text_files(modules, index)}
    own = [*system, *files_to_load, *(cpio.regular(f"{home}/{name}", text) for name, text in texts.items())]
    entries = {entry.path: entry for entry in own}
    loads = _firmware(request, modules, config)
    entries |= {path: cpio.symlink(path, target) for path, target in loads.links.items()}

    def module_bytes(module: Module) -> bytes:
        source = tree.directory / module.path
        data = source.read_bytes()
        if module.name in stored:
            data = decompress(data, str(source))
        return pack(data) if compress == BY_MODULE else data

    # What is large is read when its turn to be written has come.
    module_paths = {f"{home}/{index.path(module.name)}": module for module in modules}
    files: dict[str, Callable[[], bytes]] = {
        **{path: partial(module_bytes, module) for path, module in module_paths.items()},
        **{path: source.read for path, source in loads.files.items()},
    }
    for entry in given:
        if entry.path in entries or entry.path in files:
            raise TinykmodError(f"/{entry.path}", "the image has a file of its own there")
        entries[entry.path] = entry
    if request.init is not None:
        needed = _interpreter(entries["init"].data, request.init)
        if needed and needed.lstrip("/") not in entries:
            raise TinykmodError(request.init, f"needs {needed}, which the image lacks")
    _add_parents(entries, [*entries, *files])

    reasons = {
        **{f"{home}/{index.path(name)}": reason for name, reason in chosen.items()},
        **{path: f"firmware of {', '.join(sorted(users))}" for path, users in loads.users.items()},
        **{entry.path: f"--file {source}" for entry, (source, _) in zip(given, request.files, strict=True)},
    }
    written: list[File] = []

    def contents(pool: Executor) -> Iterator[cpio.Entry]:
        paths = sorted([*entries, *files], key=os.fsencode)
        read = {path: pool.submit(files[path]).result for path in paths if path in module_paths}
        for path in paths:
            entry = entries.get(path) or cpio.regular(path, read.pop(path, files[path])())
            written.append(file_of(entry, reasons.get(path, "")))
            yield entry

    with _compressor(compress, out) as archive, _pool() as pool:
        cpio.write(archive, contents(pool), mtime)
    out.flush()
    _check(request, Path(out.name).read_bytes(), written)
    missing = [f"{where}: {name}: no such module" for name, where in listed.items() if not whole.lookup(name)]
    for needed in dict.fromkeys(omitted[name] for name in left_out):
        if behind := [name for name in left_out if omitted[name] == needed != name]:
            warnings.append(f"{needed} is omitted, and so is what needs it: {', '.join(behind)}")
    missing += machine.missing if machine else []
    notes = [*install_notes(modprobe_config), *plan_notes(request.plan, chosen), *missing]
    warnings = [*modprobe_config.warnings, *warnings, *notes]
    return Image(request.output, out.tell(), chosen, warnings, written, loads.missing)


def _check(request: Request, image: bytes, meant: Sequence[File]) -> None:
    """Raises TinykmodError where an image is not what was meant, or its machine would not find the root with it."""
    carried = check.written(image, meant, str(request.output))
    machine = request.machine
    if machine and machine.root and machine.root.blocks and DriverClass.STORAGE in request.classes:
        verdict = check.check(carried, machine, "the machine")
        if not verdict.root:
            raise TinykmodError(request.output, f"would not find the root: {'; '.join(verdict.lines)}")


def _epoch() -> int:
    text = os.environ.get("SOURCE_DATE_EPOCH", "0")
    if not re.fullmatch("[0-9]+", text) or int(text) > cpio.LARGEST:
        raise TinykmodError("SOURCE_DATE_EPOCH", f"{text!r} is no number of seconds that a cpio archive can hold")
    return int(text)


def _firmware(request: Request, modules: Sequence[Module], config: Mapping[str, str]) -> firmware.Firmware:
    if request.firmware is None:
        return firmware.Firmware()
    places = firmware.search(request.root, request.release, request.firmware)
    found = firmware.collect({module.name: module.values("firmware") for module in modules}, places, config)
    if request.strict and found.missing:
        raise TinykmodError("firmware", f"is missing; {'; '.join(firmware.told(found.missing))}")
    return found


def _check_machine(loader: Path, tree: ModuleTree) -> None:
    """Hold the loader's ELF class, byte order and machine against a module's: another one could not even start."""
    first = tree.modules[0]
    both = (loader.read_bytes(), loader), (tree.read(first), tree.directory / first.path)
    program, module = (data[:6] + data[18:20] for data, _ in both)
    if program != module:
        is_for, wanted = (_elf(data, path).header.e_machine for data, path in both)
        raise TinykmodError(loader, f"is for {is_for}, the modules of {tree.release} are for {wanted}")


def _elf(data: bytes, path: Path) -> ELFFile:
    # Imported here: it takes as long as reading a hundred modules.
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        return ELFFile(io.BytesIO(data))
    except ELFError as error:
        raise TinykmodError(path, f"not a program: {error}") from error


def _compression(request: Request, config: Mapping[str, str]) -> str:
    """How the image is compressed: as it was asked for, if the kernel can undo that."""
    if request.compress and request.compress not in COMPRESSIONS:
        raise TinykmodError(request.compress, f"no such compression; there are {', '.join(COMPRESSIONS)}")
    able = [name for name, option in COMPRESSIONS.items() if not (config and option) or config.get(option) == "y"]
    compress = request.compress or able[0]
    if compress not in able:
        where = kernel_config.path(request.root, request.release)
        raise TinykmodError(where, f"the kernel cannot unpack {compress} ({COMPRESSIONS[compress]} is not set)")
    return compress


@contextlib.contextmanager
def _pool() -> Iterator[Executor]:
    """A thread for each processor; after a failure what was not begun is not."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _system(request: Request) -> Iterator[cpio.Entry]:
    home = "init" if request.init is None else LOADER_BESIDE
    yield cpio.regular(home, request.loader.read_bytes(), 0o755)
    yield from (cpio.symlink(f"sbin/{applet}", os.path.relpath(home, "sbin")) for applet in APPLETS)
    if request.init is not None:
        yield cpio.regular("init", request.init.read_bytes(), 0o755)
    yield from (cpio.directory(path) for path in DIRECTORIES)
    yield cpio.directory("tmp", 0o1777)
    yield cpio.character_device("dev/console", 5, 1, 0o600)
    yield cpio.character_device("dev/null", 1, 3, 0o666)
    release = (
        f'NAME="tinykmod"\nID=tinykmod\nVERSION_ID={__version__}\nPRETTY_NAME="tinykmod for {request.release}"\n'
    )
    yield cpio.regular("etc/initrd-release", release.encode())
    if request.busybox is not None:
        yield cpio.regular("bin/busybox", _static_program(request.busybox), 0o755)
        yield cpio.symlink("bin/sh", "busybox")


def _static_program(path: Path) -> bytes:
    data = path.read_bytes()
    if needed := _dynamic_loader(data, path):
        raise TinykmodError(path, f"not static: it needs {needed}, which the image lacks")
    return data


def _interpreter(data: bytes, path: Path) -> str:
    """What the kernel starts a program with: a script's first word, a dynamic program's loader; else empty."""
    script = re.match(rb"#![ \t]*(\S+)", data)
    return os.fsdecode(script[1]) if script else _dynamic_loader(data, path)


def _dynamic_loader(data: bytes, path: Path) -> str:
    found = (os.fsdecode(each.data().rstrip(b"\0")) for each in _elf(data, path).iter_segments("PT_INTERP"))
    return next(found, "")


def _given(source: Path, target: str) -> cpio.Entry:
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts or path.name == "":
        raise TinykmodError(target, "no absolute path of a file in the image")
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TinykmodError(source, "not a regular file")
    return cpio.regular("/".join(path.parts[1:]), source.read_bytes(), stat.S_IMODE(status.st_mode))


def _add_parents(entries: dict[str, cpio.Entry], paths: Sequence[str]) -> None:
    for path in paths:
        for parent in PurePosixPath(path).parents:
            entry = entries.setdefault(str(parent), cpio.directory(str(parent))) if parent.name else None
            if entry and not stat.S_ISDIR(entry.mode):
                raise TinykmodError(f"/{path}", f"cannot be in the image: /{parent} is not a directory")


def _text_files(modules: Sequence[Module], index: Index) -> dict[str, bytes]:
    """depmod's text files for the modules in the image, with softdeps as the index has resolved them."""
    dep, alias, softdep = [], ["# Aliases extracted from modules themselves."], ["# Soft dependencies."]
    for module in modules:
        record = index.module(module.name)
        # depmod names what is loaded first last.
        needed = "".join(f" {index.path(name)}" for name in reversed(record.deps))
        dep.append(f"{record.path}:{needed}")
        alias += [f"alias {pattern} {module.name}" for pattern in module.aliases]
        around = {"pre:": record.pre, "post:": record.post}
        if words := [word for part, names in around.items() if names for word in (part, *names)]:
            softdep.append(" ".join(("softdep", module.name, *words)))
    texts = {"modules.dep": dep, "modules.alias": alias, "modules.softdep": softdep}
    return {name: encoded("\n".join(lines) + "\n") for name, lines in texts.items()}


@contextlib.contextmanager
def _compressor(name: str, out: BinaryIO) -> Iterator[cpio.Writer]:
    """A file that compresses into OUT as the kernel can undo it, one way for the same bytes."""
    if name in (BY_MODULE, "none"):
        yield out
    elif name == "gzip":
        with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
            yield packed
    elif name == "lz4":
        with Lz4Writer(out) as packed:
            yield packed
    elif name == "xz":
        # The kernel's decoder knows no check but CRC32.
        with lzma.LZMAFile(out, "wb", check=lzma.CHECK_CRC32) as packed:
            yield packed
    else:
        # However many threads there are, so that it is threads, the bytes are the same.
        zstd = zstandard.ZstdCompressor(ZSTD_LEVEL, threads=os.cpu_count() or 1)
        with zstd.stream_writer(out, closefd=False) as packed:
            yield packed
