"""modprobe loads into and removes from a kernel that is made of files: the order, the options, what went wrong."""

from __future__ import annotations

import errno
import inspect
import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.kmod.config import read_config
from tinykmod.kmod.depends import resolve
from tinykmod.kmod.lookup import ModuleFiles
from tinykmod.kmod.modprobe import FailedError, Flags, Modprobe
from tinykmod.kmod.names import module_name
from tinykmod.modules.tree import ModuleTree, read_directory

MODULES = {
    "kernel/base.ko": {"exports": {"base": 1}},
    "kernel/mid-dle.ko": {"exports": {"mid": 2}, "imports": {"base": 1},
                          "modinfo": [("softdep", "pre: crypto-sum post: after")]},
    "kernel/top.ko": {"imports": {"mid": 2}, "modinfo": [("alias", "dev:*")]},
    "kernel/before.ko": {"modinfo": [("alias", "crypto-sum")]},
    "kernel/after.ko": {"imports": {"base": 1}},
    "kernel/second.ko": {},
    "kernel/lone.ko.xz": {},
    "kernel/loop-a.ko": {"modinfo": [("softdep", "pre: loop_b")]},
    "kernel/loop-b.ko": {"modinfo": [("softdep", "pre: loop-a")]},
    "kernel/also.ko": {"modinfo": [("alias", "dev:*")]},
}  # fmt: skip


class FakeKernel:
    """sys/module and proc/cmdline below a root, and the three calls, which keep sys/module as a kernel would."""

    def __init__(self, root: Path, tree: ModuleTree) -> None:
        self.root = root
        direct = resolve(tree.modules).direct
        self.needs = {module.name: [tree.modules[n].name for n in direct[number]]
                      for number, module in enumerate(tree.modules)}  # fmt: skip
        self.log: list[tuple[object, ...]] = []
        self.refuses: dict[str, int] = {}
        (root / "sys/module").mkdir(parents=True)
        (root / "proc").mkdir()
        self.boot("")

    def boot(self, command_line: str) -> None:
        (self.root / "proc/cmdline").write_text(f"{command_line}\n")

    def loaded(self) -> set[str]:
        return {path.name for path in (self.root / "sys/module").iterdir()}

    def load(self, *names: str, state: str = "live") -> None:
        """What was loaded before, without a call."""
        for name in names:
            directory = self.root / "sys/module" / name
            (directory / "holders").mkdir(parents=True)
            (directory / "initstate").write_text(f"{state}\n")
            self.use(name, 0)
            for needed in self.needs[name]:
                (directory.parent / needed / "holders" / name).symlink_to(directory)
                self.use(needed, 1)

    def use(self, name: str, change: int) -> None:
        file = self.root / "sys/module" / name / "refcnt"
        file.write_text(f"{int(file.read_text()) + change if file.exists() else 0}\n")

    def finit_module(self, path: Path, options: str, flags: int) -> int:
        name = module_name(str(path))
        self.log.append(("load", name, options, flags))
        if name in self.refuses:
            return self.refuses[name]
        if name in self.loaded():
            return -errno.EEXIST
        if not self.loaded().issuperset(self.needs[name]):
            return -errno.ENOENT
        self.load(name)
        return 0

    def init_module(self, image: bytes, options: str) -> int:
        self.log.append(("image", image[:4], options))
        return 0

    def delete_module(self, name: str, flags: int) -> int:
        self.log.append(("remove", name, flags))
        directory = self.root / "sys/module" / name
        if not directory.exists():
            return -errno.ENOENT
        if name in self.refuses or int((directory / "refcnt").read_text()):
            return self.refuses.pop(name, -errno.EAGAIN)
        for needed in self.needs[name]:
            (directory.parent / needed / "holders" / name).unlink()
            self.use(needed, -1)
        for file in ("initstate", "refcnt"):
            (directory / file).unlink()
        (directory / "holders").rmdir()
        directory.rmdir()
        return 0


