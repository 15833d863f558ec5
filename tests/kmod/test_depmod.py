"""tinykmod depmod beside Debian's: the same files, the same answers from modprobe, the same complaints."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.files import replace_all
from tinykmod.kmod.binindex import BinIndex
from tinykmod.kmod.depmod import make
from tinykmod.modules.tree import read_directory, read_tree

Run = Callable[..., "subprocess.CompletedProcess[str]"]

#: kmod 30 writes no modules.weakdep; kmod 34 does.
DEBIAN_TEXTS = ("modules.dep", "modules.alias", "modules.softdep", "modules.symbols", "modules.devname")
INDEXES = tuple(f"modules.{name}.bin" for name in ("dep", "alias", "symbols", "builtin", "builtin.alias"))


def debian(root: Path, *words: str) -> tuple[int, list[str], str]:
    """Exit code, warnings and standard output of Debian's depmod."""
    done = subprocess.run(["/sbin/depmod", "-b", root, *words, RELEASE], check=False, capture_output=True, text=True)
    return done.returncode, done.stderr.splitlines(), done.stdout


def ours(run_tinykmod: Run, root: Path, *words: str) -> tuple[int, list[str], str]:
    done = run_tinykmod("depmod", "-b", root, *words, RELEASE)
    return done.returncode, done.stderr.splitlines(), done.stdout


def files(root: Path) -> dict[str, bytes]:
    directory = root / "lib/modules" / RELEASE
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


#: Symbols of every length modulo 4; several softdeps; devices' nodes; a name and a symbol that are there twice.
ODD = {
    "kernel/b-dash.ko": {
        "modinfo": [("alias", "pci:x[0-9]-y"), ("alias", "devname:net/b"), ("alias", "char-major-10-200"),
                    ("softdep", "pre: a-b c"), ("softdep", "post: d"), ("alias", "char-major-10-*")],
        "exports": ["a", "ab", "abc", "abcd", "abcde", "abcdef", "abcdefg", "abcdefgh"],
    },
    "kernel/sub/a.ko": {
        "modinfo": [("alias", "block-major-7-01"), ("alias", "devname:loop-control"), ("alias", "pci:x[0-9]-y")],
        "imports": ["abc", "e"],
    },
    "updates/e.ko": {"exports": ["e"]},
    "kernel/e.ko": {"exports": ["e"], "imports": ["a"]},
    # The last one, since kmod does not find a name with a further dot in modules.order.
    "extra/c.d.ko": {"exports": ["abc"], "imports": ["ab"]},
}  # fmt: skip


def test_odd_modules_give_the_same_files(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, ODD, builtin={"own": ["own-alias[1-2]", "own:*"], "two": []})
    assert debian(root) == (0, [], "")
    expected = files(root)
    assert ours(run_tinykmod, root) == (0, [], "")
    found = files(root)
    assert found.pop("modules.weakdep") == b"# Weak dependencies extracted from modules themselves.\n"
    assert {name: data for name, data in found.items() if not name.endswith(".bin")} == {
        name: data for name, data in expected.items() if not name.endswith(".bin")
    }
    for name in INDEXES:
        assert BinIndex(found[name], name).entries() == BinIndex(expected[name], name).entries()


def test_weakdeps_are_written(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"modinfo": [("weakdep", "b c-d")]}})
    made = make(read_tree(root, RELEASE))
    assert made.files["modules.weakdep"].splitlines()[1:] == [b"weakdep a b c-d"]


def test_a_tree_without_modules_or_build_files(run_tinykmod: Run, tmp_path: Path) -> None:
    (tmp_path / "lib/modules" / RELEASE).mkdir(parents=True)
    code, warnings, _ = debian(tmp_path)
    expected = files(tmp_path)
    assert ours(run_tinykmod, tmp_path) == (code, warnings, "")
    assert len(warnings) == 3
    for name, data in files(tmp_path).items():
        if name.endswith(".bin"):
            assert BinIndex(data, name).entries() == []
        elif name != "modules.weakdep":
            assert data == expected[name]


def test_dry_run_prints_the_texts_and_writes_nothing(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"exports": ["s"]}, "kernel/b.ko": {"imports": ["s"]}})
    before = files(root)
    code, warnings, text = ours(run_tinykmod, root, "-n")
    assert (code, warnings) == (0, [])
    weak = "# Weak dependencies extracted from modules themselves.\n"
    assert text.replace(weak, "") == debian(root, "-n")[2]
    assert weak in text
    assert files(root) == before


SYMBOLS = {
    "kernel/a.ko": {"exports": {"e": 7}, "imports": {"k": 5, "m": 6, "q": None, "w": 3}, "weak": ["w"]},
    "kernel/b.ko": {"imports": {"k": 9, "e": 8, "gpl_q": 1, "_GLOBAL_OFFSET_TABLE_": None, "__this_module": None}},
}


@pytest.mark.parametrize(
    ("words", "count"),
    [(["-E", "symvers"], 5), (["-F", "map"], 2), (["-F", "map", "-E", "symvers"], 5), ([], 1)],
)
def test_symbols_that_are_missing_or_differ(
    run_tinykmod: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], count: int
) -> None:
    root = make_tree(tmp_path, SYMBOLS)
    (tmp_path / "symvers").write_text("0x00000005\tk\tvmlinux\tEXPORT\t\n0x6\tm\tkernel/a\tEXPORT\nodd line\n")
    (tmp_path / "map").write_text("ffff T __ksymtab_k\nffff r __ksymtab_gpl_q\nffff A __crc_m\nffff T q\n")
    monkeypatch.chdir(tmp_path)
    expected = debian(root, "-e", *words)
    assert len(expected[1]) == count
    assert ours(run_tinykmod, root, "-e", *words) == expected


