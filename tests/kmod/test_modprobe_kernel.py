"""modprobe over all of a real kernel's modules and aliases, beside Debian's."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest
from examples import example

from tinykmod.bench.debian import Kernel
from tinykmod.cli import main

Capture = pytest.CaptureFixture[str]


def words(root: Path, kernel: Kernel, *more: str) -> list[str]:
    return ["-C", "/dev/null", "-d", str(root), "-S", kernel.release, *more]


def kmods(given: list[str]) -> str:
    return subprocess.run(["/sbin/modprobe", *given], capture_output=True, text=True, check=True).stdout


def ours(given: list[str], capsys: Capture) -> str:
    assert main(["modprobe", *given]) == 0
    return capsys.readouterr().out


def names_of(root: Path, kernel: Kernel) -> list[str]:
    lines = (root / "lib/modules" / kernel.release / "modules.dep").read_text().splitlines()
    return [Path(line.partition(":")[0]).name.partition(".")[0] for line in lines]


def aliases_of(root: Path, kernel: Kernel) -> list[str]:
    lines = (root / "lib/modules" / kernel.release / "modules.alias").read_text().splitlines()
    return sorted({example(line.split()[1]) for line in lines if line.startswith("alias ")})


@pytest.fixture(scope="module")
def merged_root(depmod_root: Path, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """depmod's files, but each module's softdeps in one line: kmod heeds one only."""
    root = tmp_path_factory.mktemp("merged")
    directory = root / "lib/modules" / kernel.release
    directory.mkdir(parents=True)
    softdeps: dict[str, dict[str, list[str]]] = {}
    for file in (depmod_root / "lib/modules" / kernel.release).iterdir():
        if file.name != "modules.softdep":
            (directory / file.name).symlink_to(file)
            continue
        for line in file.read_text().splitlines()[1:]:
            _, module, *rest = line.split()
            for word in rest:
                if word.endswith(":"):
                    here = softdeps.setdefault(module, {"pre:": [], "post:": []})[word]
                else:
                    here.append(word)
    assert len(softdeps) > 20
    lines = (
        f"softdep {module} pre: {' '.join(found['pre:'])} post: {' '.join(found['post:'])}\n"
        for module, found in softdeps.items()
    )
    (directory / "modules.softdep").write_text("".join(lines))
    return root


def test_what_every_module_needs(merged_root: Path, kernel: Kernel, capsys: Capture) -> None:
    names = names_of(merged_root, kernel)
    assert len(names) > 4000
    given = words(merged_root, kernel, "-aD", *names)
    assert ours(given, capsys) == kmods(given)


def test_several_softdep_lines_are_as_one(
    merged_root: Path, depmod_root: Path, kernel: Kernel, capsys: Capture
) -> None:
    names = ("btrfs", "cifs", "ksmbd")
    given = words(depmod_root, kernel, "-aD", *names)
    as_one = kmods(words(merged_root, kernel, "-aD", *names)).replace(str(merged_root), str(depmod_root))
    assert ours(given, capsys) == as_one
    assert set(kmods(given).splitlines()) < set(as_one.splitlines()), "kmod heeds one line"


def test_what_a_modalias_of_every_alias_stands_for(depmod_root: Path, kernel: Kernel, capsys: Capture) -> None:
    aliases = aliases_of(depmod_root, kernel)
    assert len(aliases) > 20000
    theirs = [
        kmods(words(depmod_root, kernel, "-aR", *aliases[start : start + 1000]))
        for start in range(0, len(aliases), 1000)
    ]
    assert ours(words(depmod_root, kernel, "-aR", *aliases), capsys) == "".join(theirs)


def test_names_and_symbols(depmod_root: Path, kernel: Kernel, capsys: Capture) -> None:
    """The names of all that is built in, and symbols that modules export."""
    directory = depmod_root / "lib/modules" / kernel.release
    builtin = [Path(line).stem for line in (directory / "modules.builtin").read_text().splitlines()]
    symbols = [line.split()[1] for line in (directory / "modules.symbols").read_text().splitlines()[1:]]
    for option in ("-aR", "-aD"):
        given = words(depmod_root, kernel, option, *builtin, *symbols[::20])
        assert ours(given, capsys) == kmods(given)


def test_the_configuration_and_the_aliases(merged_root: Path, kernel: Kernel, capsys: Capture) -> None:
    theirs, mine = (text.splitlines() for text in (
        kmods(words(merged_root, kernel, "-c")), ours(words(merged_root, kernel, "-c"), capsys)
    ))  # fmt: skip
    plain = [[line for line in lines if not line.startswith("softdep ")] for lines in (theirs, mine)]
    assert plain[0] == plain[1]
    assert len(plain[0]) > 20000
    assert len(theirs) == len(mine)


def test_symbols_of_files(depmod_root: Path, kernel: Kernel, capsys: Capture) -> None:
    files = sorted((depmod_root / "lib/modules" / kernel.release).rglob("*.ko"))
    for file in random.Random(1).sample(files, 40):
        for option in ("--show-modversions", "--show-exports"):
            done = subprocess.run(["/sbin/modprobe", option, file], capture_output=True, text=True, check=False)
            assert main(["modprobe", option, str(file)]) == done.returncode
            assert capsys.readouterr().out == done.stdout


def test_symbols_of_what_is_no_module(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "text").write_text("x")
    for file, option, why in (
        ("text", "--show-exports", f"could not get symbols of {tmp_path}/text: not an ELF file"),
        ("text", "--show-modversions", f"could not get modversions of {tmp_path}/text: not an ELF file"),
        ("none", "--show-exports", f"Module {tmp_path}/none not found."),
        ("text/none", "--show-modversions", f"Module {tmp_path}/text/none not found."),
        ("", "--show-exports", f"could not get symbols of {tmp_path}: Is a directory"),
    ):
        assert main(["modprobe", option, str(tmp_path / file)]) == 1
        assert capsys.readouterr().err == f"modprobe: FATAL: {why}\n"
