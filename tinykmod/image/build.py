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
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.files import replacing
from tinykmod.image import check, compressions, contents, cpio, firmware, host, kernel_config, modules_load
from tinykmod.image.programs import check_machine
from tinykmod.image.reasons import File, file_of
from tinykmod.image.request import Image, Request
from tinykmod.image.select import omit, select, with_behind
from tinykmod.image.storing import UNSIGNED, Storing, check_unsigned, checks_signatures
from tinykmod.index.compiler import compile_index, install_notes
from tinykmod.index.reader import Index
from tinykmod.kmod.config import Config, read_config
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import Module, ModuleTree, read_tree
from tinykmod.trace.plan import Plan, plan_notes

INDEX_NAME = "tinykmod.tki"

#: Reads what is large when its turn has come.
Read = Callable[[], bytes]
#: Is told what is being done, in place of what it was told before; at the end the empty text.
Tell = Callable[[str], None]


def build(request: Request, tell: Tell = lambda text: None) -> Image:
    """Build the image, written beside its place, read back, checked, renamed: a failure leaves what was there before.

    The same inputs give the same bytes; times in it are SOURCE_DATE_EPOCH or 0. Raises TinykmodError and OSError.
    """
    with replacing(request.output) as out:
        try:
            return _build(request, out, tell)
        finally:
            tell("")


def _build(request: Request, out: BinaryIO, tell: Tell) -> Image:
    # What can be wrong with the request is found out first: reading a tree takes seconds.
    given = _prepare(request)
    tree = read_tree(
        request.root, request.release, progress=lambda done, total: tell(f"reading modules: {done} of {total}")
    )
    check_machine(request.loader, tree)
    tell("choosing modules")
    with _pool() as pool:
        by_itself = given.compress == compressions.BY_MODULE
        storing = Storing(tree.directory, given.kernel, by_itself, request.drop_signatures, pool)
        # What is sure to go in is packed while the rest is being chosen.
        for module in _certain(request, tree):
            storing.begin(module)
        choice = _choose(request, given, tree)
        files = _files(request, given, choice, storing)
        with compressions.compressor(given.compress, out) as archive:
            written = _write(archive, files, given.mtime, tell)
    out.flush()
    tell("checking the image")
    _check(request, Path(out.name).read_bytes(), written)
    return Image(request.output, out.tell(), choice.reasons, choice.warnings, written, files.missing_firmware)


class _Given(NamedTuple):
    """What is known before the modules are."""

    mtime: int
    #: The kernel's options.
    kernel: dict[str, str]
    compress: str
    #: What every image has.
    system: list[cpio.Entry]
    #: Request.files, each beside the file that it was given as.
    files: list[tuple[Path, cpio.Entry]]


def _prepare(request: Request) -> _Given:
    kernel = kernel_config.read(request.root, request.release)
    if request.drop_signatures:
        check_unsigned(kernel, kernel_config.path(request.root, request.release), request.machine)
    return _Given(
        _epoch(),
        kernel,
        compressions.choose(request.compress, request.root, request.release, kernel),
        list(contents.system(request)),
        [(source, contents.given(source, target)) for source, target in request.files],
    )


def _certain(request: Request, tree: ModuleTree) -> Iterator[Module]:
    """The modules that go in whatever else is found out."""
    if request.machine is None and not request.omit:
        wanted = with_behind(request.classes)
        yield from (module for module in tree.modules if tree.classes[module.name] & wanted)


class _Choice(NamedTuple):
    """Which modules go in, in tree order, and all that this was found with."""

    tree: ModuleTree
    config: Config
    #: The index of the whole tree.
    whole: Index
    modules: list[Module]
    #: Module -> why it is in.
    reasons: dict[str, str]
    #: The root's modules-load.d.
    modules_load: list[cpio.Entry]
    warnings: list[str]
    plan: Plan | None


