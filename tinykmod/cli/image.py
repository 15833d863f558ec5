"""`tinykmod image list|why|diff|check`: what is in an image, and what it would do."""

from __future__ import annotations

import argparse
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from tinykmod.errors import TinykmodError

if TYPE_CHECKING:
    from tinykmod.image.archive import Archive
    from tinykmod.image.cpio import Entry


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="list|why|diff|check")
    listing = actions.add_parser("list", help="print the files of an image with their sizes")
    listing.add_argument("image", type=Path, metavar="IMAGE")
    why = actions.add_parser("why", help="print each file with its size and the reason why it is there")
    why.add_argument("image", type=Path, metavar="IMAGE")
    why.add_argument("names", nargs="*", metavar="NAME", help="only these modules and paths")
    diff = actions.add_parser("diff", help="print in which files two images differ; exit 1 if they do")
    diff.add_argument("image", type=Path, metavar="IMAGE")
    diff.add_argument("other", type=Path, metavar="IMAGE")
    checking = actions.add_parser("check", help="tell whether a machine would find its root and displays")
    checking.add_argument("image", type=Path, metavar="IMAGE")
    checking.add_argument("--for", dest="machine", default="host", metavar="host|SNAPSHOT",
                          help="this machine (default), or a file that `tinykmod snapshot` has written")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    return {"list": _list, "why": _why, "diff": _diff, "check": _check}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    from tinykmod.image.archive import read_image

    archive = read_image(args.image)
    for path, entry in archive.entries.items():
        node = stat.S_ISCHR(entry.mode) or stat.S_ISBLK(entry.mode)
        size = "{}, {}".format(*entry.device) if node else str(_size(entry))
        arrow = f" -> {entry.data.decode(errors='surrogateescape')}" if stat.S_ISLNK(entry.mode) else ""
        print(f"{stat.filemode(entry.mode)} {size:>9}  /{path}{arrow}")
    for part in archive.parts:
        print(f"{part.compression or 'not compressed'}: {part.packed} bytes, {part.unpacked} unpacked")
    return 0


def _why(args: argparse.Namespace) -> int:
    from tinykmod.image.archive import read_image
    from tinykmod.image.why import explain
    from tinykmod.kmod.names import module_name

    files = explain(read_image(args.image).entries)
    names = {file: {file.path, *([module_name(file.path)] if ".ko" in file.path else [])} for file in files}
    wanted = {word: {word.lstrip("/"), word.replace("-", "_")} for word in args.names}
    for file in files:
        if not wanted or any(names[file] & words for words in wanted.values()):
            print(file)
    known = set[str]().union(*names.values())
    absent = [word for word, words in wanted.items() if not words & known]
    if absent:
        raise TinykmodError(", ".join(absent), f"not in {args.image}")
    return 0


def _diff(args: argparse.Namespace) -> int:
    from tinykmod.image.archive import read_image

    old, new = (read_image(path) for path in (args.image, args.other))
    before, after = _comparable(old, new)
    counts = dict.fromkeys("-+!", 0)
    for key in sorted({*before, *after}):
        one, two = before.get(key), after.get(key)
        if one and two and (one.mode, one.data, one.device) == (two.mode, two.data, two.device):
            continue
        sign = "-" if not two else "+" if not one else "!"
        counts[sign] += 1
        sizes = " -> ".join(dict.fromkeys(str(_size(entry)) for entry in (one, two) if entry))
        print(f"{sign} {sizes:>20}  /{key}")
    totals = [sum(part.unpacked for part in archive.parts) for archive in (old, new)]
    first, second, differ = counts.values()
    print(f"{first} only in the first, {second} only in the second, {differ} differ; ", end="")
    print(f"{totals[0]} and {totals[1]} bytes unpacked")
    return int(any(counts.values()))


def _check(args: argparse.Namespace) -> int:
    from tinykmod.image import snapshot
    from tinykmod.image.check import carried, check

    machine = snapshot.chosen(args.machine)
    if machine is None:
        raise TinykmodError("--for generic", "an image is checked for one machine")
    image = carried(args.image)
    verdict = check(image, machine, args.machine)
    for line in verdict.lines:
        print(line)
    root = machine.root
    if root is not None:
        found = "would be found" if verdict.root else "would not be found"
        print(f"{args.image}: kernel {image.index.release}: root {root.source} ({root.type}) {found}")
    return 0 if verdict.root else 1


def _size(entry: Entry) -> int:
    return 0 if stat.S_ISLNK(entry.mode) else len(entry.data)


def _comparable(old: Archive, new: Archive) -> tuple[Mapping[str, Entry], Mapping[str, Entry]]:
    """The entries of both by path; where each is for another kernel, its release is VERSION in paths."""
    found = [_releases(archive) for archive in (old, new)]
    if not all(len(releases) == 1 for releases in found) or found[0] == found[1]:
        return old.entries, new.entries
    one, two = (
        {re.sub(rf"(^|/)lib/(modules|firmware)/{re.escape(*releases)}(?=/|$)", r"\1lib/\2/VERSION", path): entry
         for path, entry in archive.entries.items()}
        for releases, archive in zip(found, (old, new), strict=True)
    )  # fmt: skip
    return one, two


def _releases(archive: Archive) -> set[str]:
    return {found[1] for path in archive.entries if (found := re.match(r"(?:usr/)?lib/modules/([^/]+)/", path))}
