"""modprobe -D, -R, -r, -c and modinfo of the loader, beside Debian's kmod."""

from __future__ import annotations

import errno
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_cases import image
from forging import EDITS, forge
from hypothesis import HealthCheck, given, settings
from make_ko import make_ko
from make_tree import RELEASE, make_tree

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return image(tmp_path / "root", 'options disk a=1 b="2 3"\nalias eth0 sound\nblacklist spare\nalias gone off\n')


def kmod(tool: str, *words: str | Path) -> str:
    done = subprocess.run([f"/sbin/{tool}", *words], capture_output=True, text=True, check=False)
    return done.stdout


def config_of(root: Path) -> tuple[str | Path, ...]:
    return ("-C", root / "etc/modprobe.d", "-d", root, "-S", RELEASE)


@pytest.mark.parametrize("option", ["-D", "--show-depends"])
def test_show_depends_is_kmods(root: Path, tmp_path: Path, run_fake: Run, option: str) -> None:
    # What is loaded already is listed all the same.
    (tmp_path / "sysroot/sys/module/base").mkdir(parents=True)
    (tmp_path / "sysroot/sys/module/base/initstate").write_text("live\n")
    for words in (["disk"], ["sound", "x=1", "y=2 3"], ["eth0"], ["pci:disk7"], ["-a", "disk", "sound", "disk"]):
        base = ("-d", root, "-S", RELEASE, "--sysroot", tmp_path / "sysroot")
        ours = run_fake("modprobe", option, *base, *words)
        assert (ours.returncode, ours.stderr) == (0, "")
        assert ours.stdout == kmod("modprobe", *config_of(root), "-D", *words) != ""


def test_show_depends_of_builtin_and_forbidden_modules(tmp_path: Path, run_fake: Run) -> None:
    modules = {"kernel/a.ko": {"imports": {"b": 1}}, "kernel/b.ko": {"exports": {"b": 1}}}
    root = make_tree(tmp_path / "root", modules, builtin={"inside": ["fs-inside"]}, config="install b /bin/true\n")
    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    data = compile_index(read_tree(root, RELEASE), read_config(root))
    (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(data)
    for name in ("inside", "fs-inside", "a", "b"):
        ours = run_fake("modprobe", "-D", "-d", root, "-S", RELEASE, name)
        assert ours.stdout == kmod("modprobe", *config_of(root), "-D", name) != ""


def test_resolve_is_kmods(root: Path, run_fake: Run) -> None:
    for words in (["disk"], ["eth0"], ["pci:disk1"], ["eth0", "disk"], ["-a", "eth0", "pci:disk1", "disk"]):
        ours = run_fake("modprobe", "-R", "-d", root, "-S", RELEASE, *words)
        assert (ours.returncode, ours.stderr) == (0, "")
        assert ours.stdout == kmod("modprobe", *config_of(root), "-R", *words) != ""
    for name in ("nowhere", "gone"):
        done = run_fake("modprobe", "--resolve-alias", "-d", root, "-S", RELEASE, name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)


def test_config_is_printed_as_kmod_prints_it(tmp_path: Path, run_fake: Run) -> None:
    # kmod 30 forgets the blank between the two lists of a softdep.
    lines = ["alias eth-0 sound", "options disk a=1", "blacklist spare", "install crc /bin/x  y", "remove crc /bin/z",
             "softdep disk pre: crc spare"]  # fmt: skip
    root = image(tmp_path / "root", "\n".join(lines) + "\n")
    theirs = kmod("modprobe", *config_of(root), "-c").partition("\n# End of configuration files")[0]
    on_command_line = kmod("modprobe", "-C", "/dev/null", "-c").partition("\n# End of configuration files")[0]
    # Its own softdep lines come from modules.softdep, which the index has as lists.
    expected = [line.strip() for line in theirs.splitlines() if line not in on_command_line.splitlines()]
    ours = run_fake("modprobe", "-c", "-d", root, "-S", RELEASE)
    assert (ours.returncode, ours.stderr) == (0, "")
    assert ours.stdout.splitlines() == [line for line in expected if line != "softdep disk pre: crypto-crc"]
    assert len(ours.stdout.splitlines()) == len(lines)
    assert run_fake("modprobe", "--showconfig", "-d", root, "-S", RELEASE).stdout == ours.stdout


def loaded(sysroot: Path, **refcnt: int | None) -> None:
    """Modules that the kernel has, by the number of their users; None: it does not tell."""
    for name, count in refcnt.items():
        directory = sysroot / "sys/module" / name
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "initstate").write_text("live\n")
        if count is not None:
            (directory / "refcnt").write_text(f"{count}\n")


