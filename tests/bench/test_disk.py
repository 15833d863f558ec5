from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from tinykmod.bench.disk import make_root_disk
from tinykmod.errors import TinykmodError

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
PARTUUID = "0d1e2f30-4152-4637-8495-a6b7c8d9eafb"
PATH = "/usr/sbin:/sbin:/usr/bin:/bin"


def tool(*command):
    program = shutil.which(command[0], path=PATH)
    return subprocess.run([program, *map(str, command[1:])], capture_output=True, text=True, check=True).stdout


def superblock(image):
    return dict(re.findall(r"^(Filesystem [\w ]+): +(.*)$", tool("dumpe2fs", "-h", image), re.MULTILINE))


def test_filesystem_has_its_names_and_files(tmp_path, busybox):
    disk = make_root_disk(tmp_path / "disk", busybox=busybox, uuid=UUID, label="my-root", init_script="#!/x\n")
    found = superblock(disk)
    assert found["Filesystem UUID"] == UUID
    assert found["Filesystem volume name"] == "my-root"
    assert tool("debugfs", "-R", "cat /sbin/init", disk) == "#!/x\n"
    assert "Mode:  0755" in tool("debugfs", "-R", "stat /bin/busybox", disk)
    assert [path.name for path in tmp_path.iterdir()] == ["disk"]


@pytest.mark.parametrize("partuuid", [PARTUUID, "1a2b3c4d-01"])
def test_partition_has_its_uuid_and_holds_the_filesystem(tmp_path, busybox, partuuid):
    disk = make_root_disk(tmp_path / "disk", busybox=busybox, uuid=UUID, partuuid=partuuid)
    listed = tool("sfdisk", "--dump", disk)
    if len(partuuid) == 36:
        assert f"uuid={PARTUUID.upper()}" in listed
    else:
        assert "label-id: 0x1a2b3c4d" in listed
    start, size = (int(re.search(rf"{key}= *(\d+)", listed)[1]) for key in ("start", "size"))
    part = tmp_path / "part"
    part.write_bytes(disk.read_bytes()[start * 512 : (start + size) * 512])
    assert superblock(part)["Filesystem UUID"] == UUID
    tool("e2fsck", "-fn", part)


def test_strange_partuuid_is_refused_and_nothing_is_left(tmp_path, busybox):
    with pytest.raises(TinykmodError, match="xyz"):
        make_root_disk(tmp_path / "disk", busybox=busybox, uuid=UUID, partuuid="xyz")
    assert list(tmp_path.iterdir()) == []


def test_filesystem_that_is_too_small_is_one_line(tmp_path, busybox):
    with pytest.raises(TinykmodError) as caught:
        make_root_disk(tmp_path / "disk", busybox=busybox, uuid=UUID, size_mib=1)
    assert caught.value.which == "mke2fs"
    assert "\n" not in str(caught.value)
