"""scripts/setup_system.sh: quick where nothing is missing, one line where it may not install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/setup_system.sh"


def setup(target: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["/bin/sh", SCRIPT, target], capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHON": sys.executable, **environment},
    )  # fmt: skip


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """A PATH on which there is nothing but python3 and id: no apt-get, no sudo."""
    for name in ("id", "env"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    script = SCRIPT.read_text().replace(':/usr/sbin:/sbin"', '"')
    (tmp_path / "setup").write_text(script)
    return {"PATH": str(tmp_path)}


@pytest.mark.parametrize("target", ["build", "demo", "test"])
def test_nothing_is_said_where_all_is_there(target: str) -> None:
    """The suite runs after `make test` has looked: a second look finds it all and does nothing."""
    done = setup(target)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_to_install_is_one_line(bare: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        ["/bin/sh", tmp_path / "setup", "test"], capture_output=True, text=True, check=False,
        env={"PYTHON": sys.executable, **bare},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "make test needs these packages (Debian's names), please install them:"
        " qemu-system-x86 e2fsprogs fdisk kmod qemu-system-arm qemu-user cpio dosfstools mtools"
        " xfsprogs btrfs-progs f2fs-tools exfatprogs erofs-utils squashfs-tools xorriso gcc chromium zsh fish\n"
    )


def test_a_python_without_headers_is_told_after_the_install(bare: dict[str, str], tmp_path: Path) -> None:
    """apt-get cannot mend a python3 that is not Debian's; the script says so and does not try again."""
    (tmp_path / "apt-get").write_text('#!/bin/sh\necho "$@" >> "${0%/*}/log"\n')
    (tmp_path / "python").write_text("#!/bin/sh\ncase $2 in *Python.h*) exit 1 ;; esac\n")
    for name in ("apt-get", "python"):
        (tmp_path / name).chmod(0o755)
    (tmp_path / "sudo").write_text('#!/bin/sh\nshift\n[ "$1" = true ] || exec "$@"\n')
    (tmp_path / "sudo").chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", tmp_path / "setup", "build"], capture_output=True, text=True, check=False,
        env={"PYTHON": str(tmp_path / "python"), **bare},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout == "installing with apt-get: python3-dev\n"
    assert "make build: still missing" in done.stderr
    assert "PYTHON=/usr/bin/python3" in done.stderr
    assert (tmp_path / "log").read_text() == "install -y -qq --no-install-recommends python3-dev\n"


def test_an_unknown_target_is_wrong_usage() -> None:
    assert setup("tset").returncode == 2
