"""`tinykmod blkid` of the loader, which reads superblocks and partition tables as PID 1 does, beside libblkid."""

from __future__ import annotations

import json
import re
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from filesystems import FILESYSTEMS, SBIN, UUID, make_filesystems
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from once import once

#: Those whose superblock has a checksum.
CHECKED = {"ext4", "xfs", "xfs-4k", "btrfs", "exfat"}

Seen = dict[str, str]
Blkid = Callable[..., list[Seen]]


@pytest.fixture(scope="session")
def images(shared_dir: Path) -> Path:
    """A directory of filesystem images, one for each of FILESYSTEMS."""

    return once(shared_dir / "filesystems", make_filesystems)


@pytest.fixture(scope="session")
def blkid(fake_loader: Path) -> Blkid:
    """blkid(*files): what the loader prints, a dict a line; "file" is what stands in front of the colon."""

    def run(*files: Path) -> list[Seen]:
        done = subprocess.run([fake_loader, "blkid", *files], capture_output=True, check=False)
        # 2: nothing that is known; a signal is negative.
        assert done.returncode in {0, 2}
        assert done.stderr == b""
        return [_line(line) for line in done.stdout.decode(errors="surrogateescape").splitlines()]

    return run


def _line(text: str) -> Seen:
    name, _, rest = text.partition(": ")
    words = re.findall(r'([A-Z]+)="((?:[^"\\]|\\.)*)"', rest)
    assert "".join(f' {key}="{value}"' for key, value in words) == f" {rest}"
    return {"file": name, **{key: re.sub(r"\\(.)", r"\1", value) for key, value in words}}


def _tool(name: str) -> str:
    found = shutil.which(name, path=SBIN)
    assert found, name
    return found


def libblkid(path: Path, *words: str) -> Seen:
    """TYPE, UUID and LABEL by libblkid's low-level probe."""
    done = subprocess.run([_tool("blkid"), "-p", *words, "-o", "udev", path], capture_output=True, check=False)
    found = dict(line.split("=", 1) for line in done.stdout.decode(errors="surrogateescape").splitlines())
    keys = {"TYPE": "ID_FS_TYPE", "UUID": "ID_FS_UUID_ENC", "LABEL": "ID_FS_LABEL_ENC"}
    return {ours: _unescaped(found[theirs]) for ours, theirs in keys.items() if theirs in found}


def _unescaped(text: str) -> str:
    return re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), text)


def superblock(seen: Seen) -> Seen:
    return {key: seen[key] for key in ("TYPE", "UUID", "LABEL") if key in seen}


@pytest.mark.parametrize("name", FILESYSTEMS)
def test_superblock_is_read_as_libblkid_reads_it(images: Path, blkid: Blkid, name: str) -> None:
    [ours] = blkid(images / name)
    assert superblock(ours) == libblkid(images / name)
    assert ours["TYPE"] == {"fat": "vfat"}.get(name[:3], name.partition("-")[0])
    assert ("LABEL" in ours) == (re.search(" -(L|l|n|V) ", FILESYSTEMS[name][1]) is not None)


