"""tinykmod static-nodes beside kmod's."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from beside_kmod import Ran, kmod_inside, make_kmod_root, ours

from tinykmod.kmod.static_nodes import FORMATS, Node, read_nodes

ODD = """\
# a comment
cuse cuse c10:203
  foo   deep/er/sp\tc1:3 more
b loop0 b7:256

x
m l
q z c0x10:010
n n x1:2
n n c1
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_kmod_root(tmp_path)
    (root / "lib/modules" / os.uname().release).mkdir(parents=True)
    return root


def devname(root: Path) -> Path:
    return root / "lib/modules" / os.uname().release / "modules.devname"


def theirs(root: Path, form: str) -> Ran:
    """kmod's answer; its standard output would be /dev/stdout, which the root has not."""
    done = kmod_inside(root, "kmod", "static-nodes", "-f", form, "-o", "/out")
    return done._replace(out=(root / "out").read_bytes())


@pytest.mark.parametrize("form", FORMATS)
def test_of_a_real_kernel(
    root: Path, depmod_root: Path, capfdbinary: pytest.CaptureFixture[bytes], form: str
) -> None:
    [real] = depmod_root.glob("lib/modules/*/modules.devname")
    devname(root).write_bytes(real.read_bytes())
    expected = theirs(root, form)
    assert expected.out.count(b"\n") > 15
    assert ours(capfdbinary, "static-nodes", "-f", form, "-b", root) == expected
    release = real.parent.name
    assert ours(capfdbinary, "static-nodes", "-f", form, "-b", depmod_root, "-k", release) == expected


@pytest.mark.parametrize("form", FORMATS)
def test_odd_lines(root: Path, capfdbinary: pytest.CaptureFixture[bytes], form: str) -> None:
    devname(root).write_text(ODD)
    expected = theirs(root, form)
    assert expected.code == 1
    assert expected.err.count(b"invalid devname entry") == 6
    assert ours(capfdbinary, "static-nodes", "-f", form, "-b", root) == expected


def test_a_tree_below_usr(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    """An image may have /usr/lib/modules without the link /lib."""
    directory = tmp_path / "usr/lib/modules/9"
    directory.mkdir(parents=True)
    (directory / "modules.devname").write_text("cuse cuse c10:203\n")
    mine = ours(capfdbinary, "static-nodes", "-f", "devname", "-b", tmp_path, "-k", "9")
    assert mine == (0, b"cuse cuse c10:203\n", b"")


def test_what_would_lead_out_of_dev() -> None:
    text = "a /etc/passwd c1:1\nb ../etc/x c1:1\nc d/../../x c1:1\nd a..b c1:1\n"
    assert read_nodes(text) == ([Node("d", "a..b", "c", 1, 1)], text.splitlines()[:3])


def test_no_file(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    done = kmod_inside(root, "kmod", "static-nodes", "-o", "/out")
    mine = ours(capfdbinary, "static-nodes", "-b", root, "-o", root / "mine")
    assert (mine.code, mine.out) == (done.code, done.out) == (0, b"")
    assert mine.err == done.err.replace(b"/lib/modules", f"{root}/lib/modules".encode())
    assert not (root / "out").exists()
    assert not (root / "mine").exists()


def test_into_a_file(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    devname(root).write_text("cuse cuse c10:203\n")
    words = ("static-nodes", "-f", "devname", "-b", root, "-o")
    out = root / "made/here/out"
    assert ours(capfdbinary, *words, out) == (0, b"", b"")
    assert out.read_text() == "cuse cuse c10:203\n"
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    link = root / "link"
    link.symlink_to(out)
    devname(root).write_text("")
    assert ours(capfdbinary, *words, link) == (0, b"", b"")
    assert (link.is_symlink(), out.read_text()) == (True, "")
    assert ours(capfdbinary, *words, "/dev/null") == (0, b"", b"")
    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_an_unknown_format(root: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    done = kmod_inside(root, "kmod", "static-nodes", "-f", "odd")
    assert ours(capfdbinary, "static-nodes", "-f", "odd").code == done.code == 1
