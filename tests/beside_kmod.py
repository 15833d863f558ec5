"""Runs Debian's kmod and tinykmod on the same words; kmod also in a root with files for /proc and /sys."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from tinykmod.cli import main


class Ran(NamedTuple):
    """What a tool did."""

    code: int
    out: bytes
    err: bytes


def kmod(tool: str, *words: str | os.PathLike[str], cwd: Path | None = None) -> Ran:
    """One of Debian's tools."""
    done = subprocess.run([f"/sbin/{tool}", *words], cwd=cwd, capture_output=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def ours(capture: pytest.CaptureFixture[bytes], tool: str, *words: str | os.PathLike[str]) -> Ran:
    """The same one of ours, in this process."""
    capture.readouterr()
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="surrogateescape")  # as main() makes them in a process of its own
    try:
        code = main([tool, *map(os.fspath, words)])
    except SystemExit as end:
        code = int(end.code or 0)
    return Ran(code, *capture.readouterr())


def make_kmod_root(root: Path) -> Path:
    """A root with nothing but kmod and its libraries, and proc/ and sys/module/ to put files into."""
    listed = subprocess.run(["ldd", "/bin/kmod"], capture_output=True, text=True, check=True).stdout
    for name in ["/bin/kmod", *re.findall(r"/\S+", listed)]:
        (root / name[1:]).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(name, root / name[1:])
    for tool in ("lsmod", "rmmod"):
        (root / "bin" / tool).symlink_to("kmod")
    (root / "proc").mkdir()
    (root / "sys/module").mkdir(parents=True)
    return root


def kmod_inside(root: Path, tool: str, *words: str) -> Ran:
    """One of Debian's tools for which ROOT is /."""
    change = ["chroot", root] if os.geteuid() == 0 else ["unshare", "-r", "chroot", root]
    done = subprocess.run([*change, f"/bin/{tool}", *words], capture_output=True, check=False)
    return Ran(done.returncode, done.stdout, done.stderr)


def add_loaded(root: Path, line: str, *, initstate: str = "live") -> None:
    """A module as /proc/modules lists it, by its line there, with its directory in /sys/module."""
    with (root / "proc/modules").open("a") as table:
        table.write(f"{line}\n")
    name, size, count, holders = line.split()[:4]
    directory = root / "sys/module" / name
    (directory / "holders").mkdir(parents=True)
    for holder in filter(None, holders.rstrip(",").split(",")):
        if holder not in ("-", "[permanent]"):
            (directory / "holders" / holder).mkdir()
    (directory / "initstate").write_text(f"{initstate}\n")
    (directory / "coresize").write_text(f"{size}\n")
    if count != "-":
        (directory / "refcnt").write_text(f"{count}\n")
