"""depmod.d, the files that count and their order, beside Debian's depmod, on small trees."""

from __future__ import annotations

import gzip
import lzma
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from make_ko import AARCH64, PPC64, SPARCV9, make_ko
from make_tree import RELEASE, make_tree

from tinykmod.cli import main
from tinykmod.kmod import depmod_config
from tinykmod.kmod.depmod_config import Override, read_depmod_config
from tinykmod.modules.files import find_modules

ARM, MIPS = 40, 8

#: A call of depmod: exit code, standard output, lines of standard error.
Answer = tuple[int, str, list[str]]
Ours = Callable[..., Answer]

WEAK = "# Weak dependencies extracted from modules themselves.\n"
TWO = ["kernel/a.ko", "updates/a.ko"]
EXTRA = ["extra/a.ko", "updates/a.ko"]
DEEP = ["kernel/sub/a.ko", "updates/a.ko"]
DASH = ["kernel/b-c.ko", "updates/b-c.ko"]
KERNEL = ["kernel/a.ko"]

#: Files, and a configuration in which no two of the same name rank alike. E1 and E2 are directories outside the tree.
CASES = [
    (TWO, ""),
    (TWO, "search"),
    (TWO, "search built-in updates"),
    (TWO, "search kernel"),
    (TWO, "search built-in updates built-in"),
    (TWO, "search updates built-in updates"),
    (EXTRA, "search extra updates"),
    (EXTRA, "search  extra\tupdates "),
    (EXTRA, "search updates\nsearch extra"),
    (EXTRA, "search extra\nsearch updates"),
    (EXTRA, "search extra/ updates"),
    (EXTRA, "search ext updates"),
    (EXTRA, "search extra#c updates"),
    (EXTRA, "search ex\\\ntra"),
    (EXTRA, "search updates\r\nsearch extra\r"),
    (EXTRA, "#search extra\\\n updates"),
    (DEEP, "search kernel updates kernel/sub"),
    (DEEP, "search kernel/sub updates kernel"),
    (["a.ko", "updates/a.ko"], "search built-in updates"),
    *((TWO, f"override a {release} kernel") for release in (
        "*", RELEASE, "6", "6.0.0-no", "6x", "(-test|x)$", "\\\\(-test\\\\|x\\\\)$", "[[:digit:]]+", "^6.0.0-test$",
        ".*", "[", "**", "6\\.", "6\\\\.",
    )),
    (TWO, "override a * kernel\noverride a * updates"),
    (TWO, "override a * updates\noverride a * kernel\noverride a 7 updates"),
    (TWO, "override a * kernel more"),
    (TWO, "override a * kernel/"),
    (TWO, "override a * nothing"),
    (TWO, "override a.ko * kernel"),
    (DEEP, "override a * kernel"),
    (DEEP, "override a * kernel/sub"),
    (DASH, "override b-c * kernel"),
    (DASH, "override b_c * kernel"),
    (["kernel/a.b.ko", "updates/a.b.ko"], "override a * kernel"),
    (["kernel/a.b.ko", "updates/a.b.ko"], "override a.b * kernel"),
    (TWO, "exclude"),
    (TWO, "exclude updates"),
    (TWO, "exclude upd"),
    (TWO, "exclude updates kernel"),
    (DEEP, "exclude updates\nexclude sub"),
    (DEEP, "exclude kernel/sub\nsearch kernel/sub"),
    (["kernel/a.ko", "kernel/b.ko"], "exclude a.ko"),
    (["build/a.ko", "kernel/b.ko", "kernel/source/c.ko", "kernel/build.ko"], ""),
    (KERNEL, "external * E1"),
    (KERNEL, "external * E1\nsearch external"),
    (KERNEL, "external * E1\nsearch built-in external"),
    (KERNEL, "external * E1\nsearch external built-in"),
    (KERNEL, "external * E1\nsearch external\noverride a * kernel"),
    (KERNEL, "external * E1\noverride a * E1"),
    (KERNEL, "external 6 E1\nsearch external"),
    (KERNEL, "external 7 E1\nsearch external"),
    (["extra/a.ko"], "external * E1\nsearch built-in extra"),
    (KERNEL, "external * E1/\nsearch external"),
    (KERNEL, "external * E1/../E2\nsearch external"),
    (KERNEL, "external * E1\nexternal * E2\nsearch external"),
    (KERNEL, "external * E2\nexternal * E1\nsearch external"),
    (KERNEL, "external * E1\nexclude E1\nexclude sub\nsearch external"),
    (["updates/a.ko"], "external * E1\nsearch updates external"),
    ([], "external * E2"),
    (TWO, "make_map_files no\nmake_map_files"),
    (TWO, "foo bar\n # no comment\noverride a *\nexternal *\nSearch kernel\n\n \nexclude updates"),
]  # fmt: skip


