"""Module trees: which files count, in which order, and what is said where something is missing."""

from __future__ import annotations

import gzip
import lzma
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from make_ko import make_ko

from tinykmod.bench.debian import Kernel
from tinykmod.errors import ModuleFormatError, TinykmodError
from tinykmod.modules import elf, tree
from tinykmod.modules.directory import module_directory, releases
from tinykmod.modules.tree import BATCH, ModuleTree, read_tree

RELEASE = "6.1.0-test"


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Path]:
    """plant({path: bytes}, order=[...]): write a tree's files below tmp_path; returns the root."""

    def write(files: dict[str, bytes], *, order: list[str] | None = None, parent: str = "lib/modules") -> Path:
        directory = tmp_path / parent / RELEASE
        for path, data in files.items():
            (directory / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / path).write_bytes(data)
        if order is not None:
            (directory / "modules.order").write_text("".join(f"{path}\n" for path in order))
        return tmp_path

    return write


def paths(read: ModuleTree) -> list[str]:
    return [module.path for module in read.modules]


def module(name: str) -> bytes:
    return make_ko([("name", name), ("alias", f"test:{name}")])


def test_modules_come_in_the_order_of_modules_order(plant) -> None:
    files = {f"kernel/{name}.ko": module(name) for name in ("a", "b-b", "c", "d")}
    root = plant(files, order=["kernel/c.ko", "kernel/not-built.ko", "kernel/b-b.ko"])
    read = read_tree(root, RELEASE)
    # Those not listed in kmod's order, which test_depmod.py compares.
    assert paths(read) == ["kernel/c.ko", "kernel/b-b.ko", "kernel/d.ko", "kernel/a.ko"]
    assert read.by_name["b_b"].aliases == ["test:b-b"]
    assert read.by_name["b_b"].size == len(module("b-b"))


def test_compressed_modules_keep_their_place_and_content(plant) -> None:
    files = {
        "kernel/z.ko.xz": lzma.compress(module("z"), check=lzma.CHECK_CRC32),
        "kernel/y.ko.gz": gzip.compress(module("y")),
        "kernel/x.ko.zst": zstandard.compress(module("x")),
        "kernel/w.ko.zst": module("w"),
    }
    read = read_tree(plant(files, order=["kernel/z.ko", "kernel/y.ko", "kernel/x.ko", "kernel/w.ko"]), RELEASE)
    assert paths(read) == list(files)
    assert [entry.aliases for entry in read.modules] == [["test:z"], ["test:y"], ["test:x"], ["test:w"]]
    assert read.modules[0].size == len(files["kernel/z.ko.xz"])
    assert [entry.compression for entry in read.modules] == ["xz", "gzip", "zstd", ""]


def test_of_one_name_the_file_that_depmod_chooses_counts(plant) -> None:
    files = {
        path: module(Path(path).stem)
        for path in (
            "kernel/drivers/twice.ko", "updates/dkms/twice.ko", "kernel/under-score.ko", "updates/under_score.ko",
            "kernel/source/hidden.ko", "build/hidden2.ko", "kernel/.dot.ko", "kernel/.dotted/in.ko",
            "kernel/no.ko.txt", "weak-updates/linked.ko",
        )
    }  # fmt: skip
    root = plant(files, order=["kernel/drivers/twice.ko"])
    directory = root / "lib/modules" / RELEASE
    target = directory.parent / "other/extra/linked2.ko"
    target.parent.mkdir(parents=True)
    target.write_bytes(module("linked2"))
    (directory / "weak-updates/linked2.ko").symlink_to(target)
    (directory / "weak-updates/loop").symlink_to(directory)
    (directory / "kernel/dangling.ko").symlink_to("nowhere")
    (directory / "kernel/itself.ko").symlink_to("itself.ko")
    read = read_tree(root, RELEASE)
    (directory / "weak-updates/loop").unlink()  # depmod follows it, until the path is too long
    subprocess.run(["depmod", "-b", str(root), RELEASE], check=True, capture_output=True)
    chosen = [line.split(":")[0] for line in (directory / "modules.dep").read_text().splitlines()]
    assert sorted(paths(read)) == sorted(chosen)
    assert "updates/dkms/twice.ko" in chosen


