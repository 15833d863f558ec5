"""`tinykmod coldplug`: the plan that a machine would get, from the command in pure Python and from the loader."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_cases import DEVICES, image, make_sysroot
from make_tree import RELEASE, make_tree

from tinykmod import loaders

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image(tmp_path / "root", "options disk a=1\nblacklist spare\n")


def test_pure_python_and_the_loader_print_one_plan(root: Path, tmp_path: Path, run_tinykmod: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES, "sound.volume=11 quiet")
    pure = run_tinykmod("coldplug", "--dry-run", "--sysroot", sysroot, "-b", root, RELEASE, TINYKMOD_PURE="1")
    assert (pure.returncode, pure.stderr) == (0, "")
    loader = subprocess.run([loaders.find(), "coldplug", "-n", "-d", root, "-S", RELEASE, "--sysroot", sysroot],
                            capture_output=True, text=True, check=True)  # fmt: skip
    assert pure.stdout == loader.stdout
    lines = pure.stdout.splitlines()
    directory = f"{root}/lib/modules/{RELEASE}/kernel"
    assert lines[0] == f"insmod {directory}/base.ko  # dependency: disk"
    assert f"insmod {directory}/disk.ko a=1 # modalias: pci:disk1" in lines
    assert f"insmod {directory}/sound.ko volume=11 # modalias: pci:sound1" in lines
    assert not any("spare" in line for line in lines)


def test_an_index_answers_instead_of_the_tree(root: Path, tmp_path: Path, run_tinykmod: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    words = ("coldplug", "--dry-run", "--sysroot", sysroot, "-b", root)
    tree = run_tinykmod(*words, RELEASE)
    index = run_tinykmod(*words, "--index", root / "lib/modules" / RELEASE / "tinykmod.tki")
    assert index.stdout == tree.stdout != ""
    other = run_tinykmod(*words, "--index", root / "lib/modules" / RELEASE / "tinykmod.tki", "9.9.9")
    assert (other.returncode, other.stderr.count("\n")) == (1, 1)


def test_wrong_places_are_one_line(root: Path, tmp_path: Path, run_tinykmod: Run) -> None:
    nothing = run_tinykmod("coldplug", "--dry-run", "--sysroot", tmp_path / "none", "-b", root, RELEASE)
    assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
    assert "is it a /sys tree?" in nothing.stderr
    real = run_tinykmod("coldplug", "--sysroot", make_sysroot(tmp_path / "sysroot", DEVICES), "-b", root, RELEASE)
    assert (real.returncode, "--dry-run" in real.stderr) == (1, True)


@pytest.mark.skipif(not Path("/sys/bus").is_dir(), reason="this machine has no /sys")
def test_this_machines_own_plan_for_a_kernel(run_tinykmod: Run, tmp_path: Path) -> None:
    """Whatever this machine has, a module for its first modalias is in its plan."""
    found = (path.read_text() for path in Path("/sys/bus").glob("*/devices/*/uevent"))
    fields = (line.partition("=") for text in found for line in text.split("\n"))
    modalias = next(value for key, _, value in fields if key == "MODALIAS")
    tree = make_tree(tmp_path / "root", {"kernel/own.ko": {"modinfo": [("alias", f"{modalias[:12]}*")]}})
    done = run_tinykmod("coldplug", "-n", "-b", tree, RELEASE)
    assert f"/kernel/own.ko  # modalias: {modalias[:12]}" in done.stdout
    if os.geteuid():
        assert "needs root" in run_tinykmod("coldplug", "-b", tree, RELEASE).stderr
