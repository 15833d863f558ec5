"""The entries of an image other than modules and firmware."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from tinykmod import __version__
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.programs import interpreter, static_program
from tinykmod.image.request import Request
from tinykmod.index.reader import Index
from tinykmod.kmod.names import encoded
from tinykmod.modules.tree import Module

APPLETS = ("modprobe", "insmod", "rmmod", "lsmod", "modinfo")
DIRECTORIES = ("dev", "etc", "proc", "root", "run", "sys")
LOADER_BESIDE = "sbin/tinykmod"


def system(request: Request) -> Iterator[cpio.Entry]:
    """What every image has, whichever its modules are. Raises TinykmodError, OSError."""
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
        yield cpio.regular("bin/busybox", static_program(request.busybox), 0o755)
        yield cpio.symlink("bin/sh", "busybox")


def given(source: Path, target: str) -> cpio.Entry:
    """A file of this machine as --file gives it. Raises TinykmodError, OSError."""
    path = PurePosixPath(target)
    if not path.is_absolute() or ".." in path.parts or path.name == "":
        raise TinykmodError(target, "no absolute path of a file in the image")
    status = source.stat()
    if not stat.S_ISREG(status.st_mode):
        raise TinykmodError(source, "not a regular file")
    return cpio.regular("/".join(path.parts[1:]), source.read_bytes(), stat.S_IMODE(status.st_mode))


def text_files(modules: Sequence[Module], index: Index) -> dict[str, bytes]:
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


def check_init(init: Path, entries: dict[str, cpio.Entry]) -> None:
    """Raises TinykmodError where ENTRIES lack what starts the user's /init."""
    needed = interpreter(entries["init"].data, init)
    if needed and needed.lstrip("/") not in entries:
        raise TinykmodError(init, f"needs {needed}, which the image lacks")


def add_parents(entries: dict[str, cpio.Entry], paths: Sequence[str]) -> None:
    """Add the directories that PATHS are in. Raises TinykmodError where something else has their name."""
    for path in paths:
        for parent in PurePosixPath(path).parents:
            entry = entries.setdefault(str(parent), cpio.directory(str(parent))) if parent.name else None
            if entry and not stat.S_ISDIR(entry.mode):
                raise TinykmodError(f"/{path}", f"cannot be in the image: /{parent} is not a directory")
