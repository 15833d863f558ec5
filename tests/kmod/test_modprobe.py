"""modprobe on a small tree and a corpus of configurations, beside Debian's: the same output and exit code."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.cli import main

MODULES = {
    "kernel/base.ko": {"exports": {"base": 1}},
    "kernel/mid-dle.ko": {"exports": {"mid": 2}, "imports": {"base": 1},
                          "modinfo": [("softdep", "pre: crypto-sum post: after"), ("alias", "shared:*")]},
    "kernel/top.ko": {"imports": {"mid": 2},
                      "modinfo": [("alias", "dev:top*"), ("alias", "shared:*"), ("alias", "shared:x*")]},
    "kernel/before.ko": {"modinfo": [("alias", "crypto-sum")]},
    "kernel/after.ko": {"imports": {"base": 1}},
    "kernel/second.ko": {},
    "kernel/lone.ko": {"modinfo": [("alias", "d0[0-2]-x*"), ("alias", "bd*"), ("alias", "of:N*T*Cacme,x-1C*")]},
    "kernel/mod-simple.ko": {"modinfo": [("alias", "simple:?"), ("alias", "neg[!a-c]")]},
    "kernel/loop-a.ko": {"modinfo": [("softdep", "pre: loop_b")]},
    "kernel/loop-b.ko": {"modinfo": [("softdep", "pre: loop-a")]},
    "kernel/twice.ko": {"modinfo": [("softdep", "pre: before"), ("softdep", "post: second pre: after")]},
}  # fmt: skip
BUILTIN = {"inside": ["in:*", "shared:*", "digit:?"], "in_too": ["in:x", "digit:5"]}


class Answer(NamedTuple):
    """What a modprobe said; paths begin in the tree's directory."""

    out: str
    err: str
    code: int