class Machine:
    """A kernel, and a modprobe for it."""

    def __init__(self, root: Path, tree: ModuleTree, where: Path) -> None:
        self.files = ModuleFiles(tree.directory)
        self.kernel = FakeKernel(where / "kernel", tree)
        self.config = where / "modprobe.conf"
        self.config.write_text("")
        self.shown: list[str] = []
        self.told: list[str] = []

    def modprobe(self, **flags: object) -> Modprobe:
        config = read_config(None, paths=[self.config], also=[self.files.directory / "modules.softdep"])
        return Modprobe(
            self.files, config, Flags(**flags), system=lambda: self.kernel, show=self.shown.append,
            say=lambda severity, text: self.told.append(f"{severity.value}: {text}"), kernel=self.kernel.root,
        )  # fmt: skip

    def insert(self, request: str, options: str = "", **flags: object) -> list[str]:
        """The modules that were tried to load."""
        before = len(self.kernel.log)
        self.modprobe(**flags).insert(request, options)
        return [str(call[1]) for call in self.kernel.log[before:]]

    def remove(self, request: str, **flags: object) -> list[str]:
        """The modules that were tried to remove."""
        before = len(self.kernel.log)
        self.modprobe(**flags).remove(request)
        return [str(call[1]) for call in self.kernel.log[before:]]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> ModuleTree:
    root = make_tree(tmp_path_factory.mktemp("tree") / "root", MODULES, builtin={"inside": ["in:*"]})
    subprocess.run(["/sbin/depmod", "-b", root, RELEASE], check=True)
    return read_directory(root / "lib/modules" / RELEASE, RELEASE)


@pytest.fixture
def machine(tree: ModuleTree, tmp_path: Path) -> Machine:
    return Machine(tree.directory, tree, tmp_path)


def test_what_is_needed_is_loaded_once_and_first(machine: Machine) -> None:
    assert machine.insert("top", "a=1") == ["base", "before", "mid_dle", "after", "top"]
    assert machine.kernel.log[-1] == ("load", "top", "a=1", 0)
    assert machine.insert("top") == []
    assert machine.insert("loop-a") == ["loop_b", "loop_a"]


def test_what_is_loaded_is_left_alone(machine: Machine) -> None:
    machine.kernel.load("base", "before")
    assert machine.insert("top") == ["mid_dle", "after", "top"]


def test_coming_is_not_loaded(machine: Machine) -> None:
    machine.kernel.load("second", state="coming")
    assert machine.insert("second") == ["second"], "EEXIST is success"
    with pytest.raises(FailedError):
        machine.insert("second", first_time=True)
    assert machine.told == ["ERROR: could not insert 'second': Module already in kernel"]


def test_the_first_time(machine: Machine) -> None:
    machine.kernel.load("base")
    assert machine.insert("after", first_time=True) == ["after"], "only the requested module counts"
    for request in ("after", "inside"):
        with pytest.raises(FailedError):
            machine.insert(request, first_time=True)
    assert machine.insert("inside") == []


def test_a_need_that_fails_ends_it(machine: Machine) -> None:
    machine.kernel.refuses["mid_dle"] = -errno.ENOMEM
    with pytest.raises(FailedError):
        machine.insert("top")
    assert [call[1] for call in machine.kernel.log] == ["base", "before", "mid_dle"]
    assert machine.told == ["ERROR: could not insert 'top': Cannot allocate memory"]


def test_a_softdep_that_fails_does_not(machine: Machine) -> None:
    machine.kernel.refuses = {"before": -errno.ENODEV, "after": -errno.ENODEV}
    assert machine.insert("top")[-1] == "top"
    assert machine.told == []


def test_of_several_modules_the_last_decides(machine: Machine) -> None:
    machine.kernel.refuses["top"] = -errno.ENODEV
    assert machine.insert("dev:1")[-2:] == ["top", "also"]
    assert machine.told == ["ERROR: could not insert 'top': No such device"]
    machine.remove("also")
    machine.kernel.refuses = {"also": -errno.ENODEV}
    with pytest.raises(FailedError):
        machine.insert("dev:1")
    assert "top" in machine.kernel.loaded()


@pytest.mark.parametrize(
    ("flags", "number"),
    [({}, 0), ({"ignore_modversions": True}, 1), ({"ignore_vermagic": True}, 2),
     ({"ignore_modversions": True, "ignore_vermagic": True}, 3)],
)  # fmt: skip
def test_force_is_for_all_that_is_loaded(machine: Machine, flags: dict[str, bool], number: int) -> None:
    machine.insert("after", **flags)
    assert machine.kernel.log == [("load", "base", "", number), ("load", "after", "", number)]


def test_compression(machine: Machine) -> None:
    machine.insert("lone", "a=1")
    assert machine.kernel.log == [("load", "lone", "a=1", 4)]


