"""The file: reproducible, readable, and an error rather than a wrong answer or a wild read where it is damaged."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from faces import Face
from forging import EDITS, forge
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.errors import IndexFormatError, TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.index.schema import ModuleFlag, Root
from tinykmod.kmod.config import Config, read_config
from tinykmod.modules.tree import read_tree

MODULES = {
    "kernel/drivers/nvme/host/nvme-core.ko": {"exports": {"core": 7}},
    "kernel/drivers/nvme/host/nvme.ko": {
        "imports": {"core": 7, "nvme_init_ctrl": None},
        "modinfo": [("alias", "pci:v*d*sv*sd*bc01sc08i02*"), ("softdep", "post: extra")],
    },
    "extra/extra.ko.gz": {"modinfo": [("alias", "of:N*T*Cx,y-zC*"), ("alias", "of:N*T*Cx,y_zC*")]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return made(tmp_path / "root")


def made(root: Path) -> Path:
    return make_tree(root, MODULES, builtin={"kernel_part": ["fs-part"]}, config="options nvme a=1 b=2\n")


@pytest.fixture
def data(root: Path) -> bytes:
    return compile_index(read_tree(root, RELEASE), read_config(root))


def test_what_goes_in_comes_out(data: bytes) -> None:
    index = Index(data)
    nvme = index.module("nvme")
    assert index.release == RELEASE
    assert index.names == ["nvme_core", "nvme", "extra"]
    assert (nvme.path, nvme.options, nvme.deps) == ("kernel/drivers/nvme/host/nvme.ko", "a=1 b=2", ["nvme_core"])
    assert (nvme.direct, nvme.pre, nvme.post) == (["nvme_core"], [], ["extra"])
    assert [member.name for member in type(nvme.classes) if member in nvme.classes] == ["STORAGE"]
    assert sorted(index.aliases()) == [
        ("of:N*T*Cx,y-zC*", "extra"), ("of:N*T*Cx,y_zC*", "extra"), ("pci:v*d*sv*sd*bc01sc08i02*", "nvme"),
    ]  # fmt: skip
    assert index.builtin == ["kernel_part"]
    assert index.aliases(Root.BUILTIN) == [("fs-part", "kernel_part")]
    assert index.aliases(Root.CONFIG) == []


def test_same_tree_elsewhere_gives_the_same_bytes(data: bytes, tmp_path: Path) -> None:
    other = made(tmp_path / "else" / "where")
    assert compile_index(read_tree(other, RELEASE), read_config(other)) == data


def test_another_source_gives_another_digest(root: Path, data: bytes) -> None:
    (root / "etc/modprobe.d/test.conf").write_text("options nvme a=1 b=3\n")
    assert Index(compile_index(read_tree(root, RELEASE), read_config(root))).digest != Index(data).digest


def test_compressed_is_what_the_bytes_are(tmp_path: Path) -> None:
    modules = {name: {} for name in ("kernel/plain.ko", "kernel/packed.ko.xz", "kernel/unpacked.ko.gz")}
    tree = read_tree(make_tree(tmp_path / "root", modules), RELEASE)
    misnamed = tree.directory / "kernel/plain.ko"
    misnamed.rename(misnamed.with_suffix(".ko.zst"))
    tree = read_tree(tmp_path / "root", RELEASE)
    index = Index(compile_index(tree, Config(), stored={"unpacked": "kernel/unpacked.ko"}))
    flagged = {name: ModuleFlag.COMPRESSED in index.module(name).flags for name in index.names}
    assert flagged == {"plain": False, "packed": True, "unpacked": False}


def test_a_kernels_drivers_and_its_quick_hash(kernel_index: Path) -> None:
    index = Index(kernel_index.read_bytes())
    flags = {name: index.module(name).flags for name in index.names}
    assert {name for name in flags if ModuleFlag.HASH in flags[name]} == {"sha256_ssse3"}
    assert all(ModuleFlag.DRIVER in flags[name] for name in ("virtio_pci", "virtio_blk", "ahci", "psmouse"))
    assert not any(ModuleFlag.DRIVER in flags[name] for name in ("virtio_ring", "ext4", "drm", "libahci"))


def test_part_of_a_tree(root: Path) -> None:
    tree = read_tree(root, RELEASE)
    index = Index(compile_index(tree, Config(), only={"nvme", "nvme_core"}, stored={"nvme": "x/nvme.ko"}))
    assert index.names == ["nvme_core", "nvme"]
    assert (index.module("nvme").path, index.module("nvme").post) == ("x/nvme.ko", [])
    with pytest.raises(TinykmodError, match="nvme: needs nvme_core, which is left out"):
        compile_index(tree, Config(), only={"nvme"})


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_one_flipped_bit_is_noticed(face: Face, data: bytes, tmp_path: Path, where: float, bit: int) -> None:
    damaged = bytearray(data)
    damaged[int(where * len(data))] ^= 1 << bit
    path = tmp_path / "damaged.tki"
    path.write_bytes(damaged)
    assert "damaged.tki" in face.refusal(path)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(length=st.floats(0, 1, exclude_max=True))
def test_truncation_is_noticed(face: Face, data: bytes, tmp_path: Path, length: float) -> None:
    path = tmp_path / "short.tki"
    path.write_bytes(data[: int(length * len(data))])
    assert "short.tki" in face.refusal(path)


def test_two_words_that_changed_places_are_noticed(face: Face, data: bytes, tmp_path: Path) -> None:
    damaged = bytearray(data)
    words = range(200, len(data) - 8, 8)
    at = next(at for at in words if data[at : at + 8] != data[at + 8 : at + 16])
    damaged[at : at + 16] = data[at + 8 : at + 16] + data[at : at + 8]
    path = tmp_path / "swapped.tki"
    path.write_bytes(damaged)
    assert "checksum" in face.refusal(path)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_a_lie_with_a_right_checksum_ends_in_an_answer_or_an_error(
    face: Face, data: bytes, tmp_path: Path, edits: list[tuple[float, int]]
) -> None:
    path = tmp_path / "forged.tki"
    path.write_bytes(forge(data, edits))
    if face.refusal(path):
        return
    try:
        face.lookup(path, ["nvme", "extra", "pci:v1d1sv1sd1bc01sc08i02", "of:NxT(y)Cx,y-z", "fs-part", "kernel_part"])
        face.plan(path, ["nvme", "pci:v1d1sv1sd1bc01sc08i02"])
    except IndexFormatError:
        pass
    except subprocess.CalledProcessError as error:
        assert error.returncode == 1


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=EDITS)
def test_dump_of_a_lie_is_an_answer_or_one_line(
    data: bytes, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes], edits: list[tuple[float, int]]
) -> None:
    path = tmp_path / "forged.tki"
    path.write_bytes(forge(data, edits))
    for words in ((), ("--json",)):
        code = main(["index", "dump", *words, str(path)])
        said = capsysbinary.readouterr().err
        assert (code, said.count(b"\n")) in ((0, 0), (1, 1))


@pytest.mark.parametrize(
    ("at", "bytes_", "why"),
    [(0, b"TINY", "not a boot index"), (8, b"\0\0\0\0", "byte-order mark"), (12, b"\x09", "version")],
)
def test_headers_of_other_things(face: Face, data: bytes, tmp_path: Path, at: int, bytes_: bytes, why: str) -> None:
    path = tmp_path / "other.tki"
    path.write_bytes(data[:at] + bytes_ + data[at + len(bytes_) :])
    assert why in face.refusal(path)


def test_build_and_dump_a_real_kernel(
    kernel: Kernel, tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    output = tmp_path / "real.tki"
    done = run_tinykmod("index", "build", "-b", kernel.root, "-o", output, kernel.release)
    assert (done.returncode, done.stderr) == (0, "")
    dump = run_tinykmod("index", "dump", "--json", output)
    modules = {module["name"]: module for module in json.loads(dump.stdout)["modules"]}
    assert "storage" in modules["virtio_blk"]["classes"]
    assert "virtio:d00000002v*" in modules["virtio_blk"]["aliases"]
    assert [pattern for pattern, name in json.loads(dump.stdout)["builtin_aliases"] if name == "8250"]
    text = run_tinykmod("index", "dump", output).stdout
    assert "\nvirtio_blk  kernel/drivers/block/virtio_blk.ko  storage\n" in text


def test_dump_shows_the_aliases_of_configuration_and_builtin_modules(
    tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = make_tree(tmp_path / "root", MODULES, builtin={"part": ["fs-part"]}, config="alias x* nvme\nalias y off\n")
    assert run_tinykmod("index", "build", "-b", root, "-o", tmp_path / "x.tki", RELEASE).returncode == 0
    text = run_tinykmod("index", "dump", tmp_path / "x.tki").stdout
    assert "\n\naliases, config:\n  x*  nvme\n  y  off\n\naliases, builtin:\n  fs-part  part\n\n" in text
    found = json.loads(run_tinykmod("index", "dump", "--json", tmp_path / "x.tki").stdout)
    assert (found["config_aliases"], found["builtin_aliases"]) == ([["x*", "nvme"], ["y", ""]], [["fs-part", "part"]])


def test_names_of_files_need_not_be_utf_8(
    tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    root = make_tree(tmp_path / "root", {"kernel/a.ko": {}, "kernel/b\udcff.ko": {"modinfo": [("alias", "x:*")]}})
    output = tmp_path / "x.tki"
    done = run_tinykmod("index", "build", "-b", root, "-o", output, RELEASE)
    assert (done.returncode, done.stderr) == (0, "")
    [match] = Index(output.read_bytes()).lookup("x:1")
    assert match.module == "b\udcff"
    for words in (("dump", output), ("dump", "--json", output), ("match", output, "x:1")):
        command = [sys.executable, "-m", "tinykmod", "index", *words]
        shown = subprocess.run(command, capture_output=True, check=True, cwd=Path(__file__).parents[2]).stdout
        assert b"b\xff  " in shown or b"b\\udcff" in shown


@pytest.mark.parametrize("place", ["", ".", "DIR", "DIR/none/x", "/dev/null"])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]], place: str
) -> None:
    place = place.replace("DIR", str(tmp_path))
    for command in (("index", "build"), ("initramfs",)):
        # There is no such root: that would be told next.
        done = run_tinykmod(*command, "-b", tmp_path / "none", "-o", place, RELEASE)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert done.stderr.startswith(f"tinykmod: {place or '.'}: ")
        assert list(tmp_path.iterdir()) == []


def test_an_empty_release_is_told(run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    assert run_tinykmod("index", "build", "").stderr == "tinykmod: '': is no kernel release\n"


def test_build_errors_are_one_line_and_leave_the_old_file(
    root: Path, tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    output = tmp_path / "old.tki"
    output.write_bytes(b"old")
    nowhere = run_tinykmod("index", "build", "-b", root, "-o", output, "9.9.9")
    assert (nowhere.returncode, nowhere.stderr.count("\n")) == (1, 1)
    assert RELEASE in nowhere.stderr
    (root / "lib/modules" / RELEASE / "kernel/drivers/nvme/host/nvme.ko").write_bytes(b"\x7fELF short")
    cut = run_tinykmod("index", "build", "-b", root, "-o", output, RELEASE)
    assert (cut.returncode, cut.stderr.count("\n")) == (1, 1)
    assert "nvme.ko" in cut.stderr
    assert output.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
