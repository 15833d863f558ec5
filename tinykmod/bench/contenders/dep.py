"""initramfs-tools with MODULES=dep: it looks at the machine that it runs on, so it runs on that machine, in QEMU."""

from __future__ import annotations

import re
import uuid
from dataclasses import replace
from pathlib import Path

from tinykmod.bench.contenders.system import system
from tinykmod.bench.debian import Kernel
from tinykmod.bench.disk import make_disk_of
from tinykmod.bench.machines import Machine
from tinykmod.bench.qemu import boot
from tinykmod.errors import TinykmodError

_OUT_MIB = 256
_SERIAL = "tinykmod-out"
_SIZE = re.compile(r"^image of (\d+) bytes$", re.MULTILINE)
#: Seconds: the generator is a shell script of many processes, and all of them are emulated.
_LIMIT = 3600
#: The root's init: makes the image, and writes it to the disk with our serial number.
_INIT = f"""\
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C
[ -e /proc/mounts ] || mount -t proc proc /proc
[ -e /sys/block ] || mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /tmp
mkinitramfs -o /boot/image RELEASE
for disk in /sys/block/*; do
    [ "$(cat $disk/serial 2> /dev/null)" = {_SERIAL} ] || continue
    dd if=/boot/image of=/dev/${{disk##*/}} bs=1M conv=fsync 2> /dev/null
    echo "image of $(stat -c %s /boot/image) bytes"
done
sync
busybox poweroff -f
"""


def image(tree: Path, kernel: Kernel, machine: Machine, generic: Path, scratch: Path) -> bytes:
    """The image that mkinitramfs makes on MACHINE, booted with its root on ext4 by the image GENERIC.

    All else is as for MODULES=most. Raises TinykmodError.
    """
    root = system(tree, kernel, scratch / "root")
    (root / "etc/initramfs-tools/conf.d/tinykmod-bench").write_text("MODULES=dep\nRESUME=none\n")
    init = root / "sbin/make-image"
    init.write_text(_INIT.replace("RELEASE", kernel.release))
    init.chmod(0o755)
    used = sum(path.lstat().st_size for path in root.rglob("*")) >> 20
    name = str(uuid.uuid4())
    disk = make_disk_of(scratch / "disk", root, uuid=name, size_mib=used * 5 // 4 + _OUT_MIB)
    out = scratch / "out"
    with out.open("wb") as file:
        file.truncate(_OUT_MIB << 20)
    drive = ("-drive", f"if=none,format=raw,id=out,cache=unsafe,file={str(out).replace(',', ',,')}",
             "-device", f"virtio-blk-pci,drive=out,serial={_SERIAL}")  # fmt: skip
    done = boot(kernel.vmlinuz, generic, machine=replace(machine, args=(*machine.args, *drive)), disks=[disk],
                append=f"root=UUID={name} rw init=/sbin/make-image", timeout=_LIMIT)  # fmt: skip
    size = _SIZE.search(done.console)
    if size is None:
        why = f"made no image on machine {machine.name}: {done.tail(1) or done.ended}"
        raise TinykmodError("mkinitramfs", why)
    with out.open("rb") as file:
        return file.read(int(size[1]))