def test_a_kernel_that_does_not_decompress(machine: Machine) -> None:
    machine.kernel.refuses["lone"] = -errno.ENOSYS
    machine.insert("lone", "a=1")
    assert machine.kernel.log[1:] == [("image", b"\x7fELF", "a=1")]


def test_a_file_that_is_not_there(machine: Machine, tmp_path: Path) -> None:
    machine.files = ModuleFiles(tmp_path)
    (tmp_path / "modules.dep").write_text("gone.ko:\n")
    with pytest.raises(FailedError):
        machine.insert("gone")
    assert machine.told[0].startswith("ERROR: could not insert 'gone': Unknown symbol in module")


def test_options_of_the_configuration_the_kernel_command_line_and_the_caller(machine: Machine) -> None:
    machine.config.write_text("options mid-dle a=1\noptions dev:x b=2\noptions top c=3\noptions top.ko d\n")
    machine.kernel.boot(
        'mid-dle.e=4 top.f="g h" top.i "top.j=k l" top.m.n=1 top.=x modprobe.blacklist=also -- top.last'
    )
    machine.insert("dev:x", "o=5")
    assert [call[1:3] for call in machine.kernel.log] == [
        ("base", ""), ("before", ""), ("mid_dle", "a=1 e=4"), ("after", ""),
        ("top", 'b=2 c=3 f="g h" i j="k l" last o=5'),
    ]  # fmt: skip


def test_an_open_quote_on_the_kernel_command_line_ends_with_it(machine: Machine) -> None:
    machine.kernel.boot('second.a="b c')
    machine.insert("second")
    assert machine.kernel.log[-1][2] == 'a="b c"'


def test_the_kernel_command_lines_blacklist_is_normalised(machine: Machine) -> None:
    machine.config.write_text("alias al mid_dle\nalias bl top\nalias cl second\n")
    machine.kernel.boot("modprobe.blacklist=mid-dle,top -- modprobe.blacklist=second")
    assert machine.insert("al") == machine.insert("bl") == machine.insert("cl") == []
    assert machine.insert("top", use_blacklist=True) == []
    assert machine.insert("top") != []


