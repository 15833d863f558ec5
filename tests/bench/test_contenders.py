"""Contenders: how images are kept, what is in those that need no root to make, and that they come to a root."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tinykmod.bench import contenders
from tinykmod.bench.chroot import inside
from tinykmod.bench.contenders.kept import kept
from tinykmod.bench.disk import SENTINEL, make_root_disk
from tinykmod.bench.machines import AHCI, ARM64_PCI, NVME, VIRTIO_BLK, Machine
from tinykmod.bench.prepare import File
from tinykmod.bench.qemu import boot
from tinykmod.errors import TinykmodError
from tinykmod.image.archive import read_image
from tinykmod.image.cpio import Entry

UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"


def never(scratch: Path) -> bytes:
    raise AssertionError("made again")


def test_what_is_kept_is_made_once_and_anew_when_made_of_something_else(tmp_path):
    first = kept(tmp_path, "image", ["kernel 1"], lambda scratch: b"first")
    second = kept(tmp_path, "image", ["kernel 2"], lambda scratch: b"second")
    assert kept(tmp_path, "image", ["kernel 1"], never) == first
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")


def test_what_nobody_has_asked_for_in_a_week_is_removed(tmp_path):
    names = ("image", "image", "image-of-another")
    old, used, other = (kept(tmp_path, name, [str(n)], lambda scratch: b"") for n, name in enumerate(names))
    for path in (old, used, other):
        os.utime(path, (1, 1))
    kept(tmp_path, "image", ["1"], never)
    new = kept(tmp_path, "image", ["new"], lambda scratch: b"")
    assert {path for path in tmp_path.iterdir() if path.suffix != ".lock"} == {used, other, new}


def test_asked_for_again_it_is_still_the_same_to_a_bench_that_is_under_way(tmp_path):
    image = kept(tmp_path, "image", [], lambda scratch: b"")
    os.utime(image, (1, 1))
    found = File.of(image)
    kept(tmp_path, "image", [], never)
    assert found.is_the_same()


def test_a_recipe_that_fails_leaves_what_was_kept_before_and_no_scratch(tmp_path):
    first = kept(tmp_path, "image", ["kernel 1"], lambda scratch: b"first")

    def fail(scratch: Path) -> bytes:
        (scratch / "half").write_text("half")
        raise TinykmodError("generator", "does not work")

    with pytest.raises(TinykmodError, match="does not work"):
        kept(tmp_path, "image", ["kernel 2"], fail)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".lock"] == [first]


def test_what_a_killed_process_left_is_not_taken_up(tmp_path):
    scratch = tmp_path / ".image.scratch"
    scratch.mkdir()
    (scratch / "half").write_text("half")
    made = kept(tmp_path, "image", [], lambda scratch: repr(list(scratch.iterdir())).encode())
    assert made.read_bytes() == b"[]"


def test_an_unknown_name_is_told_with_those_that_there_are(kernel, tmp_path):
    with pytest.raises(TinykmodError, match=r"^dracuta: no such contender; there are .*dracut, tiny-initramfs"):
        contenders.make("dracuta", kernel, VIRTIO_BLK, tmp_path)


@pytest.mark.parametrize("name", [name for name in contenders.NAMES if not name.startswith("tinykmod")])
def test_debian_contenders_of_another_architecture_are_refused(kernel, tmp_path, name):
    with pytest.raises(TinykmodError, match=f"^{name}: is made for x86_64 only, and machine arm64-pci is another$"):
        contenders.make(name, kernel, ARM64_PCI, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_root(busybox, tmp_path) -> Path:
    """A root with no more than a chroot needs; skipped where nobody may enter one."""
    for name in ("bin", "usr/bin", "proc", "dev", "run"):
        (tmp_path / "root" / name).mkdir(parents=True)
    shutil.copy(busybox, tmp_path / "root/bin/busybox")
    for link in ("bin/sh", "usr/bin/env"):
        (tmp_path / "root" / link).symlink_to("/bin/busybox")
    if os.geteuid() and subprocess.run(["unshare", "--map-root-user", "true"], check=False).returncode:
        pytest.skip("users may make no namespaces here, and this is no root")
    return tmp_path / "root"


def test_commands_run_inside_a_root_of_their_own(small_root):
    said = inside(small_root, "busybox id -u; busybox ls /; busybox grep -c ' /run ' /proc/mounts; echo $PATH >&2")
    assert said.split() == ["0", "bin", "dev", "proc", "run", "usr", "1", "/usr/sbin:/usr/bin:/sbin:/bin"]
    assert not list((small_root / "proc").iterdir()), "the mounts have come out of it"


def test_a_command_that_fails_inside_is_told_in_one_line(small_root):
    with pytest.raises(TinykmodError, match=r"^generate\(\): no such kernel$"):
        inside(small_root, "generate() { echo begun; echo no such kernel >&2; false; }\ngenerate")


def test_a_root_that_cannot_be_entered_is_told_in_one_line(small_root, tmp_path):
    with pytest.raises(TinykmodError, match="takes root to enter, or namespaces that a user may make: mount: "):
        inside(tmp_path / "none", "true")


def test_without_unshare_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda program, path=None: None)
    with pytest.raises(TinykmodError, match="^unshare: not installed .*util-linux"):
        inside(tmp_path, "true")


@pytest.fixture(scope="session")
def made(kernel):
    """made(name, machine): the contender's image, in the user's cache as every one is."""
    return lambda name, machine=VIRTIO_BLK: contenders.make(name, kernel, machine)


@pytest.fixture(scope="session")
def entries(made):
    """entries(name): what its image unpacks to."""
    return lambda name: read_image(made(name)).entries


def modules(found: dict[str, Entry]) -> set[str]:
    return {Path(path).name.partition(".ko")[0] for path in found if ".ko" in path}


def test_scripted_images_have_the_modules_of_the_generic_image(entries, kernel):
    generic, scripted = entries("tinykmod"), entries("busybox")
    assert modules(scripted) == modules(generic)
    assert len(modules(scripted)) > 400
    listed = scripted[f"lib/modules/{kernel.release}/modules.dep"].data.decode()
    assert {Path(line.partition(":")[0]).stem for line in listed.splitlines()} == modules(scripted)
    # Or they are slow for want of what depmod makes for kmod.
    assert f"lib/modules/{kernel.release}/modules.alias.bin" in scripted


def test_an_image_has_each_directory_before_what_is_in_it(entries):
    seen = {""}
    for path, entry in entries("busybox").items():
        assert path.rpartition("/")[0] in seen, path
        if stat.S_ISDIR(entry.mode):
            seen.add(path)


@pytest.mark.contenders
@pytest.mark.parametrize("machine", [VIRTIO_BLK, NVME, AHCI], ids=lambda machine: machine.name)
@pytest.mark.parametrize("name", contenders.NAMES)
def test_every_contender_reaches_the_root(made, vmlinux, disk, name: str, machine: Machine):
    reach(made(name, machine), vmlinux, disk, machine)


@pytest.fixture(scope="module")
def disk(busybox, tmp_path_factory) -> Path:
    return make_root_disk(tmp_path_factory.mktemp("contenders") / "disk", busybox=busybox, uuid=UUID)


def reach(image: Path, kernel: Path, disk: Path, machine: Machine) -> None:
    done = boot(kernel, image, machine=machine, disks=[disk], append=f"root=UUID={UUID} ro", timeout=600)
    assert done.ended == "poweroff", done.tail(40)
    assert SENTINEL in done.lines, done.tail(40)
    assert any("mounted filesystem" in text for _, text in done.dmesg)