@pytest.fixture
def ours(capfd: pytest.CaptureFixture[str]) -> Ours:
    """ours(*words): tinykmod depmod in this process, without what kmod 30 does not write."""

    def run(*words: object) -> Answer:
        capfd.readouterr()
        code = main(["depmod", *map(str, words)])
        text, errors = capfd.readouterr()
        return code, text.replace(WEAK, ""), errors.splitlines()

    return run


def debian(*words: object) -> Answer:
    """Debian's depmod; what it calls an error here and goes on, is a warning with us."""
    done = subprocess.run(["/sbin/depmod", *map(str, words)], check=False, capture_output=True, text=True)
    return done.returncode, done.stdout, done.stderr.replace("depmod: ERROR:", "depmod: WARNING:").splitlines()


def plain_tree(root: Path, paths: list[str]) -> Path:
    return make_tree(root, {path: {} for path in paths})


@pytest.mark.parametrize(("paths", "config"), CASES)
def test_statements(ours: Ours, tmp_path: Path, paths: list[str], config: str) -> None:
    root = plain_tree(tmp_path / "root", paths)
    for path in ("E1/a.ko", "E2/a.ko", "E1/sub/only.ko"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(make_ko())
    file = tmp_path / "depmod.conf"
    file.write_text(config.replace(" E1", f" {tmp_path}/E1").replace(" E2", f" {tmp_path}/E2") + "\n")
    words = ("-n", "-b", root, "-C", file, RELEASE)
    assert ours(*words) == debian(*words)


def test_every_external_directory_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for number in "123":
        (tmp_path / number).mkdir()
        (tmp_path / number / "a.ko").touch()
        (tmp_path / number / f"only-{number}.ko").touch()
    file = tmp_path / "depmod.conf"
    file.write_text(f"external * 3 nothing {tmp_path}/1\nexternal * {tmp_path}/2\n")
    config = read_depmod_config(RELEASE, [file])
    assert config.externals == [f"{tmp_path}/{number}" for number in "312"]
    assert config.warnings == [f"{file}:1: there is no directory {tmp_path}/nothing"]
    (tmp_path / "tree").mkdir()
    found = {module.name: module.path for module in find_modules(tmp_path / "tree", config)}
    assert found == {"a": f"{tmp_path}/3/a.ko", **{f"only_{n}": f"{tmp_path}/{n}/only-{n}.ko" for n in "123"}}


def test_files_and_directories_of_the_configuration(ours: Ours, tmp_path: Path) -> None:
    root = plain_tree(tmp_path / "root", ["x/a.ko", "y/a.ko", "z/a.ko"])
    for path, text in {
        "one/2.conf": "search x\nbad-2\n",
        "one/3.txt": "bad-3\n",
        "one/.4.conf": "bad-4\n",
        "two/1.conf": "search y\nbad-1\n",
        "two/2.conf": "search z\nbad-masked\n",
        "file": "bad-file\n",
    }.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_text(text)
    for names in (
        ["one"],
        ["one", "two"],
        ["two", "one"],
        ["one", "two/2.conf"],
        ["file", "two"],
        ["nothing", "two"],
    ):
        words = ["-n", "-b", root, *(word for name in names for word in ("-C", tmp_path / name)), RELEASE]
        code, text, errors = debian(*words)
        assert errors
        # Inside a directory that was given, kmod writes one slash more.
        assert ours(*words) == (code, text, [line.replace("//", "/") for line in errors])


def test_the_systems_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert depmod_config.DIRECTORIES == (
        "etc/depmod.d", "run/depmod.d", "usr/local/lib/depmod.d", "usr/lib/depmod.d", "lib/depmod.d",
    )  # fmt: skip
    here = [tmp_path / name for name in depmod_config.DIRECTORIES]
    for number, path in enumerate(here):
        path.mkdir(parents=True)
        (path / "same.conf").write_text(f"search {number}\n")
        (path / f"{9 - number}.conf").write_text(f"override m * {number}\nexclude {number}\n")
    monkeypatch.setattr(depmod_config, "DIRECTORIES", [str(path) for path in here])
    config = read_depmod_config(RELEASE)
    assert (config.search, config.excludes, config.warnings) == (["0"], list("43210"), [])
    assert config.overrides == [Override("m", number) for number in "43210"]


def test_modules_that_are_not_listed_come_in_kmods_order(ours: Ours, tmp_path: Path) -> None:
    letters = random.Random(2).choices
    names = {"".join(letters("abcdefghijk0-", k=length % 9 + 1)).strip("-") or "z" for length in range(300)}
    root = plain_tree(
        tmp_path, [f"kernel/{name}.ko" for name in sorted(names, key=lambda name: name.replace("-", "_"))]
    )
    order = root / "lib/modules" / RELEASE / "modules.order"
    listed = order.read_text().splitlines(keepends=True)
    for some in ([], listed[:100], listed[::-7]):
        order.write_text("".join(some))
        expected = debian("-n", "-b", root, RELEASE)
        assert expected[1].count(".ko:") > 250
        assert ours("-n", "-b", root, RELEASE) == expected


def test_files_of_one_rank_are_taken_by_path(tmp_path: Path) -> None:
    root = plain_tree(tmp_path, ["kernel/z/a.ko", "kernel/b/a.ko", "extra/x.ko", "extra/w/x.ko"])
    assert {module.path for module in find_modules(root / "lib/modules" / RELEASE)} == {
        "kernel/b/a.ko",
        "extra/w/x.ko",
    }


def test_links(ours: Ours, tmp_path: Path) -> None:
    root = plain_tree(tmp_path / "root", ["kernel/a.ko", "extra/b.ko", "kernel/c.ko"])
    tree = root / "lib/modules" / RELEASE
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/d.ko").write_bytes(make_ko())
    (tree / "weak-updates").mkdir()
    (tree / "weak-updates/e.ko").symlink_to("../extra/b.ko")
    (tree / "updates").symlink_to("kernel")
    (tree / "linked").symlink_to(tmp_path / "outside")
    expected = debian("-n", "-b", root, RELEASE)
    assert all(f"{path}.ko:" in expected[1] for path in ("weak-updates/e", "updates/a", "linked/d"))
    assert ours("-n", "-b", root, RELEASE) == expected
    # Through these, kmod goes until it has no more descriptors.
    (tree / "kernel/up").symlink_to("..")
    (tree / "self").symlink_to("self")
    (tree / "nowhere.ko").symlink_to("nothing.ko")
    assert ours("-n", "-b", root, RELEASE) == expected


def test_files_on_the_command_line(ours: Ours, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exports = {"exports": ["s"]}
    root = make_tree(
        tmp_path / "root", {"kernel/a.ko": exports, "kernel/b.ko": {"imports": ["s"]}, "updates/a.ko": exports}
    )
    tree = root / "lib/modules" / RELEASE
    (tmp_path / "x.ko").write_bytes(make_ko(imports=["s"]))
    monkeypatch.chdir(tree)
    a, b, updated, outside = tree / "kernel/a.ko", tree / "kernel/b.ko", tree / "updates/a.ko", tmp_path / "x.ko"
    for number, files in enumerate((
        [a], [b], [b, a], [outside, b, updated], [f"{tree}/kernel/../kernel/a.ko", outside],
        ["kernel/a.ko"], [a, updated], [a, "/nothing.ko"], ["/nothing"],
    )):  # fmt: skip
        expected = debian("-n", "-b", root, RELEASE, *files)
        found = ours("-n", "-b", root, RELEASE, *files)
        assert found[:2] == expected[:2]
        assert found[0] == (number > 4)
        assert len(found[2]) == (number > 4)
    assert ours("-n", "-b", root, RELEASE, f"{tree}//kernel/a.ko") == ours("-n", "-b", root, RELEASE, a)
    # With -a they mean nothing.
    for words in (["-a", "-n"], ["-n", "--all"]):
        expected = debian(*words, "-b", root, RELEASE, b)
        assert expected[1].startswith("kernel/b.ko: updates/a.ko\n")
        assert ours(*words, "-b", root, RELEASE, b) == expected


def test_symbol_prefix(ours: Ours, tmp_path: Path) -> None:
    names = [f"{lead}{name}" for name in ("e", "_f", "k", "m") for lead in ("", "_", "__")]
    root = make_tree(tmp_path, {
        "kernel/a.ko": {"exports": {"_e": 1, "__f": 2, "g": 3}},
        "kernel/b.ko": {"imports": {**dict.fromkeys(names, 1), "___this_module": None}},
    })  # fmt: skip
    (tmp_path / "map").write_text("f T ___ksymtab_k\nf T __ksymtab_m\nf T ___ksymtab__m\n")
    (tmp_path / "symvers").write_text("0x1\t_k\tvmlinux\tE\n0x5\tm\tvmlinux\tE\n")
    for words in ([], ["-P", "_"], ["-P", "x"]):
        for kernel in (["-F", tmp_path / "map"], ["-E", tmp_path / "symvers"]):
            code, text, errors = debian("-n", "-e", *kernel, *words, "-b", root, RELEASE)
            found = ours("-n", "-e", *kernel, *words, "-b", root, RELEASE)
            assert found[:2] == (code, text)
            assert len(found[2]) == len(set(found[2]))
            # Of a symbol that is there with its prefix and without, we speak once.
            cut = " _" if words == ["-P", "_"] else "\n"
            assert set(found[2]) == {line.replace(cut, " ") for line in errors}
    for bad in ("", "ab"):
        with pytest.raises(SystemExit, match="1"):
            ours("-n", "-P", bad, "-b", root, RELEASE)
        assert debian("-n", "-P", bad, "-b", root, RELEASE)[0] == 1


@pytest.mark.parametrize(
    ("bits", "little_endian", "machine"),
    [
        (64, True, AARCH64),
        (64, False, SPARCV9),
        (64, False, PPC64),
        (32, True, ARM),
        (32, False, MIPS),
    ],
    ids=["aarch64", "sparc64", "ppc64", "arm", "mips"],
)
def test_other_architectures_and_compressions(
    ours: Ours, tmp_path: Path, bits: int, little_endian: bool, machine: int
) -> None:
    target = {"bits": bits, "little_endian": little_endian, "machine": machine}
    modules = {
        "kernel/a.ko": {
            "modinfo": [("alias", "x-[0-9]"), ("softdep", "pre: b")],
            "exports": {"s": 5, "t": 0xFFFFFFFF},
        },
        "kernel/b.ko": {"imports": {"s": 6, "u": 1}, "weak": ["u"], "exports": ["v"]},
        "kernel/c.ko": {"imports": {"t": 2**32 - 1, "v": None, "w": 2}, "absolute_crcs": True, "exports": {"x": 9}},
    }
    root = make_tree(tmp_path / "root", {path: {**what, **target} for path, what in modules.items()})
    (tmp_path / "symvers").write_text("0x1\tnothing\tvmlinux\tE\n")
    words = ("-n", "-e", "-E", tmp_path / "symvers", "-b", root, RELEASE)
    expected = debian(*words)
    assert len(expected[2]) == 2
    assert "kernel/c.ko: kernel/b.ko kernel/a.ko\n" in expected[1]
    assert ours(*words) == expected
    # Debian's kmod reads no gzip.
    for suffix, compress in ((".xz", lambda data: lzma.compress(data, check=lzma.CHECK_CRC32)),
                             (".zst", zstandard.compress), (".gz", gzip.compress)):  # fmt: skip
        for path in modules:
            file = root / "lib/modules" / RELEASE / path
            file.with_name(file.name + suffix).write_bytes(compress(file.read_bytes()))
            file.rename(file.with_name(file.name + ".kept"))
        found = ours(*words)
        assert found == (0, expected[1].replace(".ko", f".ko{suffix}"), [
            line.replace(".ko ", f".ko{suffix} ") for line in expected[2]
        ])  # fmt: skip
        if suffix != ".gz":
            assert found == debian(*words)
        for path in modules:
            file = root / "lib/modules" / RELEASE / path
            file.with_name(file.name + suffix).unlink()
            file.with_name(file.name + ".kept").rename(file)
