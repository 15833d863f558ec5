"""tinykmod install-hooks: files put below a root and taken away, and the coldplug script that they all run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from wheel import ROOT, unpack_wheel

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.image.hooks import GENERATORS, MARK
from tinykmod.index.reader import Index

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DRACUT = "usr/lib/dracut/modules.d/99tinykmod"


def tree(root: Path) -> dict[str, object]:
    """Each path below ROOT with its mode and contents."""
    return {
        str(path.relative_to(root)): (path.lstat().st_mode, path.read_bytes() if path.is_file() else None)
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("generator", GENERATORS)
def test_what_is_installed_is_removed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], generator: str
) -> None:
    hooks = GENERATORS[generator].hooks
    words = ["install-hooks", "--for", generator, "--root", str(tmp_path)]
    paths = [tmp_path / hook.target for hook in hooks]
    listed = "".join(f"{path}\n" for path in paths)
    # Of the generator's own directories one is there, with a file of its own.
    own = paths[-1].parent / "own"
    own.parent.mkdir(parents=True, exist_ok=True)
    own.write_text("its own\n")
    before = tree(tmp_path)
    for _ in range(2):
        assert (main(words), *capsys.readouterr()) == (0, listed, "")
        for hook, path in zip(hooks, paths, strict=True):
            assert path.read_bytes() == (ROOT / "initramfs" / hook.source).read_bytes()
            assert path.stat().st_mode & 0o7777 == hook.mode
        assert {path for path in tmp_path.rglob("*") if path.is_file()} == {*paths, own}, "and nothing beside"
    assert (main([*words, "--remove"]), *capsys.readouterr()) == (0, listed, "")
    assert tree(tmp_path) == before
    assert (main([*words, "--remove"]), *capsys.readouterr()) == (0, "", "")


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
    for hook in (hook for generator in GENERATORS.values() for hook in generator.hooks):
        data = (tmp_path / "site/tinykmod/initramfs" / hook.source).read_bytes()
        assert data == (ROOT / "initramfs" / hook.source).read_bytes()
        assert MARK in data
    done = subprocess.run(
        [sys.executable, "-m", "tinykmod", "install-hooks", "--for", "dracut", "--root", tmp_path],
        capture_output=True, text=True, check=False, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / DRACUT / "module-setup.sh").exists()


def test_a_tree_of_ones_own_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["install-hooks", "--for", "yocto"]) == 1
    assert capsys.readouterr().err == "tinykmod: yocto: its files belong into your own tree: --root DIR\n"


def test_every_file_is_installed_for_some_generator() -> None:
    sources = {hook.source for generator in GENERATORS.values() for hook in generator.hooks}
    files = {str(path.relative_to(ROOT / "initramfs")) for path in (ROOT / "initramfs").rglob("*") if path.is_file()}
    assert files - sources == {"README.md"}


@pytest.fixture
def command(tmp_path: Path) -> dict[str, str]:
    """An environment in whose PATH `tinykmod` is this package's."""
    program = tmp_path / "bin/tinykmod"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m tinykmod "$@"\n')
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


#: What mkinitcpio has defined when it runs a build hook, as far as ours uses it.
MKINITCPIO = """\
set -e
declare -A _modpaths
for path in $MODULES_ADDED; do _modpaths[$path]=1; done
add_file() { install -D -m "$3" "$1" "$BUILDROOT$2"; }
add_runscript() { echo runscript; }
add_systemd_unit() { echo "unit $1"; }
add_symlink() { echo "link $1 $2"; }
add_systemd_drop_in() { echo "drop-in $1 $2"; cat > /dev/null; }
warning() { echo "warning $1"; }
. "$0"
build
"""


