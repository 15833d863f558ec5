"""What is handed to the kernel: order, options, errors. The loader over its fake seam, and the twin over one too."""

from __future__ import annotations

import errno
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from boot_cases import DEVICES, MODULES, image, make_sysroot
from make_tree import RELEASE, make_tree

from tinykmod.boot.load import load, plan
from tinykmod.boot.sysfs import modaliases
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.modules.packed import pack
from tinykmod.modules.tree import read_tree
from tinykmod.trace.events import read_trace

Run = Callable[..., subprocess.CompletedProcess[str]]

@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image(tmp_path / "root", "options disk a=1\n")


def calls(done: subprocess.CompletedProcess[str]) -> list[str]:
    lines = (line.partition("finit_module ") for line in done.stdout.splitlines())
    return [what for before, found, what in lines if found and not before]


class Fake:
    """The twin's seam: answers by module name, and remembers."""

    def __init__(self, fail: Mapping[str, int]) -> None:
        self.fail = fail
        self.calls: list[str] = []
        self.images: list[bytes] = []

    def init_module(self, image: bytes, options: str) -> int:
        self.images.append(image)
        return 0

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        if not path.exists():
            return -errno.ENOENT
        result = -self.fail.get(path.name.split(".")[0], 0)
        said = [path.name, options, f"flags={flags}" if flags else "", f"= {result}"]
        self.calls.append(" ".join(word for word in said if word))
        return result


def twin_calls(root: Path, sysroot: Path, fail: Mapping[str, int]) -> list[str]:
    directory = root / "lib/modules" / RELEASE
    index = Index((directory / "tinykmod.tki").read_bytes())
    text = (sysroot / "proc/cmdline").read_text()
    fake = Fake(fail)
    list(load(index, plan(index, modaliases(sysroot), text), fake, directory, text))
    return fake.calls