def test_remove_takes_what_nothing_uses_any_more(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "softdep disk post: spare packed\nalias eth0 sound\n")
    sysroot = tmp_path / "sysroot"
    words = ("modprobe", "-r", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    loaded(sysroot, disk=0, base=0, crc=0, spare=0, packed=1)
    gone = ["spare", "disk", "crc", "base"]
    assert run_fake(*words, "disk").stdout == "".join(f"delete_module {name} = 0\n" for name in gone)
    dry = run_fake(*words, "-nv", "disk")
    assert dry.stdout == "".join(f"rmmod {name}\n" for name in gone)
    (sysroot / "sys/module/crc/refcnt").unlink()
    loaded(sysroot, base=1, crc=None, sound=0)
    assert run_fake(*words, "disk").stdout == "delete_module spare = 0\ndelete_module disk = 0\n"
    both = run_fake(*words, "crc", "eth0")
    assert both.stdout == "delete_module crc = 0\ndelete_module sound = 0\n"


def test_remove_tells_what_could_not_go(tmp_path: Path, run_fake: Run) -> None:
    root = make_tree(tmp_path / "root", {"kernel/a.ko": {"imports": {"b": 1}}, "kernel/b.ko": {"exports": {"b": 1}}},
                     builtin={"inside": []}, config="remove a /bin/z\n")  # fmt: skip
    data = compile_index(read_tree(root, RELEASE), read_config(root))
    (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(data)
    sysroot = tmp_path / "sysroot"
    words = ("modprobe", "-r", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    loaded(sysroot, a=0, b=0)
    busy = run_fake(*words, "a", fail={"a": errno.EAGAIN})
    assert (busy.returncode, busy.stdout) == (1, f"delete_module a = {-errno.EAGAIN}\n")
    assert busy.stderr.splitlines() == [
        "tinykmod: module a: its remove command is not run here; it is removed as usual",
        "tinykmod: module a: in use",
    ]
    # Of what was not asked for nothing is said.
    quiet = run_fake(*words, "a", "b", fail={"b": errno.EBUSY})
    assert (quiet.returncode, quiet.stderr.splitlines()[1:]) == (1, ["tinykmod: module b: in use"])
    for name, code in (("inside", 1), ("none", 1)):
        done = run_fake(*words, name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
    # Not loaded is as good as removed (kmod).
    for name in ("a", "b"):
        (sysroot / "sys/module" / name / "initstate").unlink()
    done = run_fake(*words, "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_loop_of_softdeps_ends_the_removal(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "softdep crc pre: spare post: spare\nsoftdep spare pre: crc post: crc\n")
    loaded(tmp_path / "sysroot", crc=0, spare=0)
    done = run_fake("modprobe", "-r", "-d", root, "-S", RELEASE, "--sysroot", tmp_path / "sysroot", "crc")
    assert sorted(done.stdout.splitlines()) == ["delete_module crc = 0", "delete_module spare = 0"]


PLAIN = {
    "modinfo": [
        ("license", "GPL"), ("parm", "one:the first (really)"), ("parmtype", "two:uint"), ("alias", "pci:x*"),
        ("parm", "two:with: colon"), ("parmtype", "one:int"), ("parmtype", "three:bool"), ("parm", "four:no type"),
        ("a_rather_long_key", "value"), ("fifteen_letters", "v"), ("description", ""), ("depends", "a,b"),
    ],
}  # fmt: skip


def test_modinfo_prints_what_kmods_prints(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "alias eth0 disk\n")
    plain = tmp_path / "plain.ko"
    plain.write_bytes(make_ko(**PLAIN))
    other = tmp_path / "other.ko"
    other.write_bytes(make_ko(**PLAIN, bits=32, little_endian=False))
    fields = ("parm", "parmtype", "filename", "alias", "none")
    for words in ([plain], [plain, other], *(["-F", field, plain] for field in fields)):
        done = run_fake("modinfo", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, kmod("modinfo", *words), "")
    for name in ("disk", "pci:disk1", "crypto-crc"):
        ours = run_fake("modinfo", "-b", root, "-k", RELEASE, name)
        assert ours.stdout == kmod("modinfo", "-b", root, "-k", RELEASE, name) != ""
    assert run_fake("modinfo", "--field", "alias", "-b", root, "-k", RELEASE, "eth0").stdout == "pci:disk*\n"


def test_modinfo_of_a_compressed_module_is_what_the_index_knows(tmp_path: Path, run_fake: Run) -> None:
    modules = {
        "kernel/b.ko": {"exports": {"b": 1}},
        "kernel/drivers/c.ko.xz": {
            "imports": {"b": 1, "device_add_disk": None},
            "modinfo": [("alias", "pci:c[0-9]?x*"), ("alias", "pci:c-y"), ("softdep", "pre: d post: e b")],
        },
        "kernel/d.ko": {"modinfo": [("alias", "pci:c*")]},
        "kernel/e.ko": {},
    }
    root = make_tree(tmp_path / "root", modules, builtin={"inside": []}, config="options c a=1\nalias eth0 c\n")
    data = compile_index(read_tree(root, RELEASE), read_config(root))
    (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(data)
    done = run_fake("modinfo", "-b", root, "-k", RELEASE, "eth0", "inside")
    assert (done.returncode, done.stderr) == (
        0, "tinykmod: modinfo kernel/drivers/c.ko.xz: compressed: this is what the boot index knows\n",
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert sorted(lines[1:3]) == ["alias:          pci:c-y", "alias:          pci:c[0-9]?x*"]
    assert [lines[0], *lines[3:]] == [
        f"filename:       {root}/lib/modules/{RELEASE}/kernel/drivers/c.ko.xz",
        "softdep:        pre: d post: e b",
        "depends:        b",
        "name:           c",
        "options:        a=1",
        "class:          storage",
        "name:           inside",
        "filename:       (builtin)",
    ]


def test_modinfo_of_what_is_not_there_is_one_line(root: Path, tmp_path: Path, run_fake: Run) -> None:
    (tmp_path / "x.ko").write_bytes(make_ko()[:100])
    (tmp_path / "empty.ko").write_bytes(b"")
    (root / "lib/modules" / RELEASE / "kernel/crc.ko").unlink()
    for name in ("none", "gone", tmp_path / "x.ko", tmp_path / "empty.ko", tmp_path / "none.ko", "crc"):
        done = run_fake("modinfo", "-b", root, "-k", RELEASE, "-F", "license", name)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert run_fake("modinfo").returncode == 1
    assert run_fake("modinfo", "-Z", "x").stderr.startswith("usage: modinfo")


@pytest.fixture(scope="module")
def real(kernel: Kernel, depmod_root: Path, kernel_index: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with Debian's modules, through links, and their index."""
    root = tmp_path_factory.mktemp("real")
    home = root / "lib/modules" / kernel.release
    home.mkdir(parents=True)
    for entry in (depmod_root / "lib/modules" / kernel.release).iterdir():
        (home / entry.name).symlink_to(entry)
    (home / "tinykmod.tki").symlink_to(kernel_index)
    return root


def answers(text: str) -> list[list[str]]:
    """The modules of each answer, each once; of softdeps the index has only those that can be loaded."""
    lines = (answer.splitlines() for answer in text.split("builtin 8250\n"))
    return [list(dict.fromkeys(line for line in answer if not line.startswith("builtin "))) for answer in lines]


def test_show_depends_of_every_real_module(real: Path, kernel: Kernel, kernel_index: Path) -> None:
    index = Index(kernel_index.read_bytes())
    # kmod takes one softdep line of a module (its issue 33).
    softdeps = (real / "lib/modules" / kernel.release / "modules.softdep").read_text().splitlines()
    lines = Counter(line.split()[1] for line in softdeps if line.startswith("softdep "))
    several = {name for name, count in lines.items() if count > 1}
    names = [name for name in index.names if not several & {step.module for step in index.plan([name])}]
    assert len(names) > 4000
    for start in range(0, len(names), 1000):
        batch = names[start : start + 1000]
        # A builtin module's line between two answers tells them apart.
        words = ["-d", real, "-S", kernel.release, "-aD", *(word for name in batch for word in (name, "8250"))]
        ours = subprocess.run([loaders.find(), "modprobe", *words], capture_output=True, text=True, check=True).stdout
        theirs = kmod("modprobe", "-C", "/dev/null", *words)
        assert len(answers(ours)) == len(batch) + 1
        assert answers(ours) == answers(theirs)


def test_modinfo_of_real_modules(real: Path, kernel: Kernel, kernel_index: Path) -> None:
    index = Index(kernel_index.read_bytes())
    words = ["-b", real, "-k", kernel.release, *index.names[::8]]
    ours = subprocess.run([loaders.find(), "modinfo", *words], capture_output=True, text=True, check=True).stdout
    signature = re.compile(r"(sig|signer:).*|\t\t([0-9A-F]{2}:?)+")
    theirs = [line for line in kmod("modinfo", *words).splitlines() if not signature.fullmatch(line)]
    assert ours.splitlines() == theirs
    assert len(theirs) > 4000


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_a_lying_index_ends_in_an_answer_or_an_error(
    tmp_path_factory: pytest.TempPathFactory, edits: list[tuple[float, int]]
) -> None:
    root = tmp_path_factory.mktemp("lie") / "root"
    modules = {"kernel/a.ko.xz": {"modinfo": [("alias", "x:[a-c]*y"), ("alias", "x:?"), ("softdep", "pre: b")]},
               "kernel/b.ko": {}}  # fmt: skip
    make_tree(root, modules, config="alias e* a\noptions e* x=1\ninstall b /bin/false\nremove a /x\n")
    data = compile_index(read_tree(root, RELEASE), read_config(root))
    (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(forge(data, edits))
    loaded(root, a=0, b=0)
    base = ("-d", root, "-S", RELEASE, "--sysroot", root)
    for words in (("modprobe", "-c"), ("modprobe", "-aD", "eth0", "a", "b"), ("modprobe", "-rn", "a", "eth0")):
        done = subprocess.run([loaders.find(), *words[:2], *base, *words[2:]], capture_output=True, check=False)
        assert done.returncode in (0, 1), words
    modinfo = [loaders.find(), "modinfo", "-b", root, "-k", RELEASE, "a", "e1"]
    assert subprocess.run(modinfo, capture_output=True, check=False).returncode in (0, 1)
