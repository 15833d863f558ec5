"""Firmware of an image: where it is looked for, what of it goes in, and what is said of what is missing."""

from __future__ import annotations

import lzma
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import zstandard
from make_tree import RELEASE, make_tree

from tinykmod import loaders
from tinykmod.errors import ModuleFormatError, TinykmodError
from tinykmod.image import cpio
from tinykmod.image.build import build
from tinykmod.image.firmware import Firmware, Source, collect, resolve, search
from tinykmod.image.request import Image, Request

XZ, ZSTD = ({f"CONFIG_FW_LOADER_COMPRESS_{name}": "y"} for name in ("XZ", "ZSTD"))
LIB = "lib/firmware"


def put(root: Path, files: Mapping[str, bytes]) -> Path:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return root


def found(root: Path, names: list[str], config: Mapping[str, str] = {}, before: list[Path] = []) -> Firmware:  # noqa: B006
    return collect({"m": names}, search(root, RELEASE, before), config)


def contents(firmware: Firmware) -> dict[str, bytes]:
    return {path: source.read() for path, source in firmware.files.items()}


def kernels_xz(data: bytes) -> bytes:
    return lzma.compress(data, check=lzma.CHECK_CRC32)


def test_the_kernels_order_of_directories(tmp_path: Path) -> None:
    places = [f"{LIB}/updates/{RELEASE}", f"{LIB}/updates", f"{LIB}/{RELEASE}", LIB, "usr/lib/firmware"]
    put(tmp_path, {f"{place}/a.bin": place.encode() for place in places})
    for place in places:
        assert contents(found(tmp_path, ["a.bin"])) == {f"{LIB}/a.bin": place.encode()}
        (tmp_path / place / "a.bin").unlink()
    assert found(tmp_path, ["a.bin"]).missing == {"m": ["a.bin"]}


def test_what_is_plain_anywhere_comes_before_what_is_compressed(tmp_path: Path) -> None:
    put(tmp_path, {f"{LIB}/a": b"plain", f"{LIB}/updates/a.zst": b"", f"{LIB}/updates/a.xz": b""})
    assert contents(found(tmp_path, ["a"], XZ)) == {f"{LIB}/a": b"plain"}
    (tmp_path / LIB / "a").unlink()
    assert list(found(tmp_path, ["a"], {**XZ, **ZSTD}).files) == [f"{LIB}/a.zst"]


@pytest.mark.parametrize(
    ("suffix", "data", "option"),
    [(".xz", kernels_xz(b"code"), XZ), (".zst", zstandard.compress(b"code"), ZSTD)],
    ids=["xz", "zst"],
)
def test_it_stays_compressed_only_for_a_kernel_that_reads_it(
    tmp_path: Path, suffix: str, data: bytes, option: Mapping[str, str]
) -> None:
    put(tmp_path, {f"{LIB}/d/a.bin{suffix}": data})
    assert contents(found(tmp_path, ["d/a.bin"], option)) == {f"{LIB}/d/a.bin{suffix}": data}
    other = XZ if option is ZSTD else ZSTD
    for config in ({}, other, {"CONFIG_FW_LOADER_COMPRESS": "y"}):
        assert contents(found(tmp_path, ["d/a.bin"], config)) == {f"{LIB}/d/a.bin": b"code"}


def test_what_is_plain_is_packed_as_the_kernel_reads_it(tmp_path: Path) -> None:
    """What reads firmware in parts gets it plain: of compressed files the kernel gives no parts."""
    code = b"code" * 999
    put(tmp_path, {f"{LIB}/a": code, f"{LIB}/b.zst": zstandard.compress(code), f"{LIB}/c.xz": kernels_xz(code)})
    (tmp_path / LIB / "link").symlink_to("a")
    places = search(tmp_path, RELEASE)
    wanted = {"m": ["a", "b", "c", "link"], "bcm": ["a", "c"]}
    packed = collect(wanted, places, XZ, pack=True, plain={"bcm"})
    assert packed.links == {f"{LIB}/link.xz": "a.xz"}
    read = contents(packed)
    assert sorted(read) == [f"{LIB}/{name}" for name in ("a", "a.xz", "b.xz", "c", "c.xz")]
    assert all(lzma.decompress(read[f"{LIB}/{name}.xz"]) == code for name in "abc")
    assert read[f"{LIB}/a"] == read[f"{LIB}/c"] == code
    # Linux reads a frame's size from its header before anything else.
    both = contents(collect({"m": ["a"]}, places, {**XZ, **ZSTD}, pack=True))
    assert zstandard.get_frame_parameters(both.pop(f"{LIB}/a.zst")).content_size == len(code)
    assert not both
    assert sorted(contents(collect({"m": ["a"]}, places, {}, pack=True))) == [f"{LIB}/a"]