def _choose(request: Request, given: _Given, tree: ModuleTree) -> _Choice:
    config = read_config(request.root, paths=request.config)
    whole = Index(compile_index(tree, config, signed=not request.drop_signatures), verify=False)
    files_to_load = modules_load.read(request.root) if request.modules_load else []
    listed = modules_load.names(files_to_load)
    omitted, warnings = omit(whole, request.omit)
    machine = host.needed(tree, whole, request.machine, request.classes, request.strict) if request.machine else None
    reasons, left_out = select(
        tree, whole, request.classes, request.add, given.kernel, listed, omitted, machine.modules if machine else None
    )
    for needed in dict.fromkeys(omitted[name] for name in left_out):
        if behind := [name for name in left_out if omitted[name] == needed != name]:
            warnings.append(f"{needed} is omitted, and so is what needs it: {', '.join(behind)}")
    plan = request.plan
    if plan is None and request.machine and DriverClass.STORAGE in request.classes:
        plan = host.plan(whole, request.machine)
    warnings += [*install_notes(config), *plan_notes(request.plan, reasons)]
    warnings += [f"{where}: {name}: no such module" for name, where in listed.items() if not whole.lookup(name)]
    warnings += machine.missing if machine else []
    if request.drop_signatures and checks_signatures(given.kernel):
        warnings.append(UNSIGNED)
    return _Choice(
        tree,
        config,
        whole,
        [tree.by_name[name] for name in reasons],
        reasons,
        files_to_load,
        [*config.warnings, *warnings],
        plan,
    )


class _Files(NamedTuple):
    """The image's entries, those that are large still to be read; the reasons that are known; what is missing."""

    entries: dict[str, cpio.Entry]
    later: dict[str, Read]
    reasons: dict[str, str]
    missing_firmware: dict[str, list[str]]


def _files(request: Request, given: _Given, choice: _Choice, storing: Storing) -> _Files:
    home = f"lib/modules/{choice.tree.release}"
    data = compile_index(
        choice.tree,
        choice.config,
        only=choice.reasons.keys(),
        whole=choice.whole,
        classes=request.classes,
        stored={module.name: storing.path(module) for module in choice.modules},
        plan=choice.plan,
        signed=not request.drop_signatures,
    )
    index = Index(data, verify=False)
    texts = {INDEX_NAME: data, **contents.text_files(choice.modules, index)}
    own = [*given.system, *choice.modules_load]
    own += [cpio.regular(f"{home}/{name}", text) for name, text in texts.items()]
    entries = {entry.path: entry for entry in own}
    loads = _firmware(request, choice.modules, given)
    entries |= {path: cpio.symlink(path, target) for path, target in loads.links.items()}
    later: dict[str, Read] = {f"{home}/{index.path(module.name)}": storing.take(module) for module in choice.modules}
    reasons = dict(zip(later, choice.reasons.values(), strict=True))
    later |= {path: storing.read(source) for path, source in loads.files.items()}
    for _, entry in given.files:
        if entry.path in entries or entry.path in later:
            raise TinykmodError(f"/{entry.path}", "the image has a file of its own there")
        entries[entry.path] = entry
    if request.init is not None:
        contents.check_init(request.init, entries)
    contents.add_parents(entries, [*entries, *later])
    reasons |= {path: f"firmware of {', '.join(sorted(users))}" for path, users in loads.users.items()}
    reasons |= {entry.path: f"--file {source}" for source, entry in given.files}
    return _Files(entries, later, reasons, loads.missing)


def _write(archive: cpio.Writer, files: _Files, mtime: int, tell: Tell) -> list[File]:
    """What was written, in the archive's order. What is large is let go of as soon as it is."""
    written: list[File] = []
    paths = sorted([*files.entries, *files.later], key=os.fsencode)

    def entries() -> Iterator[cpio.Entry]:
        for path in paths:
            tell(f"writing files: {len(written)} of {len(paths)}")
            entry = files.entries.get(path) or cpio.regular(path, files.later.pop(path)())
            written.append(file_of(entry, files.reasons.get(path, "")))
            yield entry

    cpio.write(archive, entries(), mtime)
    return written


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


def _firmware(request: Request, modules: Sequence[Module], given: _Given) -> firmware.Firmware:
    if request.firmware is None:
        return firmware.Firmware()
    places = firmware.search(request.root, request.release, request.firmware)
    found = firmware.collect(
        {module.name: module.values("firmware") for module in modules},
        places,
        given.kernel,
        pack=given.compress == compressions.BY_MODULE,
        plain={module.name for module in modules if firmware.IN_PARTS in module.elf.imports},
    )
    if request.strict and found.missing:
        raise TinykmodError("firmware", f"is missing; {'; '.join(firmware.told(found.missing))}")
    return found


@contextlib.contextmanager
def _pool() -> Iterator[Executor]:
    """A thread for each processor; after a failure what was not begun is not."""
    pool = ThreadPoolExecutor(len(os.sched_getaffinity(0)))
    interval = sys.getswitchinterval()
    # Packing asks for the interpreter's lock again after each system call, and gets it after so long.
    sys.setswitchinterval(0.0005)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        sys.setswitchinterval(interval)
