"""Images with a script as /init and Debian's own programs: kmod's modprobe, busybox's, systemd-udevd.

All three have busybox (Debian's static one) for the script, and the modules that tinykmod's generic image has, as
they are in the kernel's package, with the files of depmod for these; compressed with zstd, as initramfs-tools does.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, cast

from elftools.elf.dynamic import DynamicSection
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from tinykmod.bench.contenders.system import copy_files, run_depmod
from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.compressions import compressor
from tinykmod.modules.tree import read_tree

_HERE = Path(__file__).parent
#: What depmod reads beside the modules.
_FROM_BUILD = ("modules.order", "modules.builtin", "modules.builtin.modinfo")
_LIBRARIES = ("lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64")
_APPLETS = ("cat", "find", "findfs", "grep", "mount", "sh", "sort", "switch_root", "tr", "usleep", "xargs")
#: What udev needs to load drivers and to name disks by what is on them: of the rules and programs that Debian's udev
#: itself puts into an initramfs, those that have to do with it.
_UDEV_RULES = ("50-udev-default", "60-block", "60-persistent-storage", "80-drivers")
_UDEV = ("etc/udev/udev.conf", *(f"lib/udev/rules.d/{name}.rules" for name in _UDEV_RULES),
         "bin/udevadm", "lib/udev/ata_id", "lib/udev/scsi_id")  # fmt: skip


def with_kmod(tree: Path, kernel: Kernel, busybox: Path, modules: Sequence[str], scratch: Path) -> bytes:
    """modprobe is kmod's: one command for the aliases of all devices, again while devices come (modprobe.sh)."""
    programs = [*_files(tree, ["bin/kmod"]), cpio.symlink("sbin/modprobe", "/bin/kmod")]
    return _image(kernel, busybox, modules, scratch, "modprobe.sh", programs)


def with_busybox(kernel: Kernel, busybox: Path, modules: Sequence[str], scratch: Path) -> bytes:
    """modprobe is busybox's, called in the same way."""
    programs = [cpio.symlink("sbin/modprobe", "/bin/busybox")]
    return _image(kernel, busybox, modules, scratch, "modprobe.sh", programs)


def with_udev(tree: Path, kernel: Kernel, busybox: Path, modules: Sequence[str], scratch: Path) -> bytes:
    """systemd-udevd with the rules for loading drivers and naming disks; trigger, then wait for the root's link.

    kmod's modprobe is there for what the kernel itself asks for (udev.sh).
    """
    links = {"sbin/modprobe": "/bin/kmod", "lib/systemd/systemd-udevd": "/bin/udevadm"}
    programs = [*_files(tree, [*_UDEV, "bin/kmod"]), *(cpio.symlink(*link) for link in links.items())]
    return _image(kernel, busybox, modules, scratch, "udev.sh", programs)


def _image(
    kernel: Kernel, busybox: Path, modules: Sequence[str], scratch: Path, script: str, programs: Sequence[cpio.Entry]
) -> bytes:
    entries = {
        entry.path: entry
        for entry in (
            *(cpio.directory(name) for name in ("bin", "dev", "proc", "run", "sbin", "sys", "sysroot")),
            cpio.character_device("dev/console", 5, 1, 0o600),
            cpio.character_device("dev/null", 1, 3, 0o666),
            cpio.regular("init", (_HERE / script).read_bytes(), 0o755),
            cpio.regular("lib/common.sh", (_HERE / "common.sh").read_bytes()),
            cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
            *(cpio.symlink(f"bin/{name}", "busybox") for name in _APPLETS),
            *programs,
            *_modules(kernel, modules, scratch),
        )
    }
    out = BytesIO()
    with compressor("zstd", out) as archive:
        cpio.write(archive, _with_directories(entries))
    return out.getvalue()


def _with_directories(entries: dict[str, cpio.Entry]) -> Iterator[cpio.Entry]:
    """ENTRIES in order, each after the directories that it is in."""
    made: set[str] = set()
    for path in sorted(entries):
        for parent in reversed(Path(path).parents[:-1]):
            if str(parent) not in made and str(parent) not in entries:
                yield cpio.directory(str(parent))
            made.add(str(parent))
        yield entries[path]


def _modules(kernel: Kernel, names: Sequence[str], scratch: Path) -> Iterator[cpio.Entry]:
    """The modules NAMES and what depmod writes for them alone."""
    tree = read_tree(kernel.root, kernel.release)
    paths = [tree.by_name[name].path for name in names]
    target = scratch / "lib/modules" / kernel.release
    copy_files(tree.directory, target, [*paths, *_FROM_BUILD])
    run_depmod(scratch, kernel.release)
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield cpio.regular(str(path.relative_to(scratch)), path.read_bytes())


def _files(tree: Path, paths: Sequence[str]) -> list[cpio.Entry]:
    """PATHS of TREE with the libraries that programs among them need, links followed within TREE."""
    found: dict[str, cpio.Entry] = {}
    pending = list(paths)
    while pending:
        path = pending.pop()
        if path in found:
            continue
        data, mode = _read(tree, path)
        found[path] = cpio.regular(path, data, mode)
        if data.startswith(b"\x7fELF"):
            pending += [_library(tree, name) for name in _needed(data)]
    return list(found.values())


def _needed(data: bytes) -> Iterator[str]:
    """The libraries and the interpreter that an ELF program names."""
    elf = ELFFile(BytesIO(data))
    for section in elf.iter_sections():
        if isinstance(section, DynamicSection):
            yield from (cast(Any, tag).needed for tag in section.iter_tags("DT_NEEDED"))
    for segment in elf.iter_segments("PT_INTERP"):
        yield cast(InterpSegment, segment).get_interp_name().lstrip("/")


def _library(tree: Path, name: str) -> str:
    """Where in TREE a library is; a path stays as it is. Raises TinykmodError."""
    if "/" in name:
        return name
    for directory in _LIBRARIES:
        if (tree / directory / name).exists():
            return f"{directory}/{name}"
    raise TinykmodError(tree / _LIBRARIES[0] / name, "a program needs this library, and it is not there")


def _read(tree: Path, path: str) -> tuple[bytes, int]:
    """A file's contents and permissions; absolute links are of TREE."""
    place = tree / path
    while place.is_symlink():
        target = place.readlink()
        place = tree / str(target).lstrip("/") if target.is_absolute() else place.parent / target
    return place.read_bytes(), stat.S_IMODE(place.stat().st_mode)