@pytest.mark.parametrize(
    ("config", "cmdline", "fail"),
    [
        ("", "", {}),
        ("", "disk.b=2 base.c=3 quiet", {}),
        ("", "modprobe.blacklist=sound,base", {}),
        ("", "module_blacklist=base", {}),
        ("", "", {"base": errno.ENOEXEC}),
        ("", "", {"crc": errno.ENODEV, "disk": errno.EEXIST}),
        ("", "", {"disk": errno.EINVAL}),
        ("install base /bin/false\n", "", {}),
        ("install base /bin/true\n", "", {}),
        ("install disk /bin/false\nsoftdep disk post: sound\n", "", {}),
        ("install crc /bin/false\ninstall spare /bin/x\n", "", {}),
        ("alias pci:disk* spare\noptions pci:disk* b=2\noptions pci:packed c=3\n", "spare.d=4", {}),
    ],
)
def test_loader_and_twin_load_alike(
    tmp_path: Path, run_fake: Run, config: str, cmdline: str, fail: dict[str, int]
) -> None:
    root = image(tmp_path / "root", f"options disk a=1\n{config}")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES, cmdline)
    words = ("-j", "1", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    done = run_fake("tinykmod", "coldplug", *words, fail=fail)
    assert calls(done) == twin_calls(root, sysroot, fail)
    assert calls(done)


def test_disks_go_before_sound_and_needs_before_both(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_fake("tinykmod", "coldplug", "-j", "1", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert done.returncode == 0
    order = [call.split(".")[0] for call in calls(done)]
    assert order[:3] == ["base", "crc", "disk"]
    assert sorted(order[3:]) == ["packed", "sound", "spare"]
    assert "disk.ko a=1 = 0" in calls(done)
    assert "packed.ko.xz flags=4 = 0" in calls(done)


def test_what_needs_a_module_that_failed_is_not_tried(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot,
                    fail={"base": errno.ENOEXEC})  # fmt: skip
    assert done.returncode == 1
    assert sorted(call.split(".")[0] for call in calls(done)) == ["base", "crc", "packed", "spare"]
    lines = done.stderr.splitlines()
    assert len(lines) == 3
    assert "module base: not a module for this kernel" in lines[0]
    assert sum("it needs base, which was not loaded" in line for line in lines) == 2


def test_a_softdep_that_fails_keeps_nothing_from_loading(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot,
                    fail={"crc": errno.ENODEV})  # fmt: skip
    assert "disk.ko a=1 = 0" in calls(done)


def test_modprobe_loads_a_name_or_an_alias_with_its_needs(root: Path, run_fake: Run) -> None:
    for word in ("disk", "pci:disk7"):
        done = run_fake("modprobe", "-q", "-d", root, "-S", RELEASE, "--", word, "x=1", 'y=a b')
        assert (done.returncode, done.stderr) == (0, "")
        assert calls(done) == ["base.ko = 0", "crc.ko = 0", 'disk.ko a=1 x=1 y="a b" = 0']


def test_modprobe_exit_codes(root: Path, run_fake: Run) -> None:
    base = ("-d", root, "-S", RELEASE)
    assert run_fake("modprobe", *base, "nowhere").returncode == 1
    assert "nowhere: not found" in run_fake("modprobe", *base, "nowhere").stderr
    assert run_fake("modprobe", "-q", *base, "nowhere").stderr == ""
    assert run_fake("modprobe", *base, "disk", fail={"disk": errno.EEXIST}).returncode == 0
    assert run_fake("modprobe", *base, "disk", fail={"disk": errno.ENOENT}).returncode == 1
    assert run_fake("modprobe", *base, "-a", "crc", "nowhere", "sound").returncode == 1
    assert len(calls(run_fake("modprobe", *base, "-a", "crc", "nowhere", "sound"))) == 3
    assert run_fake("modprobe").returncode == 1
    assert run_fake("modprobe", "-Z", "disk").stderr.startswith("usage: modprobe")


def test_modprobe_dry_run_prints_what_debians_modprobe_prints(root: Path, run_fake: Run) -> None:
    ours = run_fake("modprobe", "-n", "-v", "-d", root, "-S", RELEASE, "sound")
    kmod = ["/sbin/modprobe", "-n", "-v", "-C", "/dev/null", "-d", root, "-S", RELEASE, "sound"]
    theirs = subprocess.run(kmod, capture_output=True, text=True, check=True)
    assert ours.stdout == theirs.stdout != ""


def test_a_blacklisted_module_loads_by_name_only(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "blacklist sound\n")
    base = ("-d", root, "-S", RELEASE)
    assert calls(run_fake("modprobe", *base, "pci:sound1")) == []
    assert calls(run_fake("modprobe", *base, "sound")) == ["base.ko = 0", "sound.ko = 0"]


def test_a_refused_module_fails_what_needs_it_in_one_line_each(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "# no base\ninstall base /bin/false\n")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert done.returncode == 1
    assert sorted(call.split(".")[0] for call in calls(done)) == ["crc", "packed", "spare"]
    assert sorted(done.stderr.splitlines()) == [
        "tinykmod: module base: not loaded: install /bin/false at /etc/modprobe.d/test.conf:2",
        "tinykmod: module disk: it needs base, which was not loaded",
        "tinykmod: module sound: it needs base, which was not loaded",
    ]
    alone = run_fake("modprobe", "-d", root, "-S", RELEASE, "base")
    assert (alone.returncode, calls(alone), alone.stderr.count("\n")) == (1, [], 1)


def test_what_needs_a_skipped_module_is_loaded_without_it(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "install base /bin/true\n")
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "sound")
    assert (done.returncode, calls(done)) == (0, ["sound.ko = 0"])
    assert done.stderr == "tinykmod: module base: not loaded: install /bin/true at /etc/modprobe.d/test.conf:1\n"
    assert run_fake("modprobe", "-d", root, "-S", RELEASE, "base").returncode == 0


def test_a_forbidden_module_that_is_there_is_there(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "install base /bin/false\n")
    sysroot = tmp_path / "sysroot"
    (sysroot / "sys/module/base").mkdir(parents=True)
    (sysroot / "sys/module/base/initstate").write_text("live\n")
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "--sysroot", sysroot, "sound")
    assert (done.returncode, done.stderr, calls(done)) == (0, "", ["sound.ko = 0"])


def test_an_install_command_is_named_and_not_run(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "\ninstall sound touch /tmp/was-run\n")
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "sound")
    assert (done.returncode, calls(done)) == (0, ["base.ko = 0", "sound.ko = 0"])
    where = "/etc/modprobe.d/test.conf:2"
    said = f"module sound: its install command at {where} is not run at boot; it is loaded as usual"
    assert done.stderr == f"tinykmod: {said}\n"
    directory = root / "lib/modules" / RELEASE
    index = Index((directory / "tinykmod.tki").read_bytes())
    notes = [loaded.note for loaded in load(index, index.plan(["sound"]), Fake({}), directory)]
    assert notes == ["", said.partition(": ")[2]]


