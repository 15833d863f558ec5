"""Compressed modules: told by their first bytes, and never anything but ModuleFormatError for damage."""

from __future__ import annotations

import gzip
import lzma

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tinykmod.errors import ModuleFormatError
from tinykmod.modules.compression import compression, decompress

PLAIN = b"\x7fELF" + bytes(range(256)) * 40


def zstd_without_size(data: bytes) -> bytes:
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(data) + compressor.flush()


COMPRESSED = {
    "gzip": gzip.compress(PLAIN),
    "xz": lzma.compress(PLAIN),
    "xz as for the kernel": lzma.compress(PLAIN, check=lzma.CHECK_CRC32),
    "zstd": zstandard.compress(PLAIN),
    "zstd without size": zstd_without_size(PLAIN),
    "zstd of two frames": zstandard.compress(PLAIN[:999]) + zstd_without_size(PLAIN[999:]),
}


@pytest.mark.parametrize("data", COMPRESSED.values(), ids=COMPRESSED)
def test_the_first_bytes_decide(request: pytest.FixtureRequest, data: bytes) -> None:
    assert compression(data) == request.node.callspec.id.split()[0]
    assert decompress(data, "misnamed.ko") == PLAIN


def test_what_is_not_compressed_comes_back() -> None:
    for data in (PLAIN, b"", b"\x1f", b"BZh9"):
        assert compression(data) == ""
        assert decompress(data, "misnamed.ko.xz") == data


@pytest.mark.parametrize("data", COMPRESSED.values(), ids=COMPRESSED)
def test_every_cut_is_told(data: bytes) -> None:
    # Before the tenth byte some are not even known to be compressed; two zstd frames can be cut between them.
    for size in range(10, len(data)):
        if data[:size] != zstandard.compress(PLAIN[:999]):
            with pytest.raises(ModuleFormatError, match=r"^x\.ko: compressed data are damaged"):
                decompress(data[:size], "x.ko")


@given(data=st.sampled_from(list(COMPRESSED.values())), changes=st.dictionaries(st.integers(0), st.integers(0, 255)))
def test_no_other_exception_comes_out(data: bytes, changes: dict[int, int]) -> None:
    damaged = bytearray(data)
    for place, value in changes.items():
        damaged[place % len(damaged)] = value
    try:
        decompress(bytes(damaged), "x.ko")
    except ModuleFormatError as error:
        assert error.which == "x.ko"
