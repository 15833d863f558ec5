"""Filesystem images of every kind that the loader knows, made by their own tools."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path

SBIN = "/usr/sbin:/sbin:/usr/bin:/bin"
UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"

#: Name -> (MiB, or 0 where the tool makes the file; command, in which {} is the file and {tree} a directory).
FILESYSTEMS = {
    "ext2": (8, f"mke2fs -q -F -t ext2 -U {UUID} -L two {{}}"),
    "ext3": (8, f"mke2fs -q -F -t ext3 -U {UUID} {{}}"),
    "ext4": (8, f"mke2fs -q -F -t ext4 -U {UUID} -L 'a b \"c\" \\d' {{}}"),
    "ext4-without-checksum": (8, "mke2fs -q -F -t ext4 -O ^metadata_csum,^64bit -b 4096 {}"),
    "jbd": (8, "mke2fs -q -F -O journal_dev {}"),
    "xfs": (300, f"mkfs.xfs -q -f -L 'xfs root' -m uuid={UUID} {{}}"),
    "xfs-4": (300, "mkfs.xfs -q -f -m crc=0 {}"),
    "xfs-4k": (300, "mkfs.xfs -q -f -s size=4096 -L four {}"),
    "btrfs": (128, f"mkfs.btrfs -q -U {UUID} -L 'bé root' {{}}"),
    "btrfs-xxhash": (128, "mkfs.btrfs -q --csum xxhash {}"),
    "f2fs": (64, "mkfs.f2fs -q -l 'f2 é漢😀' {}"),
    "fat12": (2, "mkfs.vfat -F12 -n 'ESP 12' -i 12abcdef {}"),
    "fat16": (20, "mkfs.vfat -F16 -n ESP16 {}"),
    "fat32": (64, "mkfs.vfat -F32 -n ESP32 {}"),
    "fat32-4k": (300, "mkfs.vfat -F32 -S 4096 -n BIGSEC {}"),
    "fat-without-label": (64, "mkfs.vfat -F32 {}"),
    "exfat": (16, "mkfs.exfat -L 'ex é' {}"),
    "exfat-without-label": (16, "mkfs.exfat {}"),
    "iso9660": (0, "xorriso -as mkisofs -quiet -V ISO_LABEL -o {} {tree}"),
    "iso9660-joliet": (0, "xorriso -as mkisofs -quiet -J -R -V 'a longer label of an iso' -o {} {tree}"),
    "squashfs": (0, "mksquashfs {tree} {} -quiet -no-progress"),
    "erofs": (0, f"mkfs.erofs -U {UUID} {{}} {{tree}}"),
    "swap": (1, f"mkswap -q -L sw -U {UUID} {{}}"),
    "swap-16k": (1, "mkswap -q -p 16384 {}"),
    "swap-64k": (1, "mkswap -q -p 65536 -L sw64 {}"),
}


def make_filesystems(directory: Path, names: Iterable[str] = FILESYSTEMS) -> None:
    """A file of each name in DIRECTORY, which is made."""
    tree = directory / "tree"
    tree.mkdir(parents=True)
    (tree / "file").write_text("content\n" * 1000)
    for name in names:
        size, command = FILESYSTEMS[name]
        path = directory / name
        if size:
            with path.open("wb") as file:
                file.truncate(size << 20)
        done = subprocess.run(
            command.replace("{tree}", str(tree)).replace("{}", str(path)), shell=True, capture_output=True,
            text=True, check=False, env={"PATH": SBIN, "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0, (name, done.stderr)