def test_modules_that_are_live_are_left_alone(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    for name, state in (("base", "live"), ("crc", "coming")):
        (sysroot / "sys/module" / name).mkdir(parents=True)
        (sysroot / "sys/module" / name / "initstate").write_text(f"{state}\n")
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "--sysroot", sysroot, "disk")
    assert calls(done) == ["disk.ko a=1 = 0"]


def test_a_module_that_is_not_in_the_image_is_said_so(root: Path, tmp_path: Path, run_fake: Run) -> None:
    (root / "lib/modules" / RELEASE / "kernel/base.ko").unlink()
    sysroot = make_sysroot(tmp_path / "sysroot", {"pci/1": "pci:sound1", "pci/2": "pci:packed"})
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert "module base: its file is not here" in done.stderr
    assert calls(done) == ["packed.ko.xz flags=4 = 0"]


def test_text_files_stand_in_for_a_damaged_index(root: Path, tmp_path: Path, run_fake: Run) -> None:
    index = root / "lib/modules" / RELEASE / "tinykmod.tki"
    index.write_bytes(b"damaged")
    sysroot = make_sysroot(tmp_path / "sysroot", {"pci/1": "pci:sound-1", "pci/2": "pci:packed"})
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert [call for call in calls(done) if "packed" not in call] == ["base.ko = 0", "sound.ko = 0"]
    assert "packed.ko.xz flags=4 = 0" in calls(done)
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "sound", "a=1")
    assert calls(done) == ["base.ko = 0", "sound.ko a=1 = 0"]
    shutil.rmtree(root / "lib/modules" / RELEASE)
    gone = run_fake("modprobe", "-d", root, "-S", RELEASE, "sound")
    assert (gone.returncode, gone.stderr.count("\n")) == (1, 1)


def test_text_files_know_blacklists_of_the_command_line_and_softdeps(
    root: Path, tmp_path: Path, run_fake: Run
) -> None:
    directory = root / "lib/modules" / RELEASE
    (directory / "tinykmod.tki").unlink()
    (directory / "modules.softdep").write_text("softdep sound pre: crc nowhere post: spare\nsoftdep none pre: crc\n")
    sysroot = make_sysroot(tmp_path / "sysroot", {}, "modprobe.blacklist=sound")
    base = ("-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert calls(run_fake("modprobe", *base, "-a", "base", "pci:sound1")) == ["base.ko = 0"]
    assert calls(run_fake("modprobe", *base, "sound")) == [
        "base.ko = 0", "crc.ko = 0", "sound.ko = 0", "spare.ko = 0",
    ]  # fmt: skip


def test_an_alias_that_leads_nowhere_is_not_found(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "alias gone off\n")
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "gone")
    assert (done.returncode, calls(done)) == (1, [])
    assert "gone: not found" in done.stderr


def test_options_that_do_not_fit_are_not_cut(root: Path, run_fake: Run) -> None:
    long = "text=" + "x" * 5000
    done = run_fake("modprobe", "-d", root, "-S", RELEASE, "crc", long)
    assert (done.returncode, calls(done)) == (1, [])
    done = run_fake("insmod", root / "lib/modules" / RELEASE / "kernel/crc.ko", long)
    assert (done.returncode, calls(done)) == (1, [])
    assert done.stderr.count("\n") == 1


def test_a_helper_adds_to_the_trace_of_pid_1_and_to_no_other(root: Path, tmp_path: Path, run_fake: Run) -> None:
    sysroot = make_sysroot(tmp_path / "sysroot", {})
    words = ("modprobe", "-d", root, "-S", RELEASE, "--sysroot", sysroot, "sound")
    run_fake(*words)
    assert not (sysroot / "run").exists()
    trace = sysroot / "run/tinykmod/trace.jsonl"
    trace.parent.mkdir(parents=True)
    trace.write_text('{"t":0,"ev":"start","version":"0","release":"0"}\n')
    run_fake(*words)
    run_fake(words[0], "-D", *words[1:])
    events = read_trace(trace.read_text().splitlines())[1:]
    loaded = [(event["name"], event["why"], event["by"], event["needs"]) for event in events]
    assert loaded == [("base", "dependency", "sound", []), ("sound", "request", "sound", ["base"])]


