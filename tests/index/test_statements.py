"""modprobe.d in the boot index: where each statement came from, and what it does at boot."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from boot_cases import image
from faces import Face, insmods
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.index.compiler import compile_index, install_notes
from tinykmod.index.reader import Index
from tinykmod.index.schema import ModuleFlag
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree

Run = Callable[..., "subprocess.CompletedProcess[str]"]

EVERYTHING = """\
# every kind
options disk a=1 \\
  b="2 3"
blacklist spare-part
softdep disk pre: crc post: spare
alias eth-0 sound
install sound /bin/echo x; /bin/y
remove sound /bin/z
weakdep disk sound
"""
SAID = [
    ("blacklist spare_part", 4),
    ("install sound /bin/echo x; /bin/y", 7),
    ("remove sound /bin/z", 8),
    ("alias eth_0 sound", 6),
    ('options disk a=1   b="2 3"', 2),
    ("softdep disk pre: crc post: spare", 5),
    ("weakdep disk sound", 9),
]


def test_dump_shows_each_statement_with_its_place(tmp_path: Path, run_tinykmod: Run) -> None:
    root = make_tree(tmp_path / "root", {"kernel/disk.ko": {}}, config=EVERYTHING)
    done = run_tinykmod("index", "build", "-b", root, "-o", tmp_path / "x.tki", RELEASE)
    file = root / "etc/modprobe.d/test.conf"
    warning = f"tinykmod: {file}:7: install: commands are not run at boot, sound is loaded as usual\n"
    assert (done.returncode, done.stderr) == (0, warning)
    text = run_tinykmod("index", "dump", tmp_path / "x.tki").stdout
    lines = "".join(f"  /etc/modprobe.d/test.conf:{line}: {said}\n" for said, line in SAID)
    assert text.endswith(f"\n\nconfiguration:\n{lines}")
    found = json.loads(run_tinykmod("index", "dump", "--json", tmp_path / "x.tki").stdout)["configuration"]
    assert found[4] == {
        "kind": "options", "name": "disk", "text": 'a=1   b="2 3"', "where": "/etc/modprobe.d/test.conf:2",
    }  # fmt: skip


def test_config_may_come_from_elsewhere(tmp_path: Path, run_tinykmod: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make_tree(tmp_path / "root", {"kernel/disk.ko": {}}, config="options disk own=1\n")
    (root / "conf.d").mkdir()
    (root / "conf.d/b.conf").write_text("options disk b=2\n")
    monkeypatch.chdir(tmp_path)
    Path("a").write_text("\noptions disk a=1\n")

    def build(*words: str | Path) -> Index:
        done = run_tinykmod("index", "build", "-b", root, "-o", tmp_path / "x.tki", *words, RELEASE)
        assert (done.returncode, done.stderr) == (0, "")
        return Index((tmp_path / "x.tki").read_bytes())

    assert build().options("disk") == "own=1"
    index = build("-C", "a", "-C", root / "conf.d")
    assert index.options("disk") == "a=1 b=2"
    assert [item.where for item in index.statements] == ["a:2", "/conf.d/b.conf:1"]
    missing = run_tinykmod("index", "build", "-b", root, "-o", tmp_path / "y.tki", "-C", "none", RELEASE)
    assert (missing.returncode, missing.stderr.splitlines()[-1]) == (
        2, "tinykmod index build: argument -C/--config: none: no such file or directory; "
        "see tinykmod index build --help",
    )  # fmt: skip
    assert not (tmp_path / "y.tki").exists()


def test_the_roots_own_place_is_not_in_the_index(tmp_path: Path) -> None:
    made = []
    for place in (tmp_path / "a", tmp_path / "else/where"):
        root = make_tree(place, {"kernel/disk.ko": {}, "kernel/sound.ko": {}}, config=EVERYTHING)
        made.append(compile_index(read_tree(root, RELEASE), read_config(root)))
    assert made[0] == made[1]
    assert bytes(tmp_path) not in made[0]


ALIASED = """\
alias eth0 sound
alias disk-* disk
alias disk-[0-9] spare
options disk-* star=1
options eth0 first=1
options sound own=1
options eth0 last=1
options disk-[0-9] digit=1
options pci:sound1 device=1
options pci:sound2 other=1
"""


@pytest.mark.parametrize("name", ["eth0", "sound", "disk-1", "disk_x", "disk", "pci:sound1", "pci:sound3", "spare"])
def test_options_of_the_alias_that_was_used_count_as_in_kmod(face: Face, tmp_path: Path, name: str) -> None:
    root = image(tmp_path / "root", ALIASED)
    kmod = ["/sbin/modprobe", "-D", "-C", root / "etc/modprobe.d", "-d", root, "-S", RELEASE, name]
    theirs = subprocess.run(kmod, capture_output=True, text=True, check=True).stdout
    # A module that several of the modules need is listed once by us.
    assert face.loads(root, RELEASE, name) == list(dict.fromkeys(insmods(theirs)))


FORBIDDEN = """\
install base /bin/false
install spare /usr/bin/true # not wanted
install crc /sbin/helper --load crc
"""


def test_a_forbidden_module_has_its_place_and_nothing_is_loaded_for_it(face: Face, tmp_path: Path) -> None:
    root = image(tmp_path / "root", FORBIDDEN + "install disk /bin/true\nsoftdep disk post: spare\n")
    index = root / "lib/modules" / RELEASE / "tinykmod.tki"
    assert face.plan(index, ["disk"]) == [("disk", "request", "disk")]
    assert face.plan(index, ["sound"]) == [("base", "dependency", "sound"), ("sound", "request", "sound")]
    assert face.loads(root, RELEASE, "crc") == [("crc", "")]


def test_a_forbidden_alias_leads_nowhere(face: Face, tmp_path: Path) -> None:
    config = (
        "install pci:sound1 /bin/true\ninstall pci:disk* /bin/false\ninstall pci:packed /bin/x\ninstall in /bin/false"
    )
    modules = {"kernel/a.ko": {"modinfo": [("alias", "pci:*")]}}
    root = make_tree(tmp_path / "root", modules, builtin={"in": []}, config=f"{config}\n")
    file = tmp_path / "x.tki"
    file.write_bytes(compile_index(read_tree(root, RELEASE), read_config(root)))
    a = [("a", "pci:*")]
    names = ["pci:sound1", "pci:sound2", "pci:disk1", "pci:packed", "in"]
    assert face.lookup(file, names) == [[], a, a, a, [("in", "")]]


@pytest.mark.parametrize(
    ("command", "flag"),
    [
        ("/bin/false", ModuleFlag.REFUSED),
        ("/usr/bin/false\t", ModuleFlag.REFUSED),
        ("false", ModuleFlag.REFUSED),
        ("/bin/true", ModuleFlag.SKIPPED),
        ("/bin/true # gone; it hangs", ModuleFlag.SKIPPED),
        ("/bin/true $CMDLINE_OPTS", ModuleFlag.SKIPPED),
        ("/bin/true; /sbin/modprobe -i a", 0),
        ("/bin/true&& x", 0),
        ("/bin/untrue", 0),
        ("/bin/sh -c /bin/false", 0),
        ("/bin/false.sh", 0),
        (" ", 0),
    ],
)
def test_commands_that_forbid(tmp_path: Path, command: str, flag: int) -> None:
    root = make_tree(tmp_path / "root", {"kernel/a.ko": {}, "kernel/b.ko": {}}, config=f"install a* {command}\n")
    config = read_config(root)
    index = Index(compile_index(read_tree(root, RELEASE), config))
    assert index.module("a").flags == ModuleFlag.INSTALL | flag
    assert index.module("b").flags == 0
    assert bool(install_notes(config)) == (not flag)


def test_the_first_install_command_counts(face: Face, tmp_path: Path) -> None:
    root = image(tmp_path / "root", "install dis[j-l] /bin/x\ninstall disk /bin/false\ninstall s* /bin/false\n")
    assert [module for module, _ in face.loads(root, RELEASE, "disk")] == ["base", "crc", "disk"]
    index = Index((root / "lib/modules" / RELEASE / "tinykmod.tki").read_bytes())
    assert {name: bool(index.module(name).flags & ModuleFlag.REFUSED) for name in ("disk", "sound", "spare")} == {
        "disk": False, "sound": True, "spare": True,
    }  # fmt: skip
    statement = index.install_command("disk")
    assert statement is not None
    assert (str(statement), statement.where) == ("install dis[j-l] /bin/x", "/etc/modprobe.d/test.conf:1")
    assert index.install_command("crc") is None


def test_every_softdep_line_of_the_user_counts(face: Face, tmp_path: Path) -> None:
    config = "softdep sound pre: crc\nsoftdep sound pre: packed post: spare\nsoftdep s[o]* post: disk\n"
    root = image(tmp_path / "root", config)
    assert face.plan(root / "lib/modules" / RELEASE / "tinykmod.tki", ["sound"]) == [
        ("base", "dependency", "sound"),
        ("crc", "softdep", "sound"),
        ("packed", "softdep", "sound"),
        ("sound", "request", "sound"),
        ("spare", "softdep", "sound"),
        ("disk", "softdep", "sound"),
    ]


WORDS = st.sampled_from(["disk", "eth0", "e*", "s?und", "[a-z]*", "x-y", "pci:sound1"])
LINES = st.one_of(
    st.builds("alias {} {}".format, WORDS, st.sampled_from(["disk", "sound", "off"])),
    st.builds("options {} {}={}".format, WORDS, st.sampled_from("abc"), st.integers(0, 9)),
    st.builds("install {} {}".format, WORDS, st.sampled_from(["/bin/false", "/bin/true", "/x"])),
    st.builds("blacklist {}".format, WORDS),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(LINES, max_size=6), name=st.sampled_from(["disk", "sound", "eth0", "pci:sound1", "x_y"]))
def test_faces_agree_on_any_configuration(
    face: Face, tmp_path_factory: pytest.TempPathFactory, lines: list[str], name: str
) -> None:
    modules = {"kernel/disk.ko": {"imports": {"s": 1}}, "kernel/sound.ko": {"exports": {"s": 1},
               "modinfo": [("alias", "pci:sound*"), ("alias", "x-y")]}}  # fmt: skip
    root = make_tree(tmp_path_factory.mktemp("any") / "root", modules, config="\n".join(["", *lines, ""]))
    file = root / "lib/modules" / RELEASE / "tinykmod.tki"
    file.write_bytes(compile_index(read_tree(root, RELEASE), read_config(root)))
    index = Index(file.read_bytes())
    plan = index.plan([name])
    assert face.plan(file, [name]) == [tuple(step) for step in plan]
    if face.name == "extension":
        core = face.core.Index(file.read_bytes())
        for step in plan:
            for alias in ("", name):
                assert core.options(step.module, alias) == index.options(step.module, alias)