def test_nothing_known_is_code_2(fake_loader: Path, tmp_path: Path) -> None:
    path = tmp_path / "zeros"
    path.write_bytes(bytes(1 << 20))
    absent = tmp_path / "absent"
    for file, said in ((path, ""), (absent, f"tinykmod: {absent}: No such file or directory\n")):
        done = subprocess.run([fake_loader, "blkid", file], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def front(path: Path) -> bytes:
    """What tells a filesystem: no reader looks behind it but into the directories of FAT and exFAT."""
    with path.open("rb") as file:
        return file.read(160 << 10)


def test_truncated_image_is_known_when_libblkid_knows_it(images: Path, blkid: Blkid, tmp_path: Path) -> None:
    lengths = (0, 511, 512, 1024, 1500, 4095, 4096, 34000, 65600, 69632)
    files = []
    for name in FILESYSTEMS:
        data = front(images / name)
        for length in lengths:
            path = tmp_path / f"{name}@{length}"
            path.write_bytes(data[:length])
            files.append(path)
    ours = {Path(seen["file"]).name: superblock(seen) for seen in blkid(*files)}
    known = 0
    for path in files:
        seen = ours.get(path.name, {})
        theirs = libblkid(path)
        # libblkid wants more of some filesystems to be there than their superblock, and sees labels less often then.
        if seen and theirs:
            assert seen["TYPE"] == theirs["TYPE"]
            assert seen.get("UUID") == theirs.get("UUID")
            known += 1
        if int(path.name.partition("@")[2]) < 512:
            assert not seen
    assert known > len(FILESYSTEMS)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_image_is_told_or_not_known(images: Path, blkid: Blkid, tmp_path: Path, data: st.DataObject) -> None:
    """Bytes changed anywhere in what is read: never a crash; where there is a checksum, never another answer."""
    name = data.draw(st.sampled_from(sorted(FILESYSTEMS)))
    whole = front(images / name)
    [before] = blkid(images / name)
    ranges = ((0, 512), (1024, 2100), (65536, 65536 + 700), (32768, 32768 + 900), (0, len(whole)))
    spots = st.one_of(*(st.integers(*ends) for ends in ranges)).filter(lambda at: at < len(whole))
    changes = st.lists(st.tuples(spots, st.integers(1, 255)), min_size=1, max_size=6)
    files = []
    for number, variant in enumerate(data.draw(st.lists(changes, min_size=8, max_size=8))):
        image = bytearray(whole)
        for at, flip in variant:
            image[at] ^= flip
        files.append(tmp_path / f"damaged{number}")
        files[-1].write_bytes(image)
    for seen in blkid(*files):
        if name in CHECKED and seen.get("TYPE") == before["TYPE"]:
            assert seen.get("UUID") == before.get("UUID")
            # exFAT's label is an entry of a directory.
            assert name == "exfat" or superblock(seen) == superblock(before)


@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_wild_numbers_are_not_followed(images: Path, blkid: Blkid, tmp_path: Path, data: st.DataObject) -> None:
    """Fields of 4 bytes at their extremes, in those formats that have offsets to follow."""
    name = data.draw(st.sampled_from(["fat12", "fat16", "fat32", "exfat", "iso9660-joliet", "f2fs"]))
    extremes = st.sampled_from([0, 1, 2, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFF])
    changes = st.lists(st.tuples(st.integers(11, 128), extremes), min_size=1, max_size=4)
    files = []
    for number, variant in enumerate(data.draw(st.lists(changes, min_size=8, max_size=8))):
        image = bytearray(front(images / name))
        for at, value in variant:
            image[at : at + 4] = struct.pack("<I", value)
        if name == "exfat":
            image[0x1600 : 0x1600 + 512] = struct.pack("<I", _exfat_sum(image)) * 128
        files.append(tmp_path / f"wild{number}")
        files[-1].write_bytes(image)
    blkid(*files)


def _exfat_sum(image: bytes) -> int:
    total = 0
    for at, byte in enumerate(image[: 11 * 512]):
        if at not in {106, 107, 112}:
            total = ((total << 31 | total >> 1) + byte) & 0xFFFFFFFF
    return total


def test_raid_member_is_no_filesystem(images: Path, blkid: Blkid, tmp_path: Path) -> None:
    """Metadata 1.0 and 0.90 lie behind what looks like a filesystem of its own."""
    size = 8 << 20
    for at in ((size // 512 - 16) * 512, size - (64 << 10)):
        path = tmp_path / "member"
        shutil.copy(images / "ext4", path)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(struct.pack("<I", 0xA92B4EFC))
        [seen] = blkid(path)
        assert superblock(seen) == {"TYPE": "linux_raid_member"}


def test_luks_and_lvm_are_named(blkid: Blkid, tmp_path: Path) -> None:
    luks, lvm = tmp_path / "luks", tmp_path / "lvm"
    luks.write_bytes((b"LUKS\xba\xbe\0\2".ljust(168, b"\0") + UUID.encode()).ljust(8192, b"\0"))
    lvm.write_bytes((bytes(512) + b"LABELONE".ljust(24, b"\0") + b"LVM2 001").ljust(8192, b"\0"))
    assert [superblock(seen) for seen in blkid(luks, lvm)] == [
        {"TYPE": "crypto_LUKS", "UUID": UUID}, {"TYPE": "LVM2_member"}
    ]  # fmt: skip


TABLES = {
    "gpt": 'label: gpt\nsize=4MiB, type=uefi, name="EFI é"\nsize=4MiB, name="root of it"\nstart=20MiB, size=4MiB\n',
    "gpt-holes": "label: gpt\n/dev/x3: size=4MiB\n/dev/x9: size=4MiB, name=nine\n",
    "mbr": "label: dos\nlabel-id: 0x1a2b3c4d\nsize=4MiB\nsize=2MiB\nsize=1MiB\n",
    "mbr-logical": "label: dos\nlabel-id: 0x0a2b3c4d\nsize=4MiB\ntype=5,size=22MiB\nsize=1MiB\nsize=1MiB\n"
                   "size=4MiB\nsize=4MiB\nsize=4MiB\n",
}  # fmt: skip


@pytest.fixture
def table(tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        path = tmp_path / name
        with path.open("wb") as file:
            file.truncate(32 << 20)
        subprocess.run([_tool("sfdisk"), "-q", path], input=TABLES[name], text=True, check=True, capture_output=True)
        return path

    return make


@pytest.mark.parametrize("name", TABLES)
def test_partitions_are_those_of_sfdisk(images: Path, blkid: Blkid, table: Callable, name: str) -> None:
    path = table(name)
    dumped = json.loads(
        subprocess.run([_tool("sfdisk"), "-J", path], capture_output=True, check=True).stdout
    )["partitiontable"]  # fmt: skip
    with path.open("r+b") as file:
        file.seek(dumped["partitions"][-1]["start"] * 512)
        file.write((images / "fat12").read_bytes()[: 1 << 20])
    disk, *found = blkid(path)
    assert disk == {"file": str(path), "PTTYPE": "gpt" if name.startswith("gpt") else "dos"}
    expected = []
    for entry in dumped["partitions"]:
        number = int(entry["node"].removeprefix(str(path)))
        seen = {"file": f"{path}#{number}"}
        if "uuid" in entry:
            seen["PARTUUID"] = entry["uuid"].lower()
            # sfdisk writes what is not ASCII as bytes in hexadecimal.
            if entry.get("name"):
                raw = re.sub(r"\\x(..)", lambda match: chr(int(match[1], 16)), entry["name"])
                seen["PARTLABEL"] = raw.encode("latin-1").decode() if "\\x" in entry["name"] else raw
        else:
            seen["PARTUUID"] = f"{dumped['id'].removeprefix('0x')}-{number:02x}"
        expected.append(seen)
    expected[-1] |= libblkid(images / "fat12")
    assert found == expected


def test_damaged_gpt_gives_way_to_its_copy(blkid: Blkid, table: Callable) -> None:
    path = table("gpt")
    whole = blkid(path)
    # The header's checksum, a byte of the header, a byte of the entries.
    for at in (512 + 16, 512 + 40, 1024 + 60, 1024 + 127):
        data = bytearray(path.read_bytes())
        data[at] ^= 0x10
        path.write_bytes(data)
        assert blkid(path) == whole
    with path.open("r+b") as file:
        file.seek((32 << 20) - 512)
        file.write(bytes(512))
    assert blkid(path) == []


def test_gpt_that_the_mbr_does_not_announce_does_not_count(blkid: Blkid, table: Callable) -> None:
    """A disk that got an MBR after its GPT: the kernel goes by the MBR."""
    path = table("gpt")
    data = bytearray(path.read_bytes())
    data[446 + 4] = 0x83
    data[440:444] = b"\4\3\2\1"
    path.write_bytes(data)
    disk, *parts = blkid(path)
    assert disk["PTTYPE"] == "dos"
    assert [part["PARTUUID"] for part in parts] == ["01020304-01"]


def test_gpt_of_4096_byte_sectors(blkid: Blkid, table: Callable) -> None:
    """As a disk of such sectors has it: the header in the second of them, the entries from the third on."""
    path = table("gpt")
    data = path.read_bytes()
    entries = bytearray(data[1024 : 1024 + 128 * 128])
    for at in (0, 128, 256):
        first, last = struct.unpack_from("<QQ", entries, at + 32)
        struct.pack_into("<QQ", entries, at + 32, first // 8, (last + 1) // 8 - 1)
    header = bytearray(data[512:604])
    struct.pack_into("<I", header, 88, zlib.crc32(entries))
    struct.pack_into("<I", header, 16, 0)
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    before = blkid(path)
    image = bytearray(len(data))
    image[:512], image[4096 : 4096 + 92], image[8192 : 8192 + len(entries)] = data[:512], header, entries
    path.write_bytes(image)
    assert blkid(path) == before


@settings(max_examples=15, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_tables_end(blkid: Blkid, table: Callable, tmp_path: Path, data: st.DataObject) -> None:
    """Chains that lead in a circle or beyond the end: the reading ends."""
    name = data.draw(st.sampled_from(["mbr", "mbr-logical"]))
    path = tmp_path / name
    whole = (path if path.exists() else table(name)).read_bytes()
    # The table, and the three sectors that hold logical partitions.
    links = [446 + at for at in range(64)] + [i * 512 + 446 + at for i in (10240, 12288, 14336) for at in range(32)]
    changes = st.lists(st.tuples(st.sampled_from(links), st.integers(0, 255)), min_size=1, max_size=8)
    files = []
    for number, variant in enumerate(data.draw(st.lists(changes, min_size=4, max_size=4))):
        files.append(tmp_path / f"damaged{number}")
        with files[-1].open("wb") as file:
            file.truncate(len(whole))
            for sector in (0, 10240, 12288, 14336):
                file.seek(sector * 512)
                file.write(whole[sector * 512 : (sector + 1) * 512])
            for at, byte in variant:
                file.seek(at)
                file.write(bytes([byte]))
    assert len(blkid(*files)) <= 4 * (1 + 4 + 128)
