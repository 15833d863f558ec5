"""The bare program (cext/floor.pyx): it loads listed modules one after the other, mounts the root, starts its init.

It looks for nothing, matches nothing and waits for nothing but the disk: any other that loads the same modules one by
one takes as long at least. The root's device is named in the image, so that root= does not matter.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from tinykmod.bench.contenders.survey import Survey
from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.index.reader import Index
from tinykmod.modules.directory import module_directory
from tinykmod.modules.files import find_modules

_SOURCES = Path(__file__).parents[3]
_BUILD_LOADER = "scripts/build_loader.py"


def sources() -> list[str]:
    """What the program is made of. Raises TinykmodError where tinykmod was installed without its sources."""
    _build_loader()
    files = sorted(Path(_SOURCES, "cext").rglob("*.p[xy]*"))
    return [path.read_text() for path in [_SOURCES / _BUILD_LOADER, *files]]


def program(scratch: Path) -> bytes:
    """The program, compiled for this machine. Raises TinykmodError."""
    builder = _build_loader()
    try:
        built = builder.build("x86_64", scratch / "floor", source=_SOURCES / "cext/floor.pyx")
    except builder.BuildError as error:
        raise TinykmodError("floor", str(error)) from None
    return Path(built).read_bytes()


def chain(machine: Survey, index: Index) -> list[str]:
    """The modules that lead to MACHINE's root in load order: its drivers and ext4, with all they need.

    Those that it did without (a checksum's implementation for another processor) are left out.
    """
    wanted = [*machine.drivers, "fs-ext4"]
    return [step.module for step in index.plan(wanted) if step.module in machine.loaded]


def image(floor: Path, kernel: Kernel, device: str, modules: Sequence[str], scratch: Path) -> bytes:
    """An image with the program FLOOR, not compressed: MODULES are loaded in their order, then DEVICE is mounted."""
    directory = module_directory(kernel.root, kernel.release)
    there = {file.name: file.path for file in find_modules(directory)}
    paths = [there[name] for name in modules]
    lines = [device, "ext4", *(f"/{Path(path).name}" for path in paths)]
    entries = [
        *(cpio.directory(name) for name in ("dev", "proc", "sysroot")),
        cpio.character_device("dev/console", 5, 1, 0o600),
        cpio.regular("init", floor.read_bytes(), 0o755),
        cpio.regular("floor", "".join(f"{line}\n" for line in lines).encode()),
        *(cpio.regular(Path(path).name, (directory / path).read_bytes()) for path in paths),
    ]
    with (scratch / "image").open("wb") as out:
        cpio.write(out, entries)
    return (scratch / "image").read_bytes()


def _build_loader() -> ModuleType:
    path = _SOURCES / _BUILD_LOADER
    spec = importlib.util.spec_from_file_location("build_loader", path)
    if not path.is_file() or spec is None or spec.loader is None:
        raise TinykmodError("floor", "its source is not in the installed package: run tinykmod in its source tree")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
