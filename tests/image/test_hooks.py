"""tinykmod install-hooks: files put below a root and taken away, and the coldplug script that they all run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel import ROOT, unpack_wheel

from tinykmod.image.hooks import GENERATORS, MARK

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DRACUT = "usr/lib/dracut/modules.d/99tinykmod"


def tree(root: Path) -> dict[str, object]:
    """Each path below ROOT with its mode and contents."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("generator", GENERATORS)
def test_what_is_installed_is_removed(run_tinykmod: Run, tmp_path: Path, generator: str) -> None:
    hooks = GENERATORS[generator].hooks
    # Of the generator's own directories one is there, with a file of its own.
    own = (tmp_path / hooks[-1].target).parent / "own"
    own.parent.mkdir(parents=True)
    own.write_text("its own\n")
    before = tree(tmp_path)
    for _ in range(2):
        done = run_tinykmod("install-hooks", "--for", generator, "--root", tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.splitlines() == [str(tmp_path / hook.target) for hook in hooks]
        for hook in hooks:
            path = tmp_path / hook.target
            assert path.read_bytes() == (ROOT / "initramfs" / hook.source).read_bytes()
            assert path.stat().st_mode & 0o7777 == hook.mode
        there = {name for name, (_, data) in tree(tmp_path).items() if data is not None}
        assert there == {*(hook.target for hook in hooks), str(own.relative_to(tmp_path))}, "and nothing beside"
    done = run_tinykmod("install-hooks", "--for", generator, "--root", tmp_path, "--remove")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [str(tmp_path / hook.target) for hook in hooks]
    assert tree(tmp_path) == before
    done = run_tinykmod("install-hooks", "--for", generator, "--root", tmp_path, "--remove")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("action", [[], ["--remove"]])
def test_what_is_not_ours_stays(run_tinykmod: Run, tmp_path: Path, action: list[str]) -> None:
    """And then nothing of ours is put there or taken away."""
    target = tmp_path / DRACUT / "module-setup.sh"
    target.parent.mkdir(parents=True)
    (target.parent / "coldplug").write_bytes(MARK)
    for make in (lambda: target.write_text("mine\n"), lambda: target.symlink_to("/dev/null"), target.mkdir):
        make()
        before = tree(tmp_path)
        done = run_tinykmod("install-hooks", "--for", "dracut", "--root", tmp_path, *action)
        assert done.returncode == 1
        assert done.stderr == f"tinykmod: {target}: is there, and is not one of tinykmod's hooks\n"
        assert tree(tmp_path) == before
        target.rmdir() if target.is_dir() and not target.is_symlink() else target.unlink()


def test_a_link_that_leads_out_of_the_root_is_not_followed(run_tinykmod: Run, tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "root/usr").symlink_to(tmp_path / "outside")
    done = run_tinykmod("install-hooks", "--for", "dracut", "--root", tmp_path / "root")
    assert done.returncode == 1
    assert done.stderr.endswith(f": a link on the way leads out of {tmp_path / 'root'}\n")
    assert list((tmp_path / "outside").iterdir()) == []


def test_wrong_roots_are_told(run_tinykmod: Run, tmp_path: Path) -> None:
    done = run_tinykmod("install-hooks", "--for", "dracut", "--root", tmp_path / "none")
    assert (done.returncode, done.stderr) == (1, f"tinykmod: {tmp_path / 'none'}: is no directory\n")
    (tmp_path / "file").touch()
    done = run_tinykmod("install-hooks", "--for", "dracut", "--root", tmp_path / "file")
    assert (done.returncode, done.stderr) == (1, f"tinykmod: {tmp_path / 'file'}: is no directory\n")
    assert run_tinykmod("install-hooks").returncode == 2


def test_an_installed_package_has_the_files(tmp_path: Path) -> None:
    unpack_wheel(tmp_path / "site", tmp_path / "made")
    (tmp_path / "root").mkdir()
    for generator, (hooks, _) in GENERATORS.items():
        done = subprocess.run(
            [sys.executable, "-m", "tinykmod", "install-hooks", "--for", generator, "--root", tmp_path / "root"],
            capture_output=True, text=True, check=False, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        for hook in hooks:
            data = (tmp_path / "root" / hook.target).read_bytes()
            assert data == (ROOT / "initramfs" / hook.source).read_bytes()
            assert MARK in data


def test_every_file_is_installed_for_some_generator() -> None:
    sources = {hook.source for generator in GENERATORS.values() for hook in generator.hooks}
    files = {str(path.relative_to(ROOT / "initramfs")) for path in (ROOT / "initramfs").rglob("*") if path.is_file()}
    assert files - sources == {"README.md"}


@pytest.fixture
def coldplug(tmp_path: Path) -> Callable[..., list[str]]:
    """coldplug(command_line, *words, programs=..., index=...): the words of the loader that the script ran, or none.

    The script is run with its places below a directory of the test's.
    """

    def run(command_line: str, *words: str, programs: tuple[str, ...] = (), index: str = "index") -> list[str]:
        image = tmp_path / "image"
        for name in ("proc/sys/kernel", "usr/sbin", "lib/modules/1.2.3"):
            (image / name).mkdir(parents=True, exist_ok=True)
        (image / "proc/sys/kernel/osrelease").write_text("1.2.3\n")
        (image / "proc/cmdline").write_text(f"{command_line}\n")
        (image / "lib/modules/1.2.3/tinykmod.tki").write_text(index)
        for program, text in {"tinykmod": f'echo "$@" > {image}/ran; exit 1', **dict.fromkeys(programs, "")}.items():
            (image / "usr/sbin" / program).write_text(f"#!/bin/sh\n{text}\n")
            (image / "usr/sbin" / program).chmod(0o755)
        text = (ROOT / "initramfs/coldplug").read_text()
        for place in ("/proc/", "/usr/sbin", "/lib/modules/", "/sbin ", "/bin ", "/usr/bin", "/usr/lib/", "/lib/systemd"):
            text = text.replace(f" {place}", f" {image}{place}").replace(f'"{place}', f'"{image}{place}')
        (tmp_path / "script").write_text(text)
        done = subprocess.run(["sh", tmp_path / "script", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return (image / "ran").read_text().split() if (image / "ran").exists() else []

    return run


@pytest.mark.parametrize("root", ["UUID=7b1c", "LABEL=*", "PARTUUID=1a2b-02", "/dev/sda2", "/dev/disk/by-uuid/7b", "8:2"])
def test_a_disk_is_waited_for(coldplug: Callable, root: str) -> None:
    waits = ["coldplug", "--timeout", "10", "--wait-root", root]
    assert coldplug("quiet root=/dev/other ro", root) == waits, "as the generator has it"
    assert coldplug(f"quiet root={root} ro") == waits, "as the kernel command line has it"


@pytest.mark.parametrize("root", ["", "/dev/mapper/a-b", "/dev/vg/root", "/dev/md0", "/dev/nfs", "nfs:1.2.3.4:/", "live"])
def test_what_no_disk_has_is_not_waited_for(coldplug: Callable, root: str) -> None:
    assert coldplug(f"quiet root={root} ro") == ["coldplug", "--timeout", "10"]


def test_layers_above_disks_are_not_waited_for(coldplug: Callable) -> None:
    assert coldplug("root=UUID=7b1c", programs=("lvm",)) == ["coldplug", "--timeout", "10"]


def test_nothing_is_run_where_it_cannot_or_shall_not_be(coldplug: Callable, tmp_path: Path) -> None:
    assert coldplug("root=/dev/sda1", index="") == []
    assert coldplug("root=/dev/sda1 rd.tinykmod.coldplug=0") == []
    assert coldplug("root=/dev/sda1") != []
