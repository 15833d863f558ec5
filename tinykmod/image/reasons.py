"""Why a file is in an image, as far as its place tells."""

from __future__ import annotations

import re
import stat
from typing import NamedTuple

from tinykmod.image import cpio

#: Patterns of whole paths, the first that matches counts.
_PLACES = (
    ("init", "the loader"),
    ("sbin/tinykmod", "the loader, beside an /init of the user's"),
    ("sbin/modprobe", "the loader, by the name that the kernel calls"),
    ("sbin/.*", "the loader, as this tool"),
    (r"lib/modules/[^/]*/tinykmod\.tki", "the boot index"),
    (r"lib/modules/[^/]*/modules\..*", "what the loader goes by without an index"),
    ("dev/.*", "for what is said before devtmpfs is there"),
    ("etc/initrd-release", "tells systemd that this is an initrd"),
    (r"etc/modules-load\.d/.*|(usr/(local/)?)?lib/modules-load\.d/.*", "--modules-load"),
    ("bin/(busybox|sh)", "a rescue shell"),
)


class File(NamedTuple):
    """One entry of an image."""

    path: str  # without a leading slash
    mode: int  # st_mode
    size: int  # bytes of its contents
    reason: str  # empty: not known
    target: str = ""  # a link's

    def __str__(self) -> str:
        arrow = f" -> {self.target}" if self.target else ""
        return f"{self.size:>9}  /{self.path}{arrow}: {self.reason or 'no reason is known'}"


def file_of(entry: cpio.Entry, reason: str = "", *, by_place: bool = True) -> File:
    """An archive's entry with its reason: the one given, else what its place tells, if that counts.

    In an image that something else made, a place tells nothing.
    """
    is_link = stat.S_ISLNK(entry.mode)
    target = entry.data.decode(errors="surrogateescape") if is_link else ""
    reason = reason or (_by_place(entry) if by_place else "")
    return File(entry.path, entry.mode, 0 if is_link else len(entry.data), reason, target)


def _by_place(entry: cpio.Entry) -> str:
    if stat.S_ISDIR(entry.mode):
        return "a directory"
    return next((reason for place, reason in _PLACES if re.fullmatch(place, entry.path)), "")
