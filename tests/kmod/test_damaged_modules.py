"""A module file that is cut short or has flipped bytes: depmod and modinfo answer, or one line names the file."""

from __future__ import annotations

import gzip
import lzma
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
import zstandard
from beside_kmod import Ran, ours
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_ko import make_ko
from make_tree import RELEASE, make_tree

from tinykmod import core
from tinykmod.bench.debian import Kernel

TOO_LONG = 60  # seconds, for what takes some milliseconds
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes, ".xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32), ".gz": gzip.compress,
    ".zst": zstandard.compress,
}  # fmt: skip


@pytest.fixture(scope="module")
def wholes(kernel: Kernel) -> list[Path]:
    """Small modules of Debian's, signed, with symbols of all kinds."""
    return [next(kernel.root.rglob(f"{name}.ko")) for name in ("dummy", "crc-itu-t", "ansi_cprng")]


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["extension", "twin"])
def either_core(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "twin":
        monkeypatch.setattr(core, "extension", None)


def damage(data: st.DataObject, wholes: list[Path], compress: Callable[[bytes], bytes]) -> bytes:
    """A module, flipped before or after it was compressed, or cut short."""
    whole = bytearray(data.draw(st.sampled_from(wholes)).read_bytes())
    inside = data.draw(st.booleans())
    for packed in (False, True):
        if packed:
            whole = bytearray(compress(bytes(whole)))
        if inside is not packed:
            # What a reader looks at first and last is most of what it looks at.
            end = len(whole) - 1
            places = st.integers(0, end) | st.integers(0, min(80, end)) | st.integers(max(0, end - 3000), end)
            for place in data.draw(st.lists(places, max_size=3)):
                whole[place] ^= data.draw(st.integers(1, 255))
    return bytes(whole[: data.draw(st.just(len(whole)) | st.integers(0, len(whole)))])


def check(ran: Ran, file: Path, said: bytes) -> bool:
    """Whether the file was taken; else one line names it."""
    if ran.code == 0:
        return True
    assert (ran.code, ran.err.count(b"\n")) == (1, 1)
    assert ran.err.startswith(said + bytes(file) + b": ")
    return False


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.usefixtures("either_core")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_an_answer_or_one_line(
    wholes: list[Path], capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, suffix: str, data: st.DataObject
) -> None:
    root = tmp_path / "root"
    file = root / "lib/modules" / RELEASE / f"kernel/x.ko{suffix}"
    if not root.exists():
        make_tree(root, {"kernel/good.ko": {"modinfo": [("alias", "good")]}})
    file.write_bytes(damage(data, wholes, COMPRESS[suffix]))
    signal.alarm(TOO_LONG)
    check(ours(capfdbinary, "modinfo", file), file, b"modinfo: ERROR: ")
    (file.parents[1] / "modules.dep").write_text("old")
    if check(ours(capfdbinary, "depmod", "-b", root, RELEASE), file, b"depmod: ERROR: "):
        assert b"kernel/good.ko:" in (file.parents[1] / "modules.dep").read_bytes()
    else:
        assert (file.parents[1] / "modules.dep").read_text() == "old"


@pytest.mark.parametrize("suffix", COMPRESS)
def test_every_cut_is_told(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, suffix: str) -> None:
    file = tmp_path / f"x.ko{suffix}"
    whole = COMPRESS[suffix](make_ko([("license", "GPL")], {"one": 1}, ["two"]))
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        assert not check(ours(capfdbinary, "modinfo", file), file, b"modinfo: ERROR: ")
