"""tinykmod insmod: what it hands to the kernel, and its words beside Debian's."""

from __future__ import annotations

import errno
import gzip
import lzma
from pathlib import Path

import pytest
import zstandard
from beside_kmod import Ran, kmod, ours
from make_ko import make_ko

from tinykmod.cli import insmod
from tinykmod.kmod import insert
from tinykmod.kmod.system import (
    MODULE_INIT_COMPRESSED_FILE,
    MODULE_INIT_IGNORE_MODVERSIONS,
    MODULE_INIT_IGNORE_VERMAGIC,
)

IMAGE = make_ko(modinfo=[("license", "GPL")])
COMPRESS = {"gz": gzip.compress, "xz": lzma.compress, "zst": zstandard.compress}


class Kernel:
    """Records what is loaded; finit_module answers `file`, init_module answers `image`."""

    def __init__(self, file: int = 0, image: int = 0) -> None:
        self.file, self.image = file, image
        self.calls: list[tuple[object, ...]] = []

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        self.calls.append((path.name, options, flags))
        return self.file

    def init_module(self, image: bytes, options: str) -> int:
        self.calls.append((image, options))
        return self.image


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.ko").write_bytes(IMAGE)
    for suffix, compress in COMPRESS.items():
        (tmp_path / f"m.ko.{suffix}").write_bytes(compress(IMAGE))
    return tmp_path


def run(capture: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, kernel: Kernel, *words: str) -> Ran:
    monkeypatch.setattr(insmod, "Linux", lambda: kernel)
    return ours(capture, "insmod", *words)


@pytest.mark.parametrize(
    ("words", "call"),
    [
        (("m.ko",), ("m.ko", "", 0)),
        (("m.ko", "a=1", "b=c d", "flag"), ("m.ko", "a=1 b=c d flag", 0)),
        (("-f", "m.ko"), ("m.ko", "", MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC)),
        (("m.ko.xz", "a=1"), ("m.ko.xz", "a=1", MODULE_INIT_COMPRESSED_FILE)),
    ],
)
@pytest.mark.usefixtures("files")
def test_what_the_kernel_gets(
    capfdbinary: pytest.CaptureFixture[bytes],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    call: tuple[str, str, int],
) -> None:
    kernel = Kernel()
    assert run(capfdbinary, monkeypatch, kernel, *words) == (0, b"", b"")
    assert kernel.calls == [call]


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("answer", insert.NOT_DECOMPRESSED)
def test_a_kernel_that_does_not_decompress(files: Path, suffix: str, answer: int) -> None:
    kernel = Kernel(answer)
    assert insert.insert(kernel, files / f"m.ko.{suffix}", "a=1") == 0  # type: ignore[arg-type]
    assert kernel.calls[1:] == [(IMAGE, "a=1")]


def test_what_is_refused_is_not_tried_twice(files: Path) -> None:
    for name, answer, flags in (("m.ko", -errno.EINVAL, 0), ("m.ko.xz", -errno.EKEYREJECTED, 0),
                                ("m.ko.xz", -errno.EOPNOTSUPP, 1)):  # fmt: skip
        kernel = Kernel(answer)
        assert insert.insert(kernel, files / name, "", flags) == answer  # type: ignore[arg-type]
        assert len(kernel.calls) == 1


@pytest.mark.parametrize(
    ("number", "why"),
    [
        (errno.ENOEXEC, "Invalid module format"),
        (errno.ENOENT, "Unknown symbol in module"),
        (errno.ESRCH, "Module has wrong symbol version"),
        (errno.EINVAL, "Invalid parameters"),
        (errno.EEXIST, "File exists"),
        (errno.ENOSYS, "Function not implemented"),
    ],
)
@pytest.mark.usefixtures("files")
def test_the_kernels_refusal(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, number: int, why: str
) -> None:
    mine = run(capfdbinary, monkeypatch, Kernel(-number), "m.ko")
    assert mine[:2] == (1, b"")
    # kmod's line, then what was found out.
    first, *cause = mine.err.decode().splitlines()
    assert first == f"insmod: ERROR: could not insert module m.ko: {why}"
    assert [line[:18] for line in cause] == ["insmod: ERROR: m: "] * (number not in (errno.ENOSYS, errno.ESRCH))


@pytest.mark.parametrize(
    "words",
    [(), ("absent.ko",), ("absent/m.ko", "a=1"), ("-",), ("",), ("m.ko/m.ko",), (".",), ("-p", "absent.ko")],
    ids=str,
)
def test_the_same_words_as_kmod(
    files: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    theirs = kmod("insmod", *words, cwd=files)
    assert theirs.code == 1
    assert run(capfdbinary, monkeypatch, Kernel(), *words) == theirs


def test_damaged_compression(
    files: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    (files / "m.ko.xz").write_bytes(lzma.compress(IMAGE)[:-30])
    mine = run(capfdbinary, monkeypatch, Kernel(-errno.EINVAL), "m.ko.xz")
    assert mine.code == 1
    assert mine.err.startswith(b"insmod: ERROR: m.ko.xz: compressed data are damaged")


@pytest.mark.usefixtures("files")
def test_verbose(capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(capfdbinary, monkeypatch, Kernel(), "-v", "m.ko", "a=1") == (0, b"insmod m.ko a=1\n", b"")
