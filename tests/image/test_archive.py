"""Reading images back: what the kernel would unpack, whatever made it, and nothing of what it would refuse."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import lz4.block
import pytest
import zstandard

from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.archive import Part, read_image


def legacy_lz4(data: bytes, end: bytes = b"") -> bytes:
    """As `lz4 -l` writes it: the only LZ4 frame that the kernel knows."""
    out = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), 8 << 20):
        block = lz4.block.compress(data[at : at + (8 << 20)], store_size=False)
        out += struct.pack("<I", len(block)) + block
    return out + end


PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "lzma": lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),
    "lz4": legacy_lz4,
    "zstd": zstandard.compress,
}


def archive(*entries: cpio.Entry) -> bytes:
    out = io.BytesIO()
    cpio.write(out, entries)
    return out.getvalue()


def image(tmp_path: Path, data: bytes) -> Path:
    (tmp_path / "image").write_bytes(data)
    return tmp_path / "image"


EARLY = archive(cpio.directory("kernel"), cpio.regular("kernel/microcode.bin", b"m" * 1001))
MAIN = archive(
    cpio.directory("."), cpio.directory("./etc"), cpio.regular("/etc/x", b"abc"), cpio.symlink("y", "etc/x")
)


@pytest.mark.parametrize("name", PACK)
def test_an_early_archive_and_one_compressed_somehow(tmp_path: Path, name: str) -> None:
    packed = PACK[name](MAIN)
    found = read_image(image(tmp_path, EARLY + b"\0" * 508 + packed + b"\0" * 3))
    assert list(found.entries) == ["kernel", "kernel/microcode.bin", "etc", "etc/x", "y"]
    assert found.entries["etc/x"] == cpio.regular("etc/x", b"abc")
    assert found.parts == [Part("", len(EARLY), len(EARLY)), Part(name, len(packed), len(MAIN))]


@pytest.mark.parametrize("name", PACK)
def test_several_streams_and_what_is_last_counts(tmp_path: Path, name: str) -> None:
    later = archive(cpio.regular("etc/x", b"new")) + b"\0" * 8 + archive(cpio.regular("z", b""))
    # The lz4 that the kernel reads has no end but a size of 0.
    end = b"\0" * 4 if name == "lz4" else b""
    data = PACK[name](MAIN) + end + PACK[name](later)
    found = read_image(image(tmp_path, data))
    assert list(found.entries) == ["etc", "etc/x", "y", "z"]
    assert found.entries["etc/x"].data == b"new"


def test_lz4_in_several_blocks_and_frames(tmp_path: Path) -> None:
    large = os.urandom(1 << 20) + b"x" * (20 << 20)
    data = legacy_lz4(archive(cpio.regular("large", large)))
    assert read_image(image(tmp_path, data)).entries["large"].data == large
    half = len(MAIN) // 2
    data = legacy_lz4(MAIN[:half]) + legacy_lz4(MAIN[half:])
    assert read_image(image(tmp_path, data)).entries["y"].data == b"etc/x"


def test_what_debians_cpio_makes_of_a_file_with_two_names(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"contents")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    names = "one\0two\0"
    data = subprocess.run(["cpio", "-o", "-0", "-H", "newc", "--quiet"], input=names.encode(), cwd=tmp_path,
                          capture_output=True, check=True).stdout  # fmt: skip
    assert data.count(b"contents") == 1
    found = read_image(image(tmp_path, data)).entries
    assert {path: entry.data for path, entry in found.items()} == {"one": b"contents", "two": b"contents"}


@pytest.mark.parametrize("name", PACK)
def test_what_is_cut_short_is_refused(tmp_path: Path, name: str) -> None:
    data = PACK[name](MAIN)
    for length in range(1, len(data) - 4, 7):
        with pytest.raises(TinykmodError, match=r"/image"):
            read_image(image(tmp_path, data[:length]))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "holds no archive"),
        (b"\0" * 512, "holds no archive"),
        (b"#!/bin/sh\n", "no newc header at byte 0"),
        (b"070707" + MAIN[6:], "no newc header at byte 0"),
        (MAIN + b"junk", f"no newc header at byte {len(MAIN)}"),
        (b"\0" + MAIN, "byte 1, which is no multiple of 4"),
        (gzip.compress(MAIN + b"junk"), f"within gzip: no newc header at byte {len(MAIN)}"),
        (gzip.compress(gzip.compress(MAIN)), "within gzip: no newc header at byte 0"),
        (b"\x89LZO\0" + MAIN, "compressed with lzo, which is not read here"),
        (PACK["xz"](MAIN)[:40] + b"\xff" * 8 + PACK["xz"](MAIN)[48:], "xz data at byte 0 are damaged: "),
        (PACK["zstd"](MAIN)[:8] + b"\xff" * 90, "zstd data at byte 0 are damaged: "),
        (b"\x02\x21\x4c\x18" + struct.pack("<I", 9) + b"\xff" * 9, "lz4 data at byte 0 are damaged: "),
    ],
)
def test_what_the_kernel_would_refuse_is_one_clear_error(tmp_path: Path, data: bytes, why: str) -> None:
    with pytest.raises(TinykmodError) as error:
        read_image(image(tmp_path, data))
    assert why in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "image"))