def test_install_commands(machine: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    machine.config.write_text(f"install top echo $MODPROBE_MODULE $CMDLINE_OPTS >> {out}\noptions top a=1\n"
                              f"install before echo before >> {out}\ninstall base exit 3\n")  # fmt: skip
    machine.kernel.load("base")
    assert machine.insert("top", "b=2") == ["mid_dle", "after"]
    assert out.read_text() == "before\ntop a=1 b=2\n"
    assert machine.insert("top", ignore_commands=True) == ["top"]
    machine.remove("top", ignore_commands=True)
    assert machine.remove("after") == ["after", "base"]
    with pytest.raises(FailedError):
        machine.insert("after")
    assert machine.told == [
        "ERROR: Error running install command 'exit 3' for module base: retcode 3",
        "ERROR: could not insert 'after': Invalid argument",
    ]


def test_removal_takes_softdeps_and_what_is_no_longer_needed(machine: Machine) -> None:
    machine.kernel.load("base", "before", "mid_dle", "after", "top", "second")
    assert machine.remove("top") == ["top", "mid_dle"], "base is in use by after"
    assert machine.remove("after") == ["after", "base"]
    machine.kernel.load("base", "mid_dle", "after")
    assert machine.remove("mid-dle") == ["after", "mid_dle", "base", "before"]
    assert machine.kernel.loaded() == {"second"}
    assert {call[2] for call in machine.kernel.log} == {os.O_NONBLOCK}


def test_what_is_in_use_stays(machine: Machine) -> None:
    machine.kernel.load("base", "mid_dle", "top")
    with pytest.raises(FailedError):
        machine.remove("mid-dle", force_removal=True)
    assert machine.told == ["FATAL: Module mid_dle is in use."]
    assert machine.remove("base", remove_holders=True) == ["top", "mid_dle", "base"]


def test_waiting(machine: Machine) -> None:
    machine.kernel.load("second")
    machine.kernel.refuses["second"] = -errno.EAGAIN
    assert machine.remove("second", wait=1.0) == ["second", "second"]
    machine.kernel.load("base", "after")
    with pytest.raises(FailedError):
        machine.remove("base", wait=0.05)
    assert machine.told == ["ERROR: could not remove 'base': Resource temporarily unavailable"]


def test_removal_of_what_is_not_there(machine: Machine) -> None:
    assert machine.remove("top") == []
    for request, flags, told in (
        ("top", {"first_time": True}, "Module top is not in kernel."),
        ("inside", {}, "Module inside is builtin."),
        ("none", {}, "Module none not found."),
    ):
        with pytest.raises(FailedError):
            machine.remove(request, **flags)
        assert machine.told.pop() == f"FATAL: {told}"


def test_remove_commands(machine: Machine, tmp_path: Path) -> None:
    out = tmp_path / "out"
    machine.config.write_text(f"remove mid-dle echo $MODPROBE_MODULE >> {out}\nremove top false\nremove none echo x\n"
                              "remove loop_b true\n")  # fmt: skip
    machine.kernel.load("base", "mid_dle", "top", "after", "before")
    with pytest.raises(FailedError):
        machine.remove("top")
    assert machine.told == ["FATAL: Error running remove command for top"]
    assert machine.remove("mid-dle") == ["after", "before"]
    assert out.read_text() == "mid_dle\n"
    assert machine.remove("top", ignore_commands=True) == ["top", "mid_dle", "base"]
    machine.remove("none", verbose=True)
    assert machine.shown == ["remove echo x"]
    assert machine.remove("loop-b") == [], "kmod goes round this loop of softdeps until it is killed"


def test_what_cannot_be_counted_is_not_removed(machine: Machine, tree: ModuleTree) -> None:
    """The kernel holds it, or does not tell who uses it."""
    machine.config.write_text("remove top echo x\n")
    machine.kernel.load("base", "mid_dle", "top")
    for name in ("base", "mid_dle"):
        (machine.kernel.root / "sys/module" / name / "refcnt").unlink()
    machine.remove("top", dry_run=True, verbose=True)
    assert machine.shown == ["remove echo x"]
    assert _kmod_over(machine, tree, "-rnv", "top") in (None, machine.shown)


def test_a_long_chain_of_softdeps(tree: ModuleTree, tmp_path: Path) -> None:
    names = [f"m{number}" for number in range(100)]
    (tmp_path / "modules.dep").write_text("".join(f"{name}.ko:\n" for name in names))
    for name in names:
        (tmp_path / f"{name}.ko").touch()
    machine = Machine(tree.directory, tree, tmp_path)
    machine.files = ModuleFiles(tmp_path)
    machine.kernel.needs = {name: [] for name in names}
    machine.config.write_text("".join(f"softdep {one} pre: {other}\n" for one, other in itertools.pairwise(names)))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 60)
    try:
        assert machine.insert("m0") == names[::-1]
        assert machine.remove("m0") == names
    finally:
        sys.setrecursionlimit(limit)


def test_weakdeps_are_not_loaded(machine: Machine) -> None:
    """They are for those who make images; kmod 33, which knows them, does not load them either."""
    machine.config.write_text("weakdep second lone\n")
    assert machine.insert("second") == ["second"]


def test_a_force_of_the_kernels(machine: Machine) -> None:
    machine.kernel.load("second")
    machine.remove("second", force_removal=True)
    assert machine.kernel.log == [("remove", "second", os.O_NONBLOCK | os.O_TRUNC)]


#: requests and options, and what kmod 30 printed with these modules in /sys/module.
LOADED = [
    ("top", "", ["rmmod top"]),
    ("mid-dle", "", ["rmmod after", "Module mid_dle is in use."]),
    ("base", "", ["Module base is in use."]),
    ("before", "", ["rmmod before"]),
    ("loop-a", "softdep loop_a post: second pre: before", ["rmmod second", "rmmod loop_a", "rmmod before"]),
    ("loop-a", "softdep loop_a post: second top mid-dle", ["rmmod after", "Module mid_dle is in use."]),
    ("mid-dle", "remove mid_dle echo x", ["rmmod after", "remove echo x", "rmmod before"]),
    ("top", "remove mid_dle echo x", ["rmmod top"]),
    ("loop-a", "softdep loop_a post: inside none before", ["rmmod before", "rmmod loop_a"]),
]


