"""tinykmod rmmod: what it refuses is refused in Debian's words, and what it asks of the kernel."""

from __future__ import annotations

import argparse
import errno
import os
import threading
import time
from pathlib import Path

import pytest
from beside_kmod import add_loaded, kmod_inside, make_kmod_root, ours

from tinykmod.cli import rmmod
from tinykmod.errors import BinIndexError
from tinykmod.kmod.lookup import ModuleFiles


class Kernel:
    """Records what is removed; `answers` has what delete_module gives, by name, where it is not 0."""

    def __init__(self, **answers: int) -> None:
        self.answers = answers
        self.removed: list[tuple[str, int]] = []

    def delete_module(self, name: str, flags: int) -> int:
        self.removed.append((name, flags))
        return self.answers.get(name, 0)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_kmod_root(tmp_path)
    for line in (
        "free_one 4096 0 - Live 0x0",
        "used 4096 2 - Live 0x0",
        "held 4096 2 free_one,used, Live 0x0",
        "eternal 4096 - - Live 0x0",
    ):
        add_loaded(root, line)
    (root / "dir").mkdir()
    (root / "dir/used.ko.xz").touch()
    directory = root / "lib/modules" / os.uname().release
    directory.mkdir(parents=True)
    (directory / "modules.builtin").write_text("kernel/fs/in-kernel.ko\n")
    (directory / "modules.order").touch()
    (directory / "modules.builtin.modinfo").touch()
    os.spawnl(os.P_WAIT, "/sbin/depmod", "depmod", "-b", root)
    return root


def remove(root: Path, kernel: Kernel, *words: str) -> list[str]:
    parser = argparse.ArgumentParser()
    rmmod.configure(parser)
    return list(rmmod.remove(parser.parse_args(words), kernel, root))  # type: ignore[arg-type]


@pytest.mark.parametrize("word", ["used", "held", "eternal", "absent", "in_kernel", "in-kernel", "/dir/used.ko.xz"])
def test_refused_in_the_same_words(root: Path, word: str) -> None:
    kernel = Kernel()
    theirs = kmod_inside(root, "rmmod", word)
    assert theirs.code == 1
    assert [f"rmmod: ERROR: {why}" for why in remove(root, kernel, word)] == theirs.err.decode().splitlines()
    assert kernel.removed == []


def test_a_tree_below_usr(root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib/modules").rename(root / "usr/lib/modules")
    assert remove(root, Kernel(), "in-kernel") == ["Module in_kernel is builtin."]


def test_a_damaged_index_is_told(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    told: list[str] = []
    monkeypatch.setattr("syslog.syslog", lambda _, text: told.append(text))

    def damaged(*_: object) -> bool:
        raise BinIndexError("modules.builtin.bin", "cut short")

    monkeypatch.setattr(ModuleFiles, "is_builtin", damaged)
    assert ours(capfdbinary, "rmmod", "-s", "x") == (1, b"", b"")
    assert told == ["ERROR: modules.builtin.bin: cut short"]
    assert ours(capfdbinary, "rmmod", "x") == (1, b"", b"rmmod: ERROR: modules.builtin.bin: cut short\n")


def test_one_after_the_other(root: Path) -> None:
    kernel = Kernel()
    assert remove(root, kernel, "free-one", "used", "free_one.ko") == ["Module used is in use"]
    assert kernel.removed == [("free_one", os.O_NONBLOCK)] * 2


def test_by_force(root: Path) -> None:
    kernel = Kernel(used=-errno.EBUSY)
    why = remove(root, kernel, "-f", "held", "used")
    assert why == [f"could not remove module used: {os.strerror(errno.EBUSY)}"]
    assert kernel.removed == [(name, os.O_NONBLOCK | os.O_TRUNC) for name in ("held", "used")]


def test_wait(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until it is not in use; one that others hold is not waited for."""
    monkeypatch.setattr(rmmod, "PAUSE", 0.001)
    kernel = Kernel()
    begun = time.monotonic()
    refcnt = root / "sys/module/used/refcnt"
    free = root / "free"
    free.write_text("0\n")
    timer = threading.Timer(0.05, free.replace, [refcnt])  # as sysfs does, without a moment in which it is empty
    timer.start()
    why = remove(root, kernel, "-w", "held", "used")
    timer.join()
    assert len(why) == 1
    assert why[0].startswith("Module held is in use by: ")
    assert kernel.removed == [("used", os.O_NONBLOCK)]
    assert time.monotonic() - begun >= 0.05


def test_verbose(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    remove(root, Kernel(), "-v", "free_one")
    assert capsys.readouterr().out == "rmmod free_one\n"


def test_the_command(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    theirs = kmod_inside(make_kmod_root(tmp_path), "rmmod")
    assert ours(capfdbinary, "rmmod") == theirs == (1, b"", b"rmmod: ERROR: missing module name.\n")
    mine = ours(capfdbinary, "rmmod", "no-such-module")
    assert mine == (1, b"", b"rmmod: ERROR: Module no_such_module is not currently loaded\n")


def test_syslog(monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    told: list[tuple[int, str]] = []
    monkeypatch.setattr("syslog.syslog", lambda priority, text: told.append((priority, text)))
    assert ours(capfdbinary, "rmmod", "-s", "no-such-module") == (1, b"", b"")
    assert told == [(3, "ERROR: Module no_such_module is not currently loaded")]
