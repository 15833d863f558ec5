"""`tinykmod coldplug`: the plan that a machine would get, from the command in pure Python and from the loader."""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_cases import DEVICES, image, make_sysroot
from make_tree import RELEASE

from tinykmod import loaders
from tinykmod.boot.rootdevice import RootDevice
from tinykmod.boot.sysfs import modaliases
from tinykmod.cli import coldplug, main

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


def test_both_print_what_is_forbidden_and_what_needs_it(tmp_path: Path, run_tinykmod: Run) -> None:
    config = "install base /bin/false\ninstall spare /bin/true\nalias pci:unknown crc\noptions pci:unknown x=1\n"
    root = image(tmp_path / "root", config)
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    pure = run_tinykmod("coldplug", "--dry-run", "--sysroot", sysroot, "-b", root, RELEASE, TINYKMOD_PURE="1")
    loader = subprocess.run([loaders.find(), "coldplug", "-n", "-d", root, "-S", RELEASE, "--sysroot", sysroot],
                            capture_output=True, text=True, check=False)  # fmt: skip
    assert (pure.returncode, pure.stdout, pure.stderr) == (loader.returncode, loader.stdout, loader.stderr)
    assert pure.returncode == 1
    assert "install /bin/false  # dependency: disk" in pure.stdout.splitlines()
    assert "install /bin/true  # modalias: pci:disk1" in pure.stdout.splitlines()
    assert f"insmod {root}/lib/modules/{RELEASE}/kernel/crc.ko x=1 # modalias: pci:unknown" not in pure.stdout
    assert pure.stderr.count("it needs base, which was not loaded\n") == 2


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


