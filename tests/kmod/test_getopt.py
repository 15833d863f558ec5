"""Options as getopt_long(3) takes them, in kmod's tools beside Debian's."""

from __future__ import annotations

from pathlib import Path

import pytest
from beside_kmod import kmod, ours
from make_ko import make_ko
from make_tree import RELEASE, make_tree

Capture = pytest.CaptureFixture[bytes]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = make_tree(tmp_path_factory.mktemp("tree") / "root", {"kernel/lone.ko": {}})
    assert kmod("depmod", "-b", root, RELEASE).code == 0
    return root


@pytest.mark.parametrize(
    "words",
    [
        "-nv -- lone -r", "-D -- lone -x", "-D -- -- lone", "-D lone -- --quiet", "lone -D a=1 -q -- -n", "-D --",
        "-w -r lone", "--wait -r lone", "-D -C -v lone", "-DC-v lone", "-D --config=-v lone", "-D --show-dep lone",
        "--set-v 9 -D lone", "-DqS9 lone", "-R --quiet lone --", "-D lone - a",
    ],
)  # fmt: skip
def test_modprobe(root: Path, capfdbinary: Capture, words: str) -> None:
    given = ("-C", "/dev/null", "-d", root, "-S", RELEASE, *words.split())
    theirs, mine = kmod("modprobe", *given), ours(capfdbinary, "modprobe", *given)
    assert (mine.code, mine.out) == (theirs.code, theirs.out)
    if b"depmod has not been" not in mine.err:
        assert mine.err == theirs.err


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        ("modinfo", "-n -- -m"), ("modinfo", "-- -n x.ko"), ("modinfo", "x.ko -- --"), ("modinfo", "-F -n x.ko"),
        ("modinfo", "x.ko -F -- -0"), ("modinfo", "-0Fname x.ko"), ("insmod", "-- -s"), ("insmod", "-- --"),
        ("rmmod", "-- -s --"), ("rmmod", "no-such -v -- --x"),
    ],
)  # fmt: skip
def test_the_others(
    tool: str, words: str, root: Path, tmp_path: Path, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.ko").write_bytes(make_ko([("license", "GPL")]))
    base = ("-b", root, "-k", RELEASE) if tool == "modinfo" else ()
    theirs, mine = kmod(tool, *base, *words.split()), ours(capfdbinary, tool, *base, *words.split())
    # libkmod says the same as rmmod itself.
    assert mine == theirs._replace(
        err=b"".join(line for line in theirs.err.splitlines(True) if b"libkmod" not in line)
    )


def test_depmod(root: Path, capfdbinary: Capture) -> None:
    given = ("-n", "-ruq", "--unresolved-error", "-b", root, "-C", "-a", "--", RELEASE)
    assert (
        ours(capfdbinary, "depmod", *given).out.splitlines()[0]
        == kmod("depmod", *given).out.splitlines()[0]
        == b"kernel/lone.ko:"
    )
    for tool in (kmod, lambda *words: ours(capfdbinary, *words)):
        refused = tool("depmod", "-n", "-b", root, "--", "-v")
        assert refused.code == 1
        assert b"-v" in refused.err


@pytest.mark.parametrize("tool", ["depmod", "modprobe", "modinfo", "lsmod", "insmod", "rmmod", "static-nodes"])
@pytest.mark.parametrize("words", ["-Z", "--no-such", "--version=1"])
def test_wrong_usage_is_one_line(tool: str, words: str, capfdbinary: Capture) -> None:
    mine = ours(capfdbinary, tool, words)
    assert (mine.code, mine.out, mine.err.count(b"\n")) == (1, b"", 1)
    assert mine.err.startswith(f"tinykmod {tool}: ".encode())
    assert mine.err.endswith(f"; see tinykmod {tool} --help\n".encode())