@pytest.mark.parametrize(("request_", "config", "kmods"), LOADED)
def test_a_dry_removal_prints_what_kmods_does(
    machine: Machine, tree: ModuleTree, request_: str, config: str, kmods: list[str]
) -> None:
    machine.config.write_text(f"{config}\n")
    machine.kernel.load("base", "mid_dle", "top", "before", "after", "second", "loop_a")
    try:
        machine.remove(request_, dry_run=True, verbose=True)
    except FailedError:
        machine.shown.append(machine.told[0].removeprefix("FATAL: "))
    assert machine.shown == kmods
    assert machine.kernel.log == []
    theirs = _kmod_over(machine, tree, "-rnv", request_)
    assert theirs is None or theirs == kmods


def _kmod_over(machine: Machine, tree: ModuleTree, *words: str) -> list[str] | None:
    """Debian's modprobe in a mount namespace with the fake kernel's files; None where this user may have none."""
    mounts = 'mount --bind "$1/sys/module" /sys/module && mount --bind "$1/proc/cmdline" /proc/cmdline'

    def run(script: str, *given: object) -> subprocess.CompletedProcess[str]:
        command = ["unshare", "-rm", "sh", "-c", script, "sh", str(machine.kernel.root), *map(str, given)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    if run(mounts).returncode:
        return None
    given = ["-C", machine.config, "-d", tree.directory.parents[2], "-S", RELEASE, *words]
    done = run(f'{mounts} && shift && exec /sbin/modprobe "$@"', *given)
    return [*done.stdout.splitlines(), *(line.removeprefix("modprobe: FATAL: ") for line in done.stderr.splitlines())]


@pytest.mark.parametrize(
    ("command_line", "kmods"),
    [
        ("a.b=1 c-d.e-f=2 z.flag x y.=", ["options a b=1", "options c_d e-f=2", "options z flag"]),
        ('"x.p=a b" y.p="a b" z.q= a.b.c=1', ['options x p="a b"', 'options y p="a b"', "options z q="]),
        ("a.b=c=d a.b=c.d -- later.x=1 x=a.b", ["options a b=c=d", "options a b=c.d", "options later x=1"]),
        ("modprobe.blacklist=a,b modprobe.blacklist=c", ["blacklist a", "blacklist b", "blacklist c"]),
        ('k"l m".n=o "a b.c=d" e.f=1', ["options e f=1"]),
        (
            'z.w=1"2 3"4 k.l="a b"c q.o="a"b "s.t=u v"',
            ['options z w=1"2 3"4', 'options k l="a b"c', 'options q o="a"b', 'options s t="u v"'],
        ),
    ],
)
def test_the_kernel_command_line_is_shown_as_kmod_shows_it(
    machine: Machine, tree: ModuleTree, command_line: str, kmods: list[str]
) -> None:
    def said(lines: list[str]) -> list[str]:
        # kmod takes `y.=` for an option without a name.
        return [line for line in lines if line.startswith(("options ", "blacklist ")) and not line.endswith(" =")]

    machine.kernel.boot(command_line)
    machine.modprobe().show_config()
    assert said(machine.shown) == kmods
    theirs = _kmod_over(machine, tree, "-c")
    assert theirs is None or said(theirs) == kmods


def test_a_real_kernels_modules_go_in_and_out(
    depmod_root: Path, kernel: Kernel, tmp_path: Path, real_tree: ModuleTree
) -> None:
    """In: the order of modprobe -D, each once. Out again: all of it, and never one that is in use."""
    names = [module.name for module in real_tree.modules][::151]
    for number, name in enumerate(names):
        where = tmp_path / str(number)
        where.mkdir()
        machine = Machine(depmod_root, real_tree, where)
        inserted = machine.insert(name)
        command = ["/sbin/modprobe", "-C", "/dev/null", "-d", depmod_root, "-S", kernel.release, "-D", name]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
        assert inserted == list(dict.fromkeys(module_name(line.split()[1]) for line in shown))
        soft = machine.kernel.loaded() - {name} - _closure(machine.kernel.needs, name)
        machine.remove(name)
        # What only a softdep of a dependency has brought is not taken away.
        assert machine.kernel.loaded() <= soft.union(*(_closure(machine.kernel.needs, module) for module in soft))
        assert name not in machine.kernel.loaded()
        assert machine.told == []


@pytest.fixture(scope="module")
def real_tree(depmod_root: Path, kernel: Kernel) -> ModuleTree:
    return read_directory(depmod_root / "lib/modules" / kernel.release, kernel.release)


def _closure(needs: dict[str, list[str]], name: str) -> set[str]:
    return set(needs[name]).union(*(_closure(needs, needed) for needed in needs[name]))