def test_xz_with_a_check_that_the_kernel_does_not_know_is_decompressed(tmp_path: Path) -> None:
    put(tmp_path, {f"{LIB}/a.xz": lzma.compress(b"code", check=lzma.CHECK_CRC64)})
    assert contents(found(tmp_path, ["a"], XZ)) == {f"{LIB}/a": b"code"}


@pytest.mark.parametrize("data", [b"", b"plain", kernels_xz(b"code" * 999)[:-20]], ids=["empty", "plain", "cut"])
def test_a_compressed_file_that_is_damaged_is_an_error(tmp_path: Path, data: bytes) -> None:
    put(tmp_path, {f"{LIB}/a.xz": data})
    with pytest.raises(ModuleFormatError, match=r"/lib/firmware/a\.xz: "):
        contents(found(tmp_path, ["a"]))


def test_patterns(tmp_path: Path) -> None:
    names = ["b/fw1-sdio.bin", "b/fw2-sdio.bin.xz", "b/fw3-pcie.bin", "b/x/fw4-sdio.bin", "c/fw5-sdio.bin"]
    put(tmp_path, {f"{LIB}/{name}": kernels_xz(b"x") for name in names})
    put(tmp_path, {f"{LIB}/updates/b/fw1-sdio.bin": b"newer"})
    firmware = found(tmp_path, ["b/fw*-sdio.*", "[bc]/fw[35]*", "none/*", "b/none*"])
    assert list(firmware.files) == [
        f"{LIB}/{name}" for name in ("b/fw1-sdio.bin", "b/fw2-sdio.bin", "b/fw3-pcie.bin", "c/fw5-sdio.bin")
    ]
    assert contents(firmware)[f"{LIB}/b/fw1-sdio.bin"] == b"newer"
    assert firmware.missing == {"m": ["none/*", "b/none*"]}


def test_names_of_one_file_share_it(tmp_path: Path) -> None:
    put(tmp_path, {f"{LIB}/chip/v7.bin": b"code"})
    (tmp_path / LIB / "board.bin").symlink_to("chip/v7.bin")
    (tmp_path / LIB / "other").symlink_to("chip")
    firmware = collect(
        {"m": ["other/v7.bin", "board.bin"], "n": ["chip/v7.bin", "board.bin"]}, search(tmp_path, RELEASE), {}
    )
    assert contents(firmware) == {f"{LIB}/other/v7.bin": b"code"}
    assert firmware.links == {f"{LIB}/board.bin": "other/v7.bin", f"{LIB}/chip/v7.bin": "../other/v7.bin"}
    assert firmware.users[f"{LIB}/board.bin"] == ["m", "n"]


def test_links_stay_within_the_root(tmp_path: Path) -> None:
    root = put(tmp_path / "root", {"usr/lib/firmware/here": b"ours", "opt/fw/far": b"far"})
    put(tmp_path, {"secret": b"", "opt/fw/far": b"the host's"})
    (root / "lib").symlink_to("/usr/lib")
    links = {"a": "here", "b": "/opt/fw/far", "c": "../../../../../secret", "d": f"{tmp_path}/secret", "e": "e",
             "f": "../../../../../../opt/fw/far", "g": "nowhere"}  # fmt: skip
    for name, target in links.items():
        (root / "usr/lib/firmware" / name).symlink_to(target)
    firmware = found(root, list(links))
    assert contents(firmware) == {f"{LIB}/a": b"ours", f"{LIB}/b": b"far"}
    assert firmware.links == {f"{LIB}/f": "b"}
    assert firmware.missing == {"m": ["c", "d", "e", "g"]}
    assert resolve(root, "lib/firmware/b") == "opt/fw/far"