def test_an_index_of_another_kernel_is_not_used(root: Path, tmp_path: Path, run_fake: Run) -> None:
    other = "7.0.0-other"
    directory = root / "lib/modules"
    (directory / RELEASE).rename(directory / other)
    for text in ("modules.dep", "modules.alias"):
        (directory / other / text).unlink()
    done = run_fake("modprobe", "-d", root, "-S", other, "sound")
    assert (done.returncode, done.stdout) == (1, "")
    assert "made for another kernel" in done.stderr


def test_a_path_that_leads_out_is_not_followed(tmp_path: Path, run_fake: Run) -> None:
    root = make_tree(tmp_path / "root", MODULES)
    tree = read_tree(root, RELEASE)
    for bad in ("../../../../etc/evil.ko", "/etc/evil.ko", "kernel/../../evil.ko", ""):
        data = compile_index(tree, read_config(root), stored={"crc": bad})
        (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(data)
        done = run_fake("modprobe", "-d", root, "-S", RELEASE, "crc")
        assert (done.returncode, calls(done)) == (1, [])
        assert "leads out" in done.stderr
        fake = Fake({})
        index = Index(data)
        assert [step.error for step in load(index, index.plan(["crc"]), fake, root)] != [""]
        assert fake.calls == []


def test_insmod_and_rmmod(root: Path, run_fake: Run) -> None:
    path = root / "lib/modules" / RELEASE / "kernel/crc.ko"
    assert run_fake("insmod", path, "a=1", "b=c d").stdout == 'finit_module crc.ko a=1 b="c d" = 0\n'
    refused = run_fake("insmod", path, fail={"crc": errno.EEXIST})
    assert (refused.returncode, "File exists" in refused.stderr) == (1, True)
    assert run_fake("insmod", path.with_name("none.ko")).returncode == 1
    assert run_fake("rmmod", "some-name").stdout == "delete_module some_name = 0\n"
    busy = run_fake("rmmod", "some", "other", fail={"some": errno.EAGAIN})
    assert (busy.returncode, busy.stdout.count("\n")) == (1, 2)


def test_a_packed_module_is_loaded_from_a_file_in_memory(tmp_path: Path, run_fake: Run) -> None:
    tree = {"kernel/near.ko": {"exports": {"x": 1}}, "kernel/far.ko": {"imports": {"x": 1}}}
    root = make_tree(tmp_path / "root", tree)
    directory = root / "lib/modules" / RELEASE
    modules = {name: (directory / f"kernel/{name}.ko").read_bytes() for name in ("near", "far")}
    stored = {name: f"kernel/{name}.ko.tkp" for name in modules}
    data = compile_index(read_tree(root, RELEASE), read_config(root), stored=stored)
    (directory / "tinykmod.tki").write_bytes(data)
    for name, module in modules.items():
        (directory / stored[name]).write_bytes(pack(module))
        (directory / f"kernel/{name}.ko").unlink()
    words = ("modprobe", "-d", root, "-S", RELEASE, "far", "a=1")
    loads = ["memfd:near.ko.tkp (deleted) = 0", "memfd:far.ko.tkp (deleted) a=1 = 0"]
    assert calls(run_fake(*words)) == loads
    # Where the text files stand in for the index the file itself tells.
    (directory / "modules.dep").write_text("kernel/far.ko.tkp: kernel/near.ko.tkp\nkernel/near.ko.tkp:\n")
    (directory / "modules.alias").touch()
    (directory / "tinykmod.tki").unlink()
    assert calls(run_fake(*words)) == loads
    (directory / "tinykmod.tki").write_bytes(data)
    index = Index(data)
    fake = Fake({})
    assert [step.error for step in load(index, index.plan(["far"]), fake, directory)] == ["", ""]
    assert fake.images == list(modules.values())
    (directory / stored["near"]).write_bytes(pack(modules["near"])[:-1])
    done = run_fake(*words)
    assert (done.returncode, calls(done)) == (1, [])
    errors = [step.error for step in load(index, index.plan(["far"]), fake, directory)]
    assert errors == ["its packed file is damaged", "it needs near, which was not loaded"]
    for name, error in zip(modules, errors, strict=True):
        assert f"tinykmod: module {name}: {error}\n" in done.stderr
