"""Firmware for an image: what modules name as MODULE_FIRMWARE, found below a root as the kernel would find it.

The kernel (drivers/base/firmware_loader/main.c, and admin-guide's firmware/fw_search_path) looks for NAME in
lib/firmware/updates/RELEASE, lib/firmware/updates, lib/firmware/RELEASE and lib/firmware; then, as far as its
options say, for NAME.zst in the four, then for NAME.xz. All that is found goes to lib/firmware/NAME of the image.
"""

from __future__ import annotations

import lzma
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import zstandard

from tinykmod.errors import ModuleFormatError
from tinykmod.modules.compression import compression, decompress

#: Below a root; the first is a link to the second on a merged-/usr system, and may be missing in an unpacked package.
PARENTS = ("lib/firmware", "usr/lib/firmware")
HOME = "lib/firmware"

#: What may be at the end of a file's name, in the order in which the kernel tries, with its option for it.
SUFFIXES = {"": "", ".zst": "CONFIG_FW_LOADER_COMPRESS_ZSTD", ".xz": "CONFIG_FW_LOADER_COMPRESS_XZ"}
FORMATS = {".zst": "zstd", ".xz": "xz"}
#: The byte of an .xz file that tells its check; the kernel's decoder knows none and CRC32.
XZ_CHECK, KERNELS_CHECKS = 7, (0, 1)

#: Of amdgpu's firmware zstd's 19 makes 8 % less than 9 in eleven times the time, xz's 6 4 % less than 0 in thrice.
ZSTD_LEVEL, XZ_LEVEL = 9, 0
#: What reads firmware in parts, which the kernel does of uncompressed files only (since Linux 5.10).
IN_PARTS = "request_partial_firmware_into_buf"

#: As the kernel's MAXSYMLINKS.
MOST_LINKS = 40


class Place(NamedTuple):
    """A directory to look into: PATH, without a link in it, below ROOT, which no link leads out of."""

    root: Path
    path: str


class Source(NamedTuple):
    """A firmware file, and how it is decompressed, and compressed, on its way into the image."""

    file: Path
    format: str = ""
    packed: str = ""

    def read(self) -> bytes:
        """What the image gets. Raises OSError, ModuleFormatError for a file that is not what its suffix says."""
        data = self.file.read_bytes()
        if self.format:
            if compression(data) != self.format:
                raise ModuleFormatError(self.file, f"is no {self.format} file")
            data = decompress(data, str(self.file))
        if self.packed == "zstd":
            # With its size in front, which the kernel must have.
            return zstandard.ZstdCompressor(ZSTD_LEVEL).compress(data)
        return lzma.compress(data, check=lzma.CHECK_CRC32, preset=XZ_LEVEL) if self.packed == "xz" else data


@dataclass
class Firmware:
    """The firmware of an image; paths are the image's."""

    files: dict[str, Source] = field(default_factory=dict)
    #: Of the names that lead to one file the first has it, the others are links: path -> the link's target.
    links: dict[str, str] = field(default_factory=dict)
    #: The modules that name each of both.
    users: dict[str, list[str]] = field(default_factory=dict)
    #: Module -> the names and patterns for which nothing is there.
    missing: dict[str, list[str]] = field(default_factory=dict)


def search(root: Path, release: str, before: Sequence[Path] = ()) -> list[Place]:
    """The directories for a kernel RELEASE that there are below ROOT, in the kernel's order.

    BEFORE are directories that stand for lib/firmware and come first; no link leads out of such a one.
    """
    tops = [*((tree, "") for tree in before), *((root, parent) for parent in PARENTS)]
    below = (f"updates/{release}", "updates", release, "")
    found = (Place(top, real) for top, parent in tops for name in below
             if (real := resolve(top, f"{parent}/{name}")) is not None and Path(top, real).is_dir())  # fmt: skip
    return list(dict.fromkeys(found))


