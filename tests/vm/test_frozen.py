"""An image of one file: the frozen loader as /init, and nothing else."""

from __future__ import annotations

import pytest

from tinykmod.bench.disk import SENTINEL
from tinykmod.cli import main
from tinykmod.image import cpio

pytestmark = pytest.mark.vm


def test_one_file_boots_to_a_root_that_asks_for_modules_by_name(kernel, start, vfat_disk, tmp_path):
    program = tmp_path / "init"
    assert main(["freeze", "-b", str(kernel.root), "--with-modules", "-o", str(program), kernel.release]) == 0
    image = tmp_path / "image"
    with image.open("wb") as out:
        cpio.write(out, [cpio.regular("init", program.read_bytes(), 0o755)])
    init = "#!/bin/busybox sh\nbusybox mount -t proc proc /proc\nexec /bin/busybox sh /sbin/report\n"
    result = start("root=/dev/vda rootfstype=vfat", vfat_disk(init), initrd=image)
    assert SENTINEL in result.lines, result.tail(40)
    modules = {event["name"]: event for event in result.trace if event["ev"] == "module"}
    assert {"virtio_blk", "vfat"} <= modules.keys()
    # The kernel's helper is the same program.
    assert modules["nls_cp437"]["why"] == "request"
    assert all(event["result"] == 0 for event in modules.values())
