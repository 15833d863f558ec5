"""tinykmod lsmod beside Debian's."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from beside_kmod import add_loaded, kmod_inside, make_kmod_root, ours

from tinykmod.kmod.loaded import LoadedModule, read_loaded, state_of

LINES = (
    "xfs 1785856 2 - Live 0xffffffffc0a00000",
    "libcrc32c 16384 3 xfs,btrfs,nf_tables, Live 0xffffffffc0900000",
    "a_name_of_more_than_nineteen_characters 123456789012 0 - Live 0x0 (OE)",
    "coming 4096 1 - Loading 0x0",
    "stays 8192 1 libcrc32c,[permanent], Live 0x0",
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_kmod_root(tmp_path)
    for line in LINES:
        add_loaded(root, line)
    return root


def test_the_same_table(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    theirs = kmod_inside(root, "lsmod")
    assert theirs.out.count(b"\n") == 1 + len(LINES)
    assert ours(capfdbinary, "lsmod", "--sysroot", root) == theirs


def test_a_kernel_that_does_not_count(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    add_loaded(root, "eternal 4096 - - Live 0x0")
    theirs = kmod_inside(root, "lsmod")
    assert b"eternal                 4096  -2\n" in theirs.out
    assert ours(capfdbinary, "lsmod", "--sysroot", root) == theirs


def test_no_modules_in_this_kernel(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    (root / "proc/modules").unlink()
    theirs = kmod_inside(root, "lsmod")
    mine = ours(capfdbinary, "lsmod", "--sysroot", root)
    assert (mine.code, mine.out) == (theirs.code, theirs.out) == (1, b"")
    assert mine.err.splitlines() == theirs.err.splitlines()[-1:]


def test_a_word_is_wrong_usage(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert ours(capfdbinary, "lsmod", "--sysroot", root, "xfs").code == kmod_inside(root, "lsmod", "xfs").code == 1


def test_a_copied_table_without_sysfs(tmp_path: Path) -> None:
    """Then the table's own words count."""
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/modules").write_text("".join(f"{line}\n" for line in LINES))
    modules = read_loaded(tmp_path)
    assert modules[1] == LoadedModule("libcrc32c", 16384, 3, ("xfs", "btrfs", "nf_tables"), "live")
    assert modules[3].state == "coming"
    assert modules[4].holders == ("libcrc32c",)


def test_states(root: Path) -> None:
    add_loaded(root, "new 4096 0 - Loading 0x0", initstate="coming")
    (root / "sys/module/kernel_part/parameters").mkdir(parents=True)
    found = [state_of(name, root) for name in ("xfs", "new", "kernel_part", "absent")]
    assert found == ["live", "coming", "coming", ""]


def test_this_kernel(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """Where /proc/modules is, the table; where it is not, the same exit code."""
    done = subprocess.run(["lsmod"], capture_output=True, check=False)
    mine = ours(capfdbinary, "lsmod")
    assert (mine.code, mine.out) == (done.returncode, done.stdout)