def collect(
    wanted: Mapping[str, Sequence[str]],
    places: Sequence[Place],
    config: Mapping[str, str],
    *,
    pack: bool = False,
    plain: Collection[str] = (),
) -> Firmware:
    """Find what is WANTED, module -> names and shell patterns, where `*` matches no `/`.

    CONFIG is the kernel's: a file that it cannot decompress, or of which CONFIG does not tell, is decompressed here;
    one that is not compressed is, with PACK, as it can, but for the modules of PLAIN. Raises OSError.
    """
    result = Firmware()
    homes: dict[tuple[Path, str, str], str] = {}
    packing = next((suffix for suffix, option in SUFFIXES.items() if pack and config.get(option) == "y"), "")
    for module, names in wanted.items():
        for name in dict.fromkeys(names):
            found = [(each, *hit) for each in _expand(name, places) if (hit := _find(each, places))]
            if not found:
                result.missing.setdefault(module, []).append(name)
            for each, file, suffix in found:
                kept = suffix and _kernel_reads(file, suffix, config) and module not in plain
                end = suffix if kept else "" if module in plain else packing
                path = f"{HOME}/{each}{end}"
                if path not in result.users:
                    home = homes.setdefault((file, suffix, end), path)
                    if home == path:
                        formats = ("", "") if kept else (FORMATS.get(suffix, ""), FORMATS.get(end, ""))
                        result.files[path] = Source(file, *formats)
                    else:
                        result.links[path] = os.path.relpath(home, PurePosixPath(path).parent)
                users = result.users.setdefault(path, [])
                if module not in users:
                    users.append(module)
    return result


def told(missing: Mapping[str, Sequence[str]]) -> list[str]:
    """One line for each module whose firmware is MISSING, with the first of its names."""
    return [
        f"{module}: firmware is missing: {', '.join(names[:3])}{f' and {len(names) - 3} more' * (len(names) > 3)}"
        for module, names in missing.items()
    ]


def is_pattern(name: str) -> bool:
    """Whether a module means all that matches, where the shell's `*` matches no `/`."""
    return re.search(r"[*?[]", name) is not None


def uncompressed(name: str) -> str:
    """A file's name as modules spell it."""
    return re.sub(r"\.(zst|xz)$", "", name)


def resolve(root: Path, path: str) -> str | None:
    """PATH below ROOT with its links followed as if ROOT were `/`; None where nothing is there, or links go round."""
    pending, done, links = path.split("/")[::-1], PurePosixPath(), 0
    while pending:
        part = pending.pop()
        if part == "..":
            done = done.parent
        elif part not in ("", "."):
            here = Path(root, done, part)
            if not here.is_symlink():
                done /= part
                continue
            links += 1
            if links > MOST_LINKS:
                return None
            target = os.fspath(here.readlink())
            if target.startswith("/"):
                done = PurePosixPath()
            pending += target.split("/")[::-1]
    return str(done) if Path(root, done).exists() else None


def _find(name: str, places: Sequence[Place]) -> tuple[Path, str] | None:
    """The file that the kernel would read for NAME, its links followed, and the suffix that it has."""
    for suffix in SUFFIXES:
        for root, path in places:
            real = resolve(root, f"{path}/{name}{suffix}")
            if real is not None and (file := root / real).is_file():
                return file, suffix
    return None


def _expand(name: str, places: Sequence[Place]) -> list[str]:
    """The names that there are for a name or pattern, without suffixes; none for one that leads elsewhere."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts or not parts:
        return []
    if not is_pattern(name):
        return ["/".join(parts)]
    return sorted({match for place in places for match in _matching(place, parts, "")})


def _matching(place: Place, parts: Sequence[str], below: str) -> Iterator[str]:
    real = resolve(place.root, f"{place.path}/{below}")
    if real is None or not (directory := place.root / real).is_dir():
        return
    for entry in directory.iterdir():
        if len(parts) > 1:
            if fnmatchcase(entry.name, parts[0]):
                yield from _matching(place, parts[1:], f"{below}{entry.name}/")
        elif fnmatchcase(plain := uncompressed(entry.name), parts[0]):
            yield below + plain


def _kernel_reads(file: Path, suffix: str, config: Mapping[str, str]) -> bool:
    if config.get(SUFFIXES[suffix]) != "y":
        return False
    with file.open("rb") as opened:
        head = opened.read(XZ_CHECK + 1)
    return suffix != ".xz" or (len(head) > XZ_CHECK and head[XZ_CHECK] in KERNELS_CHECKS)