def test_a_usr_merged_root_is_found(plant) -> None:
    root = plant({"kernel/a.ko": module("a")}, parent="usr/lib/modules")
    assert module_directory(root, RELEASE) == root / "usr/lib/modules" / RELEASE
    assert releases(root) == [RELEASE]
    assert paths(read_tree(root, RELEASE)) == ["kernel/a.ko"]


def test_the_digest_is_of_the_contents_alone(plant, tmp_path: Path) -> None:
    files = {"kernel/a.ko": module("a"), "kernel/b.ko": module("b")}
    root = plant(files)
    first = read_tree(root, RELEASE).digest
    os.utime(root / "lib/modules" / RELEASE / "kernel/a.ko", (1, 1))
    (root / "lib/modules" / RELEASE / "modules.dep").write_text("made by depmod\n")
    assert read_tree(root, RELEASE).digest == first
    plant({"kernel/a.ko": files["kernel/a.ko"].replace(b"test:a", b"test:A")})
    second = read_tree(root, RELEASE).digest
    plant({"modules.builtin": b"kernel/in.ko\n"})
    third = read_tree(root, RELEASE).digest
    assert len({first, second, third}) == 3


def test_only_a_newline_ends_a_line(plant) -> None:
    root = plant({"kernel/a\u2028b.ko": module("a"), "kernel/a.ko": module("a")}, order=["kernel/a\u2028b.ko"])
    assert paths(read_tree(root, RELEASE)) == ["kernel/a\u2028b.ko", "kernel/a.ko"]


def test_builtin_modules_are_named_in_order(plant) -> None:
    builtin = {
        "kernel/a.ko": module("a"),
        "modules.builtin": b"kernel/z-z.ko\nkernel/b.ko\n",
        "modules.builtin.modinfo": b"z_z.alias=pci:*\0z_z.parm=x:a=b\0b.license=GPL\0",
    }
    read = read_tree(plant(builtin), RELEASE)
    assert read.builtin == ["z_z", "b"]
    assert read.builtin_modinfo == {"z_z": [("alias", "pci:*"), ("parm", "x:a=b")], "b": [("license", "GPL")]}


def test_progress_counts_up_to_all(plant) -> None:
    seen: list[tuple[int, int]] = []
    count = 2 * BATCH + 1
    root = plant({f"kernel/{name}.ko": module(f"m{name}") for name in range(count)})
    read_tree(root, RELEASE, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(BATCH, count), (2 * BATCH, count), (count, count)]


def test_a_cut_module_is_named(plant) -> None:
    root = plant({"kernel/good.ko": module("good"), "kernel/cut.ko": module("cut")[:-1]})
    with pytest.raises(ModuleFormatError, match=r"kernel/cut\.ko: cut short"):
        read_tree(root, RELEASE)


def test_a_release_that_is_not_there_names_those_that_are(plant, tmp_path: Path) -> None:
    with pytest.raises(TinykmodError, match="there is no module tree below"):
        read_tree(tmp_path, RELEASE)
    plant({"kernel/a.ko": module("a")})
    with pytest.raises(TinykmodError, match=rf"lib/modules/6\.6: no such directory; there is {RELEASE}"):
        read_tree(tmp_path, "6.6")
    for release in ("..", "", ".", f"../modules/{RELEASE}"):
        with pytest.raises(TinykmodError, match="is no kernel release"):
            read_tree(tmp_path, release)


def test_an_empty_tree_is_told(plant) -> None:
    with pytest.raises(TinykmodError, match="holds no module"):
        read_tree(plant({"modules.order": b""}), RELEASE)


def test_debian_is_read_whole_and_alike_by_both_readers(
    kernel: Kernel, real_tree: ModuleTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = (real_tree.directory / "modules.order").read_text().split()
    assert paths(real_tree) == [path for path in order if (real_tree.directory / path).exists()]
    assert len(real_tree.modules) == len(list(real_tree.directory.rglob("*.ko")))
    assert "ext4" in real_tree.by_name
    assert set(real_tree.builtin_modinfo) >= set(real_tree.builtin)
    assert tree.read_elf is not elf.read_elf
    monkeypatch.setattr(tree, "read_elf", elf.read_elf)
    twin = read_tree(kernel.root, kernel.release)
    assert (twin.modules, twin.digest) == (real_tree.modules, real_tree.digest)