@pytest.mark.parametrize("init", ["busybox", "systemd"])
def test_mkinitcpio_gets_an_index_of_the_modules_that_were_added(
    kernel: Kernel, command: dict[str, str], tmp_path: Path, init: str
) -> None:
    modules = kernel.root / "lib/modules" / kernel.release
    added = [path for name in ("ext4", "jbd2", "mbcache", "crc16") for path in modules.rglob(f"{name}.ko*")]
    image = tmp_path / "image"
    (image / "etc/modprobe.d").mkdir(parents=True)
    (image / "etc/modprobe.d/a.conf").write_text("options ext4 a=b\n")
    if init == "systemd":
        (image / "usr/lib/systemd/system").mkdir(parents=True)
        (image / "usr/lib/systemd/system/systemd-udevd.service").touch()
    text = (ROOT / "initramfs/mkinitcpio/install").read_text()
    # Where install-hooks would have put it.
    script = text.replace("/usr/lib/initcpio/tinykmod-coldplug", str(ROOT / "initramfs/coldplug"))
    (tmp_path / "install").write_text(script)
    environment = {**command, "BUILDROOT": str(image), "KERNELVERSION": kernel.release, "TMPDIR": str(tmp_path),
                   "_d_kmoduledir": str(modules), "MODULES_ADDED": " ".join(map(str, added))}  # fmt: skip
    done = subprocess.run(["bash", "-c", MKINITCPIO, tmp_path / "install"], env=environment, capture_output=True,
                          text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    unit = "tinykmod-coldplug.service"
    assert done.stdout.splitlines() == {
        "busybox": ["runscript"],
        "systemd": [f"unit {unit}", f"link /usr/lib/systemd/system/sysinit.target.wants/{unit} ../{unit}",
                    f"drop-in {unit} no-shell"],
    }[init]  # fmt: skip
    index = Index((image / "usr/lib/modules" / kernel.release / "tinykmod.tki").read_bytes())
    assert {index.module(name).path for name in index.names} == {str(path.relative_to(modules)) for path in added}
    assert index.module("ext4").options == "a=b"
    assert (image / "usr/lib/tinykmod/tinykmod").read_bytes() == loaders.find().read_bytes()
    assert not list(tmp_path.glob("tmp.*"))


@pytest.mark.parametrize(
    ("word", "environment", "runs"),
    [
        ("add", {"INITRD_GENERATOR": "tinykmod"}, True),
        ("add", {"INITRD_GENERATOR": "tinykmod", "IMAGE_TYPE": "uki"}, False),
        ("add", {"INITRD_GENERATOR": "dracut"}, False),
        ("remove", {"INITRD_GENERATOR": "tinykmod"}, False),
    ],
)
def test_kernel_install_makes_the_image_where_it_is_asked_to(
    tmp_path: Path, word: str, environment: dict[str, str], runs: bool
) -> None:
    (tmp_path / "tinykmod").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "tinykmod").chmod(0o755)
    done = subprocess.run(
        ["sh", ROOT / "initramfs/kernel-install/50-tinykmod.install", word, "1.2.3", "/boot/entry"],
        env={
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            **{f"KERNEL_INSTALL_{name}": value for name, value in {"STAGING_AREA": "/stage", **environment}.items()},
        },
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == ("initramfs -o /stage/initrd 1.2.3\n" if runs else "")


def test_mkosi_gets_loader_unit_and_index(kernel: Kernel, command: dict[str, str], tmp_path: Path) -> None:
    image, project = tmp_path / "image", tmp_path / "project"
    modules = image / "usr/lib/modules" / kernel.release
    [virtio_blk] = (kernel.root / "lib/modules" / kernel.release).rglob("virtio_blk.ko*")
    for directory in (modules / "kernel", project):
        directory.mkdir(parents=True)
    shutil.copy(virtio_blk, modules / "kernel")
    assert main(["install-hooks", "--for", "mkosi", "--root", str(project)]) == 0
    done = subprocess.run([project / "mkosi.finalize"], capture_output=True, text=True, check=False,
                          env={**command, "SRCDIR": str(project), "BUILDROOT": str(image)})  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert list(Index((modules / "tinykmod.tki").read_bytes()).names) == ["virtio_blk"]
    wants = image / "usr/lib/systemd/system/sysinit.target.wants/tinykmod-coldplug.service"
    assert wants.read_bytes() == (ROOT / "initramfs/mkinitcpio/tinykmod-coldplug.service").read_bytes()
    assert os.access(image / "usr/lib/tinykmod/tinykmod", os.X_OK)
    assert os.access(image / "usr/lib/tinykmod/coldplug", os.X_OK)


#: What Buildroot does with a package, as far as ours uses it. $(@D) is where the package's sources are.
BUILDROOT = """\
INSTALL = install
TARGET_DIR = $(CURDIR)/target
BR2_ARCH = x86_64
BR2_PACKAGE_TINYKMOD_INIT = y
define sep


endef
include package/tinykmod/tinykmod.mk
$(SOURCES)/.stamp:
	$(TINYKMOD_BUILD_CMDS)
	$(TINYKMOD_INSTALL_TARGET_CMDS)
	$(TINYKMOD_INSTALL_INIT_SYSV)
	$(TINYKMOD_INSTALL_INIT_SYSTEMD)
	$(foreach hook,$(TINYKMOD_TARGET_FINALIZE_HOOKS),$($(hook))$(sep))
"""


def test_buildroots_package_installs_loader_scripts_and_index(kernel: Kernel, tmp_path: Path) -> None:
    """Its commands are run by make; only what compiles the loader is replaced."""
    modules = tmp_path / "target/lib/modules" / kernel.release / "kernel"
    for directory in (modules, tmp_path / "target/sbin", tmp_path / "sources"):
        directory.mkdir(parents=True)
    [virtio_blk] = (kernel.root / "lib/modules" / kernel.release).rglob("virtio_blk.ko*")
    shutil.copy(virtio_blk, modules)
    (tmp_path / "sources/initramfs").symlink_to(ROOT / "initramfs")
    assert main(["install-hooks", "--for", "buildroot", "--root", str(tmp_path)]) == 0
    (tmp_path / "Makefile").write_text(BUILDROOT)
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
case "$*" in
{tmp_path}/sources/scripts/build_loader.py' --arch x86_64 -o '*) cp {loaders.find()} "$5" ;;
*) PYTHONPATH={ROOT} exec {sys.executable} "$@" ;;
esac
""")
    python.chmod(0o755)
    done = subprocess.run(
        ["make", f"{tmp_path}/sources/.stamp", f"SOURCES={tmp_path}/sources", f"HOST_TINYKMOD={python}"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    target = tmp_path / "target"
    loader = target / "usr/lib/tinykmod/tinykmod"
    assert loader.read_bytes() == loaders.find().read_bytes()
    assert (target / "init").resolve() == (target / "sbin/modprobe").resolve() == loader
    for program in (loader, loader.with_name("coldplug"), target / "etc/init.d/S09tinykmod"):
        assert os.access(program, os.X_OK)
    assert (target / "usr/lib/systemd/system/tinykmod-coldplug.service").is_file()
    assert list(Index((modules.parent / "tinykmod.tki").read_bytes()).names) == ["virtio_blk"]


def test_yoctos_recipes_can_be_parsed() -> None:
    """As far as that goes without bitbake: assignments, and the syntax of the functions in shell."""
    for name in ("initramfs-module-tinykmod.bb", "tinykmod-index.bbclass"):
        text = (ROOT / "initramfs/yocto" / name).read_text()
        [body] = re.findall(r"^\w+\(\) \{\n.*?^\}$", text, re.MULTILINE | re.DOTALL)
        assert subprocess.run(["sh", "-n"], input=body, text=True, check=False).returncode == 0
        others = text.replace(body, "")
        assert all(re.match(r'(#.*|inherit .*|[\w:${}]+ \+?= ".*"|)$', line) for line in others.splitlines())


@pytest.fixture
def coldplug(tmp_path: Path) -> Callable[..., list[str]]:
    """coldplug(command_line, *words, programs=..., index=...): the words of the loader that the script ran, or none.

    The script is run with its places below a directory of the test's.
    """

    def run(command_line: str, *words: str, programs: tuple[str, ...] = (), index: str = "index") -> list[str]:
        image = tmp_path / "image"
        for name in ("proc/sys/kernel", "usr/sbin", "usr/lib/tinykmod", "lib/modules/1.2.3"):
            (image / name).mkdir(parents=True, exist_ok=True)
        (image / "proc/sys/kernel/osrelease").write_text("1.2.3\n")
        (image / "proc/cmdline").write_text(f"{command_line}\n")
        (image / "lib/modules/1.2.3/tinykmod.tki").write_text(index)
        loader = image / "usr/lib/tinykmod/tinykmod"
        loader.write_text(f'#!/bin/sh\necho "$@" > {image}/ran\nexit 1\n')
        for program in (loader, *(image / "usr/sbin" / name for name in programs)):
            program.touch()
            program.chmod(0o755)
        text = (ROOT / "initramfs/coldplug").read_text()
        for place in ("/proc", "/lib/", "/sbin ", "/bin ", "/usr/", "/etc/"):
            text = text.replace(f" {place}", f" {image}{place}").replace(f'"{place}', f'"{image}{place}')
        (loader.parent / "coldplug").write_text(text)
        done = subprocess.run(["sh", loader.parent / "coldplug", *words], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return (image / "ran").read_text().split() if (image / "ran").exists() else []

    return run


@pytest.mark.parametrize("root", "UUID=7b1c LABEL=* PARTUUID=1a2b-02 /dev/sda2 /dev/disk/by-uuid/7b 8:2".split())
def test_a_disk_is_waited_for(coldplug: Callable, root: str) -> None:
    waits = ["coldplug", "--timeout", "10", "--wait-root", root]
    assert coldplug("quiet root=/dev/other ro", root) == waits, "as the generator has it"
    assert coldplug(f"quiet root={root} ro") == waits, "as the kernel command line has it"


@pytest.mark.parametrize("root", ["", "/dev/mapper/a-b", "/dev/vg/root", "/dev/md0", "/dev/nfs", "nfs:1.2.3.4:/"])
def test_what_no_disk_has_is_not_waited_for(coldplug: Callable, root: str) -> None:
    assert coldplug(f"quiet root={root} ro") == ["coldplug", "--timeout", "10"]


def test_layers_above_disks_are_not_waited_for(coldplug: Callable) -> None:
    assert coldplug("root=UUID=7b1c rd.luks.uuid=1a2b") == ["coldplug", "--timeout", "10"]
    assert coldplug("root=UUID=7b1c", programs=("lvm",)) == ["coldplug", "--timeout", "10"]


def test_nothing_is_run_where_it_cannot_or_shall_not_be(coldplug: Callable, tmp_path: Path) -> None:
    assert coldplug("root=/dev/sda1", index="") == []
    assert coldplug("root=/dev/sda1 rd.tinykmod.coldplug=0") == []
    assert coldplug("root=/dev/sda1") != []