def test_unknown_symbols_of_a_debian_kernel(depmod_root: Path, kernel: Kernel, run_tinykmod: Run) -> None:
    words = ["depmod", "-n", "-e", "-F", os.devnull, "-b", str(depmod_root), kernel.release]
    expected = subprocess.run(["/sbin/depmod", *words[1:]], check=True, capture_output=True, text=True).stderr
    assert expected.count("\n") > 10000
    assert run_tinykmod(*words).stderr == expected


def test_verbose_tells_which_symbol_makes_a_dependency(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"exports": ["r", "s"]}, "kernel/b.ko": {"imports": ["s", "x", "r"]}})
    expected = debian(root, "-v")
    assert expected[2].count("needs") == 1
    assert ours(run_tinykmod, root, "-v") == expected


def test_warnings_about_aliases(run_tinykmod: Run, tmp_path: Path) -> None:
    modules = {
        "kernel/a.ko": {"modinfo": [("alias", "x-y"), ("alias", "p[1-2"), ("alias", "x_y"), ("alias", "both")]},
        "kernel/b.ko": {"modinfo": [("alias", "both")]},
    }
    root = make_tree(tmp_path, modules)
    expected = debian(root, "-w")
    assert len(expected[1]) == 3
    code, warnings, text = ours(run_tinykmod, root, "-w")
    assert (code, sorted(warnings), text) == (expected[0], sorted(expected[1]), expected[2])


def test_a_devname_without_a_number_is_left_out(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"modinfo": [("alias", "devname:foo"), ("alias", "char-major-1-*")]}})
    [line] = debian(root)[1]
    assert ours(run_tinykmod, root)[1] == [line.replace("ERROR", "WARNING")]
    assert files(root)["modules.devname"] == b""


def test_an_alias_beyond_7_bits_costs_that_alias_only(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"modinfo": [("alias", "pé"), ("alias", "p")]}})
    code, [warning], _ = ours(run_tinykmod, root)
    assert (code, warning) == (0, "depmod: WARNING: alias pé is not of 7 bits, modprobe will not find it")
    assert [entry.key for entry in BinIndex(files(root)["modules.alias.bin"], "alias").entries()] == ["p"]


def test_a_circle_is_named_and_nothing_is_written(run_tinykmod: Run, tmp_path: Path) -> None:
    circle = {name: {"exports": [name], "imports": [other]} for name, other in ("ab", "bc", "ca")}
    root = make_tree(tmp_path, {f"kernel/{name}.ko": what for name, what in circle.items()})
    before = files(root)
    code, [line], text = ours(run_tinykmod, root)
    assert (code, text) == (1, "")
    assert sorted(set(re.findall(r"\b[abc]\b", line.rpartition(":")[2]))) == ["a", "b", "c"]
    assert files(root) == before


def test_a_damaged_module_is_named_and_the_files_stay(run_tinykmod: Run, tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {}, "kernel/b.ko": {}})
    assert ours(run_tinykmod, root)[0] == 0
    before = files(root)
    bad = root / "lib/modules" / RELEASE / "kernel/b.ko"
    bad.write_bytes(bad.read_bytes()[:100])
    code, [line], _ = ours(run_tinykmod, root)
    assert code == 1
    assert str(bad) in line
    assert files(root) == before


@pytest.mark.parametrize("file", [("kernel/é.ko", {}), ("kernel/a.ko", {"exports": ["é"]})])
def test_a_name_that_no_index_holds_is_told_with_its_module(
    run_tinykmod: Run, tmp_path: Path, file: tuple[str, dict[str, Any]]
) -> None:
    root = make_tree(tmp_path, dict([file]))
    before = files(root)
    code, [line], _ = ours(run_tinykmod, root)
    path = root / "lib/modules" / RELEASE / file[0]
    assert (code, line) == (1, f"depmod: ERROR: {path}: a name or symbol is not of 7 bits: 'é'")
    assert files(root) == before


@pytest.mark.parametrize("moduledir", ["usr/lib/modules", "/opt/mods/"])
def test_another_module_directory(run_tinykmod: Run, tmp_path: Path, moduledir: str) -> None:
    root, out = make_tree(tmp_path / "in", {"kernel/a.ko": {"modinfo": [("alias", "x")]}}), tmp_path / "out"
    moved = tmp_path / "in" / moduledir.strip("/")
    moved.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "in/lib/modules").rename(moved)
    assert ours(run_tinykmod, root, "-m", moduledir, "-o", str(out)) == (0, [], "")
    assert (out / moduledir.strip("/") / RELEASE / "modules.dep").read_text() == "kernel/a.ko:\n"
    assert not (moved / RELEASE / "modules.dep").exists()


@pytest.mark.parametrize("words", [["-F", "nothing"], ["-E", "nothing"], ["-m", "nothing"], ["-b", "nothing"]])
def test_what_is_not_there_is_one_line(run_tinykmod: Run, tmp_path: Path, words: list[str]) -> None:
    code, [line], text = ours(run_tinykmod, make_tree(tmp_path, {"kernel/a.ko": {}}), *words)
    assert (code, text) == (1, "")
    assert "nothing" in line


def test_no_file_is_replaced_unless_all_can_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "one").write_text("old")
    synced = []

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OSError, match="No space"):
        replace_all(tmp_path, {"one": b"new", "two": b"new"})
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"one": "old"}


def test_an_empty_tree_is_an_error_for_those_who_need_modules(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {})
    assert read_directory(root / "lib/modules" / RELEASE, RELEASE).modules == []
    with pytest.raises(TinykmodError, match="holds no module"):
        read_tree(root, RELEASE)
