"""What image is wanted, and what was made of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tinykmod.image.reasons import File
from tinykmod.image.snapshot import Snapshot
from tinykmod.modules.driver_class import DriverClass
from tinykmod.trace.plan import Plan


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
    #: Modules go in without their signatures.
    drop_signatures: bool = False


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
