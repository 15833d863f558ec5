"""A frozen program: the loader, its boot index and modules in one file."""

from __future__ import annotations

import os
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.errors import TinykmodError
from tinykmod.image.freeze import MARK, freeze
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.kmod.signature import MAGIC as SIGNED
from tinykmod.modules.packed import pack, unpack
from tinykmod.modules.tree import read_tree

Frozen = Callable[..., Path]


@pytest.fixture(scope="module")
def frozen(small: Path, kernel: Kernel, tmp_path_factory: pytest.TempPathFactory) -> Frozen:
    """frozen(*words): the program that `tinykmod freeze` makes of the small tree, as modinfo."""

    def make(*words: str) -> Path:
        program = tmp_path_factory.mktemp("frozen") / "modinfo"
        assert main(["freeze", "-b", str(small), "-o", str(program), *words, kernel.release]) == 0
        return program

    return make


def modinfo(program: Path, kernel: Kernel, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program, "-k", kernel.release, *words], capture_output=True, text=True, check=False
    )


def test_each_module_is_the_one_it_is_called(frozen: Frozen, kernel: Kernel, small: Path) -> None:
    program = frozen("--with-modules", "--add", "*")
    names = [module.name for module in read_tree(small, kernel.release).modules]
    done = modinfo(program, kernel, "-F", "name", *names)
    assert (done.stdout.split(), done.stderr) == (names, "")
    again = frozen("--with-modules", "--add", "*")
    assert program.read_bytes() == again.read_bytes()
    assert os.access(program, os.X_OK)


def modules_in(program: Path) -> list[bytes]:
    data = program.read_bytes()
    start, size, whole = struct.unpack_from("<QQQ", data, data.index(MARK) + len(MARK))
    behind = data[start : start + whole]
    table = struct.iter_unpack("<II", behind[size : size + 8 * len(Index(behind[:size]).names)])
    return [unpack(behind[at : at + length], "x") for at, length in table]


def test_modules_without_their_signatures(frozen: Frozen) -> None:
    signed, unsigned = (modules_in(frozen("--with-modules", *option)) for option in ((), ("--drop-signatures",)))
    assert len(signed) > 30
    for one, other in zip(signed, unsigned, strict=True):
        assert one.endswith(SIGNED)
        assert one.startswith(other)
        assert len(other) < len(one)


def test_without_modules_it_takes_the_files(frozen: Frozen, kernel: Kernel, small: Path) -> None:
    program = frozen()
    done = modinfo(program, kernel, "nvme")
    assert done.returncode == 1
    assert "nvme.ko: No such file or directory" in done.stderr
    assert "filename:       /lib/modules/" in done.stdout
    # With -b it goes by what is there.
    (small / "lib/modules" / kernel.release / "modules.dep").write_text("kernel/drivers/nvme/host/nvme.ko:\n")
    (small / "lib/modules" / kernel.release / "modules.alias").touch()
    done = modinfo(program, kernel, "-b", str(small), "-F", "license", "nvme")
    assert (done.stdout, done.stderr) == ("GPL\n", "")


def test_it_is_for_the_kernel_it_was_made_for(frozen: Frozen, kernel: Kernel) -> None:
    done = modinfo(frozen("--with-modules"), kernel, "-k", "1.2.3", "nvme")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "tinykmod: boot index of 1.2.3: made for another kernel\n"


@pytest.mark.parametrize("keep", [0.5, 0.999])
def test_one_that_was_cut_short_has_no_modules(frozen: Frozen, kernel: Kernel, keep: float, tmp_path: Path) -> None:
    data = frozen("--with-modules").read_bytes()
    program = tmp_path / "modinfo"
    program.write_bytes(data[: int(len(data) * keep)])
    program.chmod(0o755)
    done = modinfo(program, kernel, "nvme")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"tinykmod: boot index of {kernel.release}: the image has no /lib/modules for this kernel\n"
    )


def test_damaged_modules_are_told(small: Path, kernel: Kernel, tmp_path: Path) -> None:
    tree = read_tree(small, kernel.release)
    index = compile_index(tree, read_config(small))
    names = Index(index).names
    packed = {name: pack(tree.read(tree.by_name[name])) for name in ("nvme", "nvme_core", "ext4")}
    packed["ext4"] = packed["ext4"][:-1]
    loader = loaders.find()
    data = bytearray(freeze(loader.read_bytes(), loader, index, packed))
    at = data.find(MARK) + len(MARK)
    start, size = (int.from_bytes(data[at + place : at + place + 8], "little") for place in (0, 8))
    entry = start + size + 8 * names.index("nvme_core")
    data[entry : entry + 4] = (1 << 31).to_bytes(4, "little")
    program = tmp_path / "modinfo"
    program.write_bytes(data)
    program.chmod(0o755)
    done = modinfo(program, kernel, "-F", "license", "nvme", "nvme_core", "ext4")
    assert done.stdout == "GPL\n"
    assert [line.split(": ", 2)[2] for line in done.stderr.splitlines()] == [
        "No such file or directory", "its packed file is damaged",
    ]  # fmt: skip


def test_what_cannot_be_frozen_is_told(frozen: Frozen, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = frozen("--with-modules")
    with pytest.raises(TinykmodError, match=r"modinfo: is frozen already$"):
        freeze(program.read_bytes(), program, b"", {})
    for other in (b"", MARK, b"\x7fELF" * 100, MARK + bytes(24) + MARK + bytes(24)):
        with pytest.raises(TinykmodError, match=r"is no loader that can be frozen$"):
            freeze(other, tmp_path, b"", {})
    capsys.readouterr()
    for choice in (["--class", "gpu"], ["--drop-signatures"]):
        assert main(["freeze", "-o", str(tmp_path / "x"), *choice, "1.2.3"]) == 1
        assert capsys.readouterr().err == (
            "tinykmod: freeze: --class, --for, --add, --omit, --strict and --drop-signatures are for --with-modules\n"
        )
    assert list(tmp_path.iterdir()) == []