@pytest.mark.parametrize("name", ["../../init", "x/../../../init", "", "/", "."])
def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    put(tmp_path, {"init": b"", f"{LIB}/x/y": b""})
    assert found(tmp_path, [name]).missing == {"m": [name]}


def test_another_tree_comes_first(tmp_path: Path) -> None:
    put(tmp_path, {f"root/{LIB}/updates/a": b"root", f"root/{LIB}/b": b"root", "tree/a": b"tree"})
    assert contents(found(tmp_path / "root", ["a", "b"], before=[tmp_path / "tree"])) == {
        f"{LIB}/a": b"tree", f"{LIB}/b": b"root",
    }  # fmt: skip


MODULES = {
    "kernel/drivers/ata/one.ko": {
        "modinfo": [("firmware", f"one/{number}.bin") for number in range(5)],
        "imports": ["ata_host_register"],
        "exports": ["one_symbol"],
    },
    "kernel/drivers/net/none.ko": {"modinfo": [("firmware", "none.bin")]},
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = make_tree(tmp_path / "root", MODULES)
    return put(root, {f"{LIB}/one/0.bin": b"zero", f"{LIB}/none.bin": b"", f"{LIB}/one/not-asked-for": b""})


@pytest.fixture
def make(root: Path, tmp_path: Path) -> Callable[..., Image]:
    output = tmp_path / "image"

    def make(**fields: object) -> Image:
        return build(Request(root, RELEASE, output, loaders.find(), compress="none", **fields))  # type: ignore[arg-type]

    return make


def firmware_in(image: Image) -> dict[str, cpio.Entry]:
    entries = {entry.path: entry for entry in cpio.read(image.path.read_bytes())}
    return {path: entry for path, entry in entries.items() if path.startswith(f"{LIB}/") and entry.data}


def test_an_image_has_the_firmware_of_its_modules(make: Callable[..., Image], root: Path) -> None:
    (root / LIB / "one/1.bin").symlink_to("0.bin")
    image = make()
    assert list(image.modules) == ["one"]
    assert firmware_in(image) == {
        f"{LIB}/one/0.bin": cpio.regular(f"{LIB}/one/0.bin", b"zero"),
        f"{LIB}/one/1.bin": cpio.symlink(f"{LIB}/one/1.bin", "0.bin"),
    }
    assert image.missing_firmware == {"one": ["one/2.bin", "one/3.bin", "one/4.bin"]}
    assert firmware_in(make(firmware=None)) == {}


def test_missing_firmware_is_an_error_when_strict(make: Callable[..., Image], root: Path, tmp_path: Path) -> None:
    make()
    before = (tmp_path / "image").read_bytes()
    with pytest.raises(TinykmodError, match=r"^firmware: is missing; one: .*: one/1.bin, one/2.bin, "):
        make(strict=True)
    assert (tmp_path / "image").read_bytes() == before
    assert make(strict=True, firmware=None).missing_firmware == {}
    put(tmp_path, {f"tree/one/{number}.bin": b"new" for number in range(5)})
    image = make(strict=True, firmware=[tmp_path / "tree"])
    assert {entry.data for entry in firmware_in(image).values()} == {b"new"}


def test_the_command_says_what_is_missing(
    run_tinykmod: Callable[..., subprocess.CompletedProcess[str]], root: Path, tmp_path: Path
) -> None:
    words = ("initramfs", "-b", root, "-o", tmp_path / "image", RELEASE)
    done = run_tinykmod(*words)
    line = "tinykmod: one: firmware is missing: one/1.bin, one/2.bin, one/3.bin and 1 more\n"
    assert (done.returncode, done.stderr) == (0, line)
    assert run_tinykmod(*words, "--no-firmware").stderr == ""
    strict = run_tinykmod(*words, "--strict")
    assert (strict.returncode, strict.stderr.count("\n")) == (1, 1)
    both = run_tinykmod(*words, "--no-firmware", "--firmware", tmp_path)
    assert both.returncode == 2
    assert run_tinykmod(*words, "--firmware", tmp_path / "nowhere").returncode == 2


def test_a_file_that_goes_away_or_is_unreadable_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Source(tmp_path / "gone").read()
