"""The newc archive, held against Debian's cpio."""

from __future__ import annotations

import io
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinykmod.errors import TinykmodError
from tinykmod.image import cpio

ENTRIES = [
    cpio.directory("dir"),
    cpio.character_device("dir/console", 5, 1, 0o600),
    cpio.regular("dir/empty", b""),
    cpio.regular("dir/five", b"12345", 0o755),
    cpio.symlink("dir/link", "../init"),
    cpio.regular("init", b"\0" * 4096),
]


def archive(entries: list[cpio.Entry], mtime: int = 0) -> bytes:
    out = io.BytesIO()
    cpio.write(out, entries, mtime)
    return out.getvalue()


paths = st.from_regex(r"[a-zA-Z0-9._-]{1,20}(/[a-zA-Z0-9._\u00e4-]{1,40}){0,3}", fullmatch=True)
entry = st.builds(
    cpio.Entry,
    paths.filter(lambda path: path != cpio.TRAILER),
    st.sampled_from([stat.S_IFREG | 0o644, stat.S_IFDIR | 0o1777, stat.S_IFLNK | 0o777]),
    st.binary(max_size=70),
    st.tuples(st.integers(0, 4095), st.integers(0, 1 << 20)),
)


@given(st.lists(entry, max_size=8))
def test_reading_gives_what_was_written(entries: list[cpio.Entry]) -> None:
    assert list(cpio.read(archive(entries))) == entries


def test_every_file_begins_at_a_multiple_of_four() -> None:
    for length in range(9):
        entries = [cpio.regular("x" * length, b"PAYLOAD!"), cpio.regular("y", b"payload." * length)]
        data = archive(entries)
        assert data.index(b"PAYLOAD!") % 4 == 0
        assert len(data) % 4 == 0


def test_debians_cpio_unpacks_it(tmp_path: Path) -> None:
    data = archive(ENTRIES)
    subprocess.run(["cpio", "-idm", "--quiet", "--nonmatching", "dir/console"], input=data, cwd=tmp_path, check=True)
    assert (tmp_path / "dir/five").read_bytes() == b"12345"
    assert stat.S_IMODE((tmp_path / "dir/five").stat().st_mode) == 0o755
    assert (tmp_path / "dir/empty").stat().st_size == 0
    assert (tmp_path / "dir/link").readlink() == Path("../init")
    assert (tmp_path / "init").read_bytes() == b"\0" * 4096


def test_debians_cpio_lists_times_owners_and_devices() -> None:
    listing = subprocess.run(
        ["cpio", "-itvn", "--quiet"], input=archive(ENTRIES, 86400 * 366), capture_output=True, check=True,
        env={"PATH": "/usr/bin:/bin", "TZ": "UTC", "LC_ALL": "C"},
    ).stdout.decode()  # fmt: skip
    lines = {line.split(" -> ")[0].split()[-1]: line.split() for line in listing.splitlines()}
    assert list(lines) == [entry.path for entry in ENTRIES]
    assert lines["dir/console"][:6] == ["crw-------", "1", "0", "0", "5,", "1"]
    assert lines["init"] == ["-rw-r--r--", "1", "0", "0", "4096", "Jan", "2", "1971", "init"]


def test_each_inode_number_is_used_once() -> None:
    data = archive(ENTRIES)
    starts = [at for at in range(0, len(data), 4) if data.startswith(cpio.MAGIC, at)]
    inodes = [int(data[at + 6 : at + 14], 16) for at in starts]
    assert inodes == [*range(1, len(ENTRIES) + 1), 0]


@pytest.mark.parametrize("length", range(0, len(archive(ENTRIES)) - 4, 37))
def test_a_cut_archive_is_refused(length: int) -> None:
    with pytest.raises(TinykmodError):
        list(cpio.read(archive(ENTRIES)[:length]))


def test_what_is_no_archive_is_refused() -> None:
    with pytest.raises(TinykmodError, match="no newc header at byte 0"):
        list(cpio.read(b"070702" + archive(ENTRIES)[6:]))
    with pytest.raises(TinykmodError, match="no newc header at byte 0"):
        list(cpio.read(archive(ENTRIES)[:6] + b"not hexa" + archive(ENTRIES)[14:]))