Both = Callable[..., tuple[Answer, Answer]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_tree(tmp_path_factory.mktemp("tree") / "root", MODULES, builtin=BUILTIN)
    subprocess.run(["/sbin/depmod", "-b", made, RELEASE], check=True)
    return made


@pytest.fixture
def both(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Both:
    """both(configuration, *words): the answers of Debian's modprobe and of ours."""

    def ask(config: str | dict[str, str], *words: str) -> tuple[Answer, Answer]:
        directory = tmp_path / "modprobe.d"
        shutil.rmtree(directory, ignore_errors=True)
        directory.mkdir()
        for name, text in ({"a": config} if isinstance(config, str) else config).items():
            (directory / f"{name}.conf").write_bytes(text.encode(errors="surrogateescape"))
        given = ["-C", str(directory), "-d", str(root), "-S", RELEASE, *words]
        done = subprocess.run(["/sbin/modprobe", *given], capture_output=True, check=False)
        code = _exit_code(["modprobe", *given])
        mine = capfd.readouterr()
        tree = f"{root}/lib/modules/{RELEASE}/"
        # kmod names its own source where its library speaks.
        err = re.sub(r"\.\./libkmod/\S+ \w+\(\) ", "", done.stderr.decode(errors="surrogateescape"))
        theirs = Answer(done.stdout.decode(errors="surrogateescape").replace(tree, ""), err, done.returncode)
        return theirs, Answer(mine.out.replace(tree, ""), mine.err, code)

    return ask


def _exit_code(words: list[str]) -> int:
    try:
        return main(words)
    except SystemExit as end:
        return int(end.code or 0)


#: One word or more stand for a module. The numbers are those of the points that drop-ins get wrong.
CORPUS = {
    "1: names": [
        ("", "-D mid-dle"), ("", "-D mid_dle"), ("", "-D mid_dle.ko"), ("", "-R mod-simple"), ("", "-D ./none.ko"),
        ("", "-R d01-x7"), ("", "-R d01_x7"), ("", "-R d0--x7"), ("", "-R d03-x"), ("", "-R bd04/01/2014"),
        ("", "-R simple:-"), ("", "-R simple:"), ("", "-R nega"), ("", "-R negd"), ("", "-R [x"), ("", "-R x]"),
        ("", "-R of:NdiskT(null)Cacme,x-1Cfoo/bar"), ("", "-R of:NT<>Cacme,x_1C"), ("", "-R of:NTCacme,x1C"),
        ("", "-D /etc/passwd"), ("", "-D /"),
        ("", "-R bd.ko"), ("alias a.b lone\n", "-R a.b"), ("alias a[-x]b lone\n", "-R a-b"),
    ],
    "2: order of the lookup": [
        ("alias lone top\nalias l?ne second\n", "-D lone"), ("alias foo lone\ninstall foo x\n", "-D foo"),
        ("alias foo lone\ninstall lone x\n", "-D foo"), ("install foo-bar echo x\n", "-D foo-bar"),
        ("install foo* x\n", "-D foobar"), ("remove foobar x\n", "-R foobar"), ("remove foobar x\n", "-D foobar"),
        ("install lo* echo x\n", "-D lone"), ("", "-R symbol:base"), ("", "-D symbol:mid"), ("", "-R symbol:no"),
        ("", "-R shared:x1"), ("", "-R shared:y"), ("", "-R inside"), ("", "-R in:x"), ("", "-R in:y"),
        ("", "-R digit:5"), ("install inside x\n", "-D inside"), ("install dev:topx echo\n", "-D dev:topx"),
    ],
    "3: off": [("alias top off\n", "-D top"), ("alias top off\n", "top"), ("alias top off\n", "-R top"),
               ("alias foo lone\nalias bar foo\n", "-D bar")],
    "4: softdeps": [
        ("", "-D mid-dle"), ("", "-D top"), ("softdep lo* pre: second\n", "-D lone"), ("", "-D shared:x1"),
        ("softdep al* pre: second\nalias al lone\n", "-D al"), ("softdep lone pre: none second\n", "-D lone"),
        ("softdep lone pre: second\tpost: before stray pre: after\n", "-D lone"),
        ("softdep second pre: after post: base\nsoftdep lone pre: second\n", "-D lone"),
        ("softdep lone pre: crypto-sum dev:top1 shared:x in:x\n", "-D lone"), ("", "-i -D mid-dle"),
        ("softdep lone pre: A-1 A-2\nalias A-* second\nsoftdep second pre: after\n", "-D lone"),
        ("softdep lone pre: A-1 A-1\nalias A-* second\nalias A-1 second\nsoftdep second pre: after\n", "-D lone"),
        ("softdep lone pre: simple:x simple:y\nsoftdep mod_simple pre: after\n", "-D lone"),
    ],
    "6: loops and commands": [
        ("", "-D loop-a"), ("", "-D loop_b"), ("softdep base pre: top\n", "-D top"),
        ("softdep base pre: second\nsoftdep second post: base\n", "-D top"),
        ("install top echo $CMDLINE_OPTS x\noptions top a=1\n", "-D top b=2"), ("install lone x\n", "-Di lone"),
        ("install lone echo [$CMDLINE_OPTS]a$CMDLINE_OPTS\noptions lone a=1\n", "lone b=2"),
        ("install lone echo $MODPROBE_MODULE $MODPROBE_OPTIONS\n", "-q lone"), ("install lone exit 3\n", "lone"),
        ("install none echo $CMDLINE_OPTS\n", "none a=1 b"), ("install none exit 3\n", "-a none second"),
        ("remove none echo $CMDLINE_OPTS x\n", "-r none"), ("remove none exit 3\n", "-r none"),
        ("remove none x\n", "-r -i none"), ("install none x\n", "-r none"), ("install none x\n", "-i none"),
        ("install none x\n", "-nv none a=1"), ("remove none x\n", "-nvr none"), ("install top x\n", "-Dv top"),
    ],
    "7: errors": [("", "lone"), ("", "-v lone"), ("", "-v top"), ("", "-a lone second"), ("", "-q lone")],
    "8: blacklist": [
        ("blacklist top\n", "-D top"), ("blacklist top\n", "-D dev:top"), ("blacklist top\n", "-bD top"),
        ("blacklist top\n", "-R dev:top"), ("blacklist base\nblacklist before\n", "-bD top"),
        ("blacklist inside\n", "in:x"), ("alias foo lone\nblacklist lone\n", "-D foo"), ("blacklist top\n", "-b top"),
        ("install zz x\nblacklist zz\n", "-D zz"), ("install zz x\nblacklist zz\n", "-bD zz"),
        ("blacklist mod-simple\n", "-D simple:x"), ("blacklist mod_simple x\n", "-D simple:x"),
        ("blacklist top\n", "-D shared:x1"),
    ],
    "11: options": [
        ("options top a=1\noptions top  b=2 \n", "-D top c=3"), ("options mid-dle a=1\n", "-D top x=1"),
        ("options dev:top* a=1\noptions dev:top1 b=1\noptions top c=2\n", "-D dev:top1 d"),
        ("options dev:top1 b=1\n", "-D top"), ("options LONE a=1\n", "-D lone"),
        ("alias al lone\noptions al a\n", "-D al"), ("alias A-* lone\noptions A-1 a\noptions A-* b\n", "-D A-1"),
        ('options lone a="x\ty"\tb=2 # c\n#options lone d\n', "-D lone"),
        ("options lone a=1 \\\nb=2\n", "-D lone"), ("options in:x a=1\n", "-D in:x"),
        ({"b": "options lone b\n", "a": "options lone a\n", "B": "options lone B\n"}, "-D lone"),
    ],
    "13: builtin": [("", "-D inside"), ("", "inside"), ("", "-nv inside"), ("", "--first-time inside"),
                    ("", "-D in-too"), ("", "-r inside"), ("", "-D in:x a=1"), ("alias a inside\n", "-r a")],
    "14: not found, several": [
        ("", "none"), ("", "-q none"), ("", "-R none"), ("", "-r none"), ("", "-D none"), ("", "-qD none"),
        ("", "-aD none top"), ("", "-aD top none"), ("", "-ar none lone"), ("", "-r lone none lone"), ("", "-arq x"),
        ("", "-R lone second"), ("", "-aR lone second none"), ("", "-r --first-time lone"), ("", "-rv lone second"),
        ("", "-rnv lone"), ("alias a none\n", "-r a"), ("", "-n lone"), ("", "-Ra top dev:topx shared:x1"),
    ],
    "the command line": [
        ("", ""), ("", "-a"), ("", "-r"), ("", "-R"), ("", "-q"), ("", "-qr"), ("", "-w x lone"), ("", "-qw x lone"),
        ("", "-sw x lone"), ("", "--show-exports /etc"), ("", "--show-modversions -q /etc"),
        ("", "-q --show-exports /none"), ("", "-r -w 10 lone"), ("", "lone -D a=1"),
        ("", "-D --use-blacklist --quiet lone"), ("", "--show -v lone"), ("", "--show-dep lone"), ("", "-nvf lone"),
        ("", "-n --force-vermagic -v lone --force-modversion"), ("", "-D -- lone a"), ("", "--resolve-alias lone"),
    ],
    "bad lines": [("foo bar\nalias x\ninstall a\noptions\nblacklist\noptions lone a\nalias b[ c\n #x\n", "-D lone")],
}  # fmt: skip


@pytest.mark.parametrize("point", CORPUS)
def test_output_and_exit_code_are_kmods(both: Both, point: str) -> None:
    for config, line in CORPUS[point]:
        theirs, mine = both(config, *line.split())
        # kmod keeps the blanks around options.
        assert (_squeezed(mine.out), mine.code) == (_squeezed(theirs.out), theirs.code), (config, line)
        if point != "bad lines":
            assert mine.err == theirs.err, (config, line)
        else:
            assert mine.err.count("\n") == theirs.err.count("\n")


def _squeezed(text: str) -> str:
    return re.sub(" +", " ", text)


def test_parameters_are_quoted_as_kmod_quotes_them(both: Both) -> None:
    words = [
        "a",
        "b=c",
        "d=e f",
        'g="h i"',
        "k='a b'",
        'l=m "n o"',
        'p="q r',
        '"s=t u"',
        "v w=x y",
        "z=\tt",
        "=x",
        "é=ü ",
    ]
    theirs, mine = both("", "-nv", "lone", *words)
    assert mine == theirs
    assert mine.out.startswith('insmod kernel/lone.ko a b=c d="e f" g="h i"')


@pytest.mark.parametrize("given", ["-D", "-n -v", "-q", "-n 'v", "top -D"])
def test_options_from_the_environment_come_first(both: Both, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("MODPROBE_OPTIONS", given)
    theirs, mine = both("install none echo $MODPROBE_OPTIONS\n", "lone")
    assert mine == theirs


def test_commands_hand_options_on(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODPROBE_OPTIONS", "-b")
    theirs, mine = both("install none echo $MODPROBE_OPTIONS\n", "-v", "none")
    # kmod prints its line behind what the command prints.
    assert sorted(mine.out.splitlines()) == sorted(theirs.out.splitlines())
    assert re.search(r"^-b -C /\S+ -v$", mine.out, re.MULTILINE)


#: What is not as in kmod: configuration, words, kmod's output and exit code, ours.
DIFFERENT = {
    "all softdep lines of a module count": (
        "", "-D twice",
        ("insmod kernel/before.ko \ninsmod kernel/twice.ko \n", 0),
        ("insmod kernel/before.ko \ninsmod kernel/base.ko \ninsmod kernel/after.ko \n"
         "insmod kernel/twice.ko \ninsmod kernel/second.ko \n", 0),
    ),
    "and those of modprobe.d with them": (
        "softdep mid_dle pre: lone\n", "-D mid-dle",
        ("insmod kernel/base.ko \ninsmod kernel/lone.ko \ninsmod kernel/mid-dle.ko \n", 0),
        ("insmod kernel/base.ko \ninsmod kernel/lone.ko \ninsmod kernel/before.ko \ninsmod kernel/mid-dle.ko \n"
         "insmod kernel/base.ko \ninsmod kernel/after.ko \n", 0),
    ),
    "whatever their file is called": (
        {"zz": "softdep mid_dle pre: lone\n"}, "-D mid-dle",
        ("insmod kernel/base.ko \ninsmod kernel/before.ko \ninsmod kernel/mid-dle.ko \n"
         "insmod kernel/base.ko \ninsmod kernel/after.ko \n", 0),
        ("insmod kernel/base.ko \ninsmod kernel/before.ko \ninsmod kernel/lone.ko \ninsmod kernel/mid-dle.ko \n"
         "insmod kernel/base.ko \ninsmod kernel/after.ko \n", 0),
    ),
    "an install command beside a softdep": (
        "install lone x\nsoftdep lone pre: second\n", "-D lone a=1",
        ("insmod kernel/second.ko \ninsmod kernel/lone.ko a=1\n", 0),
        ("insmod kernel/second.ko \ninstall x a=1\n", 0),
    ),
    "a command that a signal ends": ("install none kill -9 $$\n", "none", ("", 0), ("", 1)),
    "a query with a star": ("", "-R shared:*", ("mid_dle\nmid_dle\ntop\ntop\n", 0), ("mid_dle\ntop\n", 0)),
}  # fmt: skip


@pytest.mark.parametrize("what", DIFFERENT)
def test_what_is_meant_to_differ(both: Both, what: str) -> None:
    config, line, kmods, ours = DIFFERENT[what]
    theirs, mine = both(config, *line.split())
    assert (theirs.out, theirs.code) == kmods
    assert (mine.out, mine.code) == ours


CONFIG = """alias a-[b-c] d-e
remove x-y  z
install y z "a b"
blacklist q-r
softdep lone pre: a-b c post: d
softdep second post: e
softdep third junk
options a-b c-d=1\t2
"""


def test_the_configuration_is_shown_as_kmod_shows_it(both: Both) -> None:
    theirs, mine = both(CONFIG, "-c")
    assert mine.code == theirs.code == 0
    # kmod 30 prints a softdep's words wrongly.
    assert _without_softdeps(mine.out) == _without_softdeps(_squeezed(theirs.out))
    assert "softdep lone pre: a-b c post: d\nsoftdep second post: e\n" in mine.out


def _without_softdeps(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("softdep ")]


def test_directories_and_files_given_by_name(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    for directory, text in ((first, "options lone first"), (second, "options lone second")):
        directory.mkdir()
        (directory / "same.conf").write_text(f"{text}\n")
    (second / "other.conf").write_text("options lone other\n")
    (first / "no").write_text("options lone no\n")
    plain = tmp_path / "plain"
    plain.write_text("options lone plain\n")
    base = ["-d", str(root), "-S", RELEASE]
    for paths in (
        [first, second],
        [second, first],
        [plain],
        [plain, first],
        [tmp_path / "none"],
        [first / "no", second],
    ):
        words = [*base, *(word for path in paths for word in ("-C", str(path))), "-D", "lone"]
        done = subprocess.run(["/sbin/modprobe", *words], capture_output=True, text=True, check=True)
        assert main(["modprobe", *words]) == 0
        assert capfd.readouterr().out == done.stdout
    (root / "etc/modprobe.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/modprobe.d/x.conf").write_text("options lone wrong\n")
    assert main(["modprobe", *base, "-D", "lone"]) == 0
    assert "wrong" not in capfd.readouterr().out, "-d is for the modules, not for the configuration"
    shutil.rmtree(root / "etc")


def test_a_file_is_loaded_with_what_its_module_needs(root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str],
                                                     monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """As kmod 31 does; kmod 30 takes no path."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(root / f"lib/modules/{RELEASE}/kernel/after.ko", tmp_path / "after.ko")
    base = ["modprobe", "-C", "/dev/null", "-d", str(root), "-S", RELEASE, "-D"]
    for path in ("./after.ko", str(tmp_path / "after.ko")):
        assert main([*base, path, "a=1"]) == 0
        assert capfd.readouterr().out.splitlines() == [
            f"insmod {root}/lib/modules/{RELEASE}/kernel/base.ko ", f"insmod {tmp_path}/after.ko a=1",
        ]  # fmt: skip
    assert main([*base, "after.ko"]) == 1


def test_messages_go_to_syslog(
    root: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import syslog

    told: list[tuple[int, str]] = []
    monkeypatch.setattr(syslog, "syslog", lambda *what: told.append(what))
    assert main(["modprobe", "-s", "-a", "-d", str(root), "-S", RELEASE, "none", "inside"]) == 1
    assert capfd.readouterr().err == ""
    assert told == [(syslog.LOG_WARNING, f"WARNING: Module none not found in directory {root}/lib/modules/{RELEASE}")]


@pytest.mark.parametrize("option", ["", "-q", "-s"])
def test_what_hinders_is_told_as_the_rest_is(
    root: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    import syslog

    told: list[str] = []
    monkeypatch.setattr(syslog, "syslog", lambda _, text: told.append(text))
    directory = tmp_path / "lib/modules" / RELEASE
    shutil.copytree(root / "lib/modules" / RELEASE, directory)
    file = directory / "modules.dep.bin"
    file.write_bytes(file.read_bytes()[:20])
    words = ["-C", "/dev/null", "-d", str(tmp_path), "-S", RELEASE, "-D", "lone"]
    assert main(["modprobe", *filter(None, [option]), *words]) == 1
    told += capfd.readouterr().err.splitlines()
    start = {"": "modprobe: ERROR: ", "-s": "ERROR: "}
    assert len(told) == (option in start)
    assert all(line.startswith(f"{start[option]}{file}: ") for line in told)


def test_where_depmod_has_not_been(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_tree(tmp_path, {"kernel/lone.ko": {}})
    directory = tmp_path / "lib/modules"
    for version in (RELEASE, "none"):
        assert main(["modprobe", "-C", "/dev/null", "-d", str(tmp_path), "-S", version, "-R", "lone"]) == 1
        assert capfd.readouterr().err == (
            f"modprobe: FATAL: Module lone not found in directory {directory}/{version}, where depmod has not been\n"
        )


words = st.sampled_from(
    ["lone", "mid-dle", "top", "base", "crypto-sum", "dev:top1", "none", "in:x", "loop-a", "shared:x"]
)
kinds = st.sampled_from(["options {0} a=1", "blacklist {0}", "install {0} cmd", "remove {0} cmd", "alias al {0}",
                         "alias {0} {1}", "options {0} b={1}", "softdep {0}x pre: {1}", "alias s* {0}"])  # fmt: skip
lines = st.lists(st.builds(lambda kind, *given: kind.format(*given), kinds, words, words), max_size=5)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines,
    st.lists(words | st.just("al"), min_size=1, max_size=3),
    st.sampled_from(["-aD", "-abD", "-aR", "-aiD", "-arnv"]),
)
def test_any_configuration_without_softdeps(both: Both, config: list[str], requests: list[str], option: str) -> None:
    text = "".join(f"{line}\n" for line in config)
    # A softdep hides an install command in kmod.
    if any(f"install {name} " in text for name in ("mid-dle", "loop-a")):
        text = ""
    theirs, mine = both(text, option, *requests)
    assert mine == theirs
