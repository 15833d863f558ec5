"""Root disks for boots in QEMU: a small ext4 filesystem with busybox, made without root and without mounting."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from tinykmod.errors import TinykmodError

#: What the root's init says on the console and in the kernel's log.
SENTINEL = "tinykmod: root init is running"
#: Lines between which the root's init prints what it found.
TRACE_BEGIN, TRACE_END = "--- trace ---", "--- end of trace ---"
DMESG_BEGIN, DMESG_END = "--- dmesg ---", "--- end of dmesg ---"

#: Lines of a script of busybox, `$bb`, that print the loader's trace and the kernel's log, and power off.
TELL_AND_END = f"""\
if [ -e /run/tinykmod/trace.jsonl ]; then
    echo '{TRACE_BEGIN}'
    $bb cat /run/tinykmod/trace.jsonl
    echo '{TRACE_END}'
fi
echo '{DMESG_BEGIN}'
$bb dmesg
echo '{DMESG_END}'
$bb sync
$bb poweroff -f
"""

#: A root's /sbin/init: tells that it runs, prints the loader's trace and the kernel's log, and powers off.
REPORTING_INIT = f"""\
#!/bin/busybox sh
bb=/bin/busybox
[ -e /dev/kmsg ] || $bb mount -t devtmpfs dev /dev
echo '{SENTINEL}' > /dev/kmsg
echo '{SENTINEL}'
[ -e /proc/mounts ] || $bb mount -t proc proc /proc
$bb dmesg -n 1
{TELL_AND_END}"""

_MIB = 1 << 20
_UUID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"


def make_root_disk(
    path: Path,
    *,
    busybox: Path,
    label: str = "tinykmod-root",
    uuid: str,
    init_script: str = REPORTING_INIT,
    size_mib: int = 16,
    partuuid: str | None = None,
) -> Path:
    """Write a disk image of SIZE_MIB to PATH: ext4 with LABEL and UUID, INIT_SCRIPT as /sbin/init.

    With PARTUUID the filesystem is in the first partition of that name: of a GPT for a UUID, of an MBR for
    `XXXXXXXX-01`. Without, it is the whole disk. Raises TinykmodError when a tool is missing or refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".root-", dir=path.parent) as scratch:
        tree = Path(scratch, "tree")
        for directory in ("bin", "sbin", "proc", "sys", "dev", "run", "etc"):
            Path(tree, directory).mkdir(parents=True)
        (tree / "etc/os-release").touch()  # without one an image's systemd takes it for no root
        shutil.copyfile(busybox, tree / "bin/busybox")
        (tree / "sbin/init").write_text(init_script)
        for program in ("bin/busybox", "sbin/init"):
            (tree / program).chmod(0o755)
        image = Path(scratch, "image")
        with image.open("wb") as file:
            file.truncate(size_mib * _MIB)
        offset = _MIB if partuuid else 0
        if partuuid:
            _partition(image, partuuid)
        size = (size_mib * _MIB - 2 * offset) // 1024  # a GPT's copy is at the end
        _make_ext4(image, tree, size, 1024, label, uuid, offset)
        image.replace(path)
    return path


def make_disk_of(path: Path, tree: Path, *, uuid: str, label: str = "tinykmod-root", size_mib: int) -> Path:
    """Write a disk image of SIZE_MIB to PATH: ext4 with what TREE holds, all of it root's where the caller is.

    Raises TinykmodError when mke2fs is missing or refuses.
    """
    beside = path.with_name(f".{path.name}")
    with beside.open("wb") as file:
        file.truncate(size_mib * _MIB)
    _make_ext4(beside, tree, size_mib * 1024, 4096, label, uuid)
    return beside.replace(path)


def _make_ext4(image: Path, tree: Path, size: int, block: int, label: str, uuid: str, offset: int = 0) -> None:
    """Make IMAGE, from byte OFFSET on, an ext4 of SIZE KiB with what TREE holds."""
    # -F: an offset makes mke2fs see the partition table, and ask.
    extended = f"offset={offset},root_owner=0:0,hash_seed={uuid},lazy_itable_init=0,lazy_journal_init=0"
    command = ["mke2fs", "-q", "-F", "-t", "ext4", "-b", str(block), "-U", uuid, "-L", label, "-E", extended]
    _run([*command, "-d", str(tree), str(image), f"{size}k"], "e2fsprogs")


def _partition(image: Path, partuuid: str) -> None:
    """One Linux partition from 1 MiB to 1 MiB before the end."""
    size = image.stat().st_size // _MIB - 2
    if re.fullmatch(_UUID, partuuid):
        table = f"label: gpt\nstart=1MiB, size={size}MiB, type=linux, uuid={partuuid}\n"
    elif re.fullmatch(r"[0-9a-fA-F]{8}-01", partuuid):
        table = f"label: dos\nlabel-id: 0x{partuuid[:8]}\nstart=1MiB, size={size}MiB, type=83\n"
    else:
        raise TinykmodError(partuuid, "is no PARTUUID of a first partition: a UUID (GPT) or XXXXXXXX-01 (MBR)")
    _run(["sfdisk", "-q", "--no-reread", "--no-tell-kernel", str(image)], "fdisk", table)


def _run(command: list[str], package: str, text: str = "") -> None:
    """Run an administrator's tool; Debian keeps those out of a user's PATH."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin")
    if program is None:
        raise TinykmodError(command[0], f"not installed (Debian: apt-get install {package})")
    done = subprocess.run([program, *command[1:]], input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise TinykmodError(command[0], f"{why} (for {command[-2 if command[0] == 'mke2fs' else -1]})")
