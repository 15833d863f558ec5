"""depmod -A: an unchanged tree is seen, one changed module reads one module, and nothing is taken on trust."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from make_ko import make_ko
from make_tree import RELEASE, make_tree

from tinykmod import cache, core
from tinykmod.cli import main
from tinykmod.kmod import depmod_cache, depmod_reading

COUNT = 6
Depmod = Callable[..., "tuple[set[str], bool]"]


@pytest.fixture(params=["extension", "twin"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a tree that is older than a file system's grain."""
    if request.param == "twin":
        monkeypatch.setattr(core, "extension", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # What was written a moment ago is not trusted: as if the grain of time were none.
    monkeypatch.setattr(depmod_cache, "GRAIN", -(10**12))
    modules = {f"kernel/m{number}.ko": {"modinfo": [("alias", f"a{number}")]} for number in range(COUNT)}
    make_tree(tmp_path / "root", modules)
    return tmp_path / "root/lib/modules" / RELEASE


@pytest.fixture
def depmod(tree: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Depmod]:
    """depmod -A OPTIONS: which modules were read, and whether anything was written."""
    read: set[str] = set()
    reading = depmod_reading.Reading.__init__

    def spy(self: depmod_reading.Reading, directory: Path, files: list, kept: dict, progress: object) -> None:
        read.update(file.name for number, file in enumerate(files) if number not in kept)
        reading(self, directory, files, kept, progress)  # type: ignore[arg-type]

    monkeypatch.setattr(depmod_reading.Reading, "__init__", spy)

    def run(*words: str) -> tuple[set[str], bool]:
        read.clear()
        before = written(tree)
        assert main(["depmod", "-A", "-b", str(tree.parents[2]), *words, RELEASE]) == 0
        return set(read), written(tree) != before

    yield run


def written(tree: Path) -> dict[str, int]:
    return {path.name: path.stat().st_ino for path in tree.iterdir() if path.suffix == ".bin" or "." in path.name}


def aliases(tree: Path) -> list[str]:
    return (tree / "modules.alias").read_text().splitlines()[1:]


ALL = {f"m{number}" for number in range(COUNT)}


def test_an_unchanged_tree_is_seen(tree: Path, depmod: Depmod) -> None:
    assert depmod() == (ALL, True)
    assert depmod() == (set(), False)
    assert depmod() == (set(), False)


def test_one_changed_module_is_read_alone(tree: Path, depmod: Depmod) -> None:
    depmod()
    (tree / "kernel/m2.ko").write_bytes(make_ko([("alias", "new")], exports=["symbol"]))
    assert depmod() == ({"m2"}, True)
    assert aliases(tree) == ["alias new m2" if n == 2 else f"alias a{n} m{n}" for n in range(COUNT)]
    assert depmod() == (set(), False)


def test_what_keeps_size_and_time_is_a_change_all_the_same(tree: Path, depmod: Depmod) -> None:
    depmod()
    file = tree / "kernel/m2.ko"
    was = file.stat()
    file.write_bytes(file.read_bytes().replace(b"alias=a2", b"alias=b2"))
    os.utime(file, ns=(was.st_atime_ns, was.st_mtime_ns))
    assert file.stat().st_size == was.st_size
    assert depmod() == ({"m2"}, True)
    assert "alias b2 m2" in aliases(tree)


def test_modules_that_come_and_go(tree: Path, depmod: Depmod) -> None:
    depmod()
    (tree / "kernel/m0.ko").unlink()
    (tree / "extra").mkdir()
    (tree / "extra/more.ko").write_bytes(make_ko([("alias", "x")]))
    assert depmod() == ({"more"}, True)
    assert "alias a0 m0" not in aliases(tree)
    assert "alias x more" in aliases(tree)


@pytest.mark.parametrize("change", ["modules.order", "modules.builtin", "modules.builtin.modinfo"])
def test_what_the_build_left_counts_too(tree: Path, depmod: Depmod, change: str) -> None:
    depmod()
    with (tree / change).open("ab") as file:
        file.write(b"kernel/fs/more.ko\n")
    assert depmod() == (set(), True)


@pytest.mark.parametrize("name", ["modules.dep", "modules.symbols.bin"])
def test_a_file_that_is_gone_or_is_anothers_is_written_again(tree: Path, depmod: Depmod, name: str) -> None:
    depmod()
    right = (tree / name).read_bytes()
    (tree / name).unlink()
    assert depmod() == (set(), True)
    (tree / name).write_bytes(b"by another")
    assert depmod() == (set(), True)
    assert (tree / name).read_bytes() == right


def test_another_directory_for_the_files_has_a_cache_of_its_own(tree: Path, depmod: Depmod, tmp_path: Path) -> None:
    depmod()
    assert depmod("-o", str(tmp_path / "out")) == (ALL, False)
    assert depmod() == (set(), False)
    assert depmod("-o", str(tmp_path / "out")) == (set(), False)


def test_reports_are_made_all_the_same(tree: Path, depmod: Depmod, capsys: pytest.CaptureFixture[str]) -> None:
    depmod()
    assert depmod("-n") == (set(), False)
    assert "alias a0 m0" in capsys.readouterr().out


def cached() -> Path:
    (file,) = (cache.cache_dir() / "depmod").iterdir()
    return file


@pytest.mark.parametrize("damage", ["gone", "empty", "cut", "flipped", "other version", "no JSON"])
def test_a_cache_that_does_not_fit_is_none(tree: Path, depmod: Depmod, damage: str) -> None:
    depmod()
    file, right = cached(), aliases(tree)
    data = bytearray(file.read_bytes())
    if damage == "gone":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(data[:-3])
    elif damage == "flipped":
        data[data.index(b"aa3\0") + 1] = ord("x")
        file.write_bytes(data)
    elif damage == "other version":
        file.write_bytes(b"tinykmod depmod cache 0\n" + data.partition(b"\n")[2])
    else:
        file.write_bytes(depmod_cache.MAGIC + b"0\n")
    assert depmod() == (ALL, True)
    assert aliases(tree) == right
    assert depmod() == (set(), False)


def test_what_changed_just_now_is_read_once_more(tree: Path, depmod: Depmod, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depmod_cache, "GRAIN", 10**12)
    depmod()
    assert depmod() == (ALL, True), "they are younger than the grain of a file system's time"


def test_where_no_cache_can_be_kept_the_files_are_written(
    tree: Path, depmod: Depmod, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert depmod() == (ALL, True)
    told = capsys.readouterr().err
    assert told.startswith(f"depmod: WARNING: {tmp_path / 'file'}")
    assert told.count("\n") == 1
    assert depmod() == (ALL, True)


def test_names_that_are_not_text(tree: Path, depmod: Depmod) -> None:
    strange = os.fsdecode(b"kernel/\xff.ko.d")
    (tree / strange).mkdir()
    (tree / strange / "s.ko").write_bytes(make_ko())
    assert depmod() == ({*ALL, "s"}, True)
    assert depmod() == (set(), False)
    assert json.dumps(strange) in cached().read_bytes().decode(errors="replace").replace("/s.ko", "")