def test_paths_are_those_of_the_tree_that_is_there(root: Path, tmp_path: Path, run_tinykmod: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    index = (root / "lib/modules" / RELEASE / "tinykmod.tki").rename(tmp_path / "x.tki")
    (root / "usr").mkdir()
    (root / "lib").rename(root / "usr/lib")
    words = ("coldplug", "-n", "--sysroot", sysroot)
    for here, directory in ((root, root / "usr/lib/modules"), (tmp_path / "none", tmp_path / "none/lib/modules")):
        done = run_tinykmod(*words, "--index", index, "-b", here)
        assert done.stdout.startswith(f"insmod {directory}/{RELEASE}/kernel/base.ko ")
    assert f"{root}/usr/lib/modules/{RELEASE}/kernel/disk.ko" in run_tinykmod(*words, "-b", root, RELEASE).stdout


def test_config_lines_that_mean_nothing_are_told(root: Path, tmp_path: Path, run_tinykmod: Run) -> None:
    (root / "etc/modprobe.d/test.conf").write_text("install disk /bin/x\nnonsense x\n")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_tinykmod("coldplug", "-n", "--sysroot", sysroot, "-b", root, RELEASE)
    file = root / "etc/modprobe.d/test.conf"
    assert done.stderr.splitlines() == [f"tinykmod: {file}:2: nonsense: is no statement of modprobe.d"]


def test_wrong_words_are_one_line(run_fake: Run) -> None:
    wrong = (["--timeout", "x"], ["--timeout=-1"], ["--class", "bus,none"], ["--class="], ["--wait-root"],
             ["--wait-root", "/dev/disk/by-id/x"], ["--wait-root="], ["word"], ["-q"])  # fmt: skip
    for words in wrong:
        done = run_fake("tinykmod", "coldplug", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1), words


def test_classes_are_those_of_the_drivers(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    base = ("coldplug", "-j", "1", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    done = run_fake("tinykmod", *base, "--class", "gpu,storage")
    # What such a driver needs has no class.
    assert [line.split()[1] for line in done.stdout.splitlines()] == ["base.ko", "crc.ko", "disk.ko"]
    assert run_fake("tinykmod", *base, "--class=gpu").stdout == ""


def test_a_driver_without_a_device_is_no_fault(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    base = ("coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    for number, code in ((errno.ENODEV, 0), (errno.EINVAL, 1)):
        assert run_fake("tinykmod", *base, fail={"sound": number}).returncode == code


def test_what_is_live_is_left_alone_and_what_is_coming_is_not(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    for name, state in (("base", "live"), ("disk", "coming")):
        (sysroot / "sys/module" / name).mkdir(parents=True)
        (sysroot / "sys/module" / name / "initstate").write_text(f"{state}\n")
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    given = {line.split()[1] for line in done.stdout.splitlines()}
    assert "disk.ko" in given
    assert "base.ko" not in given


def test_loading_needs_root(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(coldplug, "modaliases", lambda _: modaliases(sysroot))
    assert main(["coldplug", "-b", str(root), RELEASE]) == 1
    assert capsys.readouterr().err == "tinykmod: coldplug: loading modules needs root; --dry-run does not\n"


class Machine:
    """A kernel with DEVICES: loading `base` makes another appear; `sound` finds no device, `spare` is refused."""

    def __init__(self, sysroot: Path) -> None:
        self.sysroot = sysroot
        self.given: list[str] = []
        self.events: list[dict[str, str]] = []
        self.lost = False
        self.waits = 0

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        name = path.name.partition(".")[0]
        self.given.append(name)
        if name == "base":
            self.events.append({"ACTION": "add", "MODALIAS": "pci:packed"})
        return {"sound": -errno.ENODEV, "spare": -errno.EINVAL}.get(name, 0)

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read(self) -> list[dict[str, str]]:
        events, self.events = self.events, []
        return events

    read_all = read

    def wait(self, seconds: float) -> bool:
        self.waits += 1
        assert seconds <= 30
        (self.sysroot / "sys/class/block/vda").mkdir(parents=True)
        return True


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    devices = {"pci/1": "pci:sound1", "pci/2": "pci:disk1"}
    made = Machine(make_sysroot(tmp_path / "sysroot", devices))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(coldplug, "modaliases", lambda: modaliases(made.sysroot))
    monkeypatch.setattr(coldplug, "Linux", lambda: made)
    monkeypatch.setattr(coldplug, "Uevents", lambda: made)
    monkeypatch.setattr(coldplug, "RootDevice", lambda spec: RootDevice(spec, made.sysroot))
    return made


def test_what_drivers_make_appear_is_loaded_for_too(
    root: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["coldplug", "-b", str(root), RELEASE]) == 0
    assert machine.given[0] == "base"
    assert sorted(machine.given) == ["base", "crc", "disk", "packed", "sound"]
    assert machine.waits == 0
    told = capsys.readouterr()
    assert (told.out, told.err.rpartition("\r")[2]) == ("4 modules loaded, 0 failed, 0 were there\n", "")


def test_a_root_is_waited_for_and_its_filesystem_loaded(root: Path, machine: Machine) -> None:
    (machine.sysroot / "run/udev/data").mkdir(parents=True)
    (machine.sysroot / "run/udev/data/b254:0").write_text("E:ID_FS_TYPE=sound\n")

    def wait(seconds: float) -> bool:
        directory = machine.sysroot / "sys/class/block/vda"
        directory.mkdir(parents=True)
        (directory / "dev").write_text("254:0\n")
        return True

    machine.wait = wait  # type: ignore[method-assign]
    words = ["coldplug", "-b", str(root), RELEASE, "--class", "gpu", "--wait-root", "/dev/vda"]
    assert main(words) == 0
    # No driver of a display is there; the module of the filesystem is what its alias leads to.
    assert machine.given == ["base", "sound"]


def test_the_limit_of_the_wait_is_told(root: Path, machine: Machine, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["coldplug", "-b", str(root), RELEASE, "--wait-root", "/dev/sdz", "--timeout", "0"]) == 1
    told = capsys.readouterr().err.rpartition("\r")[2]
    assert told == "tinykmod: coldplug: no root: root=/dev/sdz is not there after 0 s\n"
    assert main(["coldplug", "-b", str(root), RELEASE, "--wait-root", "nonsense"]) == 1
