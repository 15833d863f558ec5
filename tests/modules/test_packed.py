"""Packed modules: what was packed comes back to the byte, from each of the faces, and damage is told."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from make_ko import make_ko

from tinykmod import _core, core, loaders
from tinykmod.errors import ModuleFormatError
from tinykmod.modules.compression import compression
from tinykmod.modules.packed import MAGIC, _Table, pack, turn, unpack

Unpack = Callable[[bytes, str], bytes]


@pytest.fixture(scope="module", params=["twin", "extension"])
def unpacked(request: pytest.FixtureRequest) -> Unpack:
    return unpack if request.param == "twin" else _core.unpack


def module_with(tables: list[tuple[int, int, bytes]], bits: int) -> bytes:
    """An ELF file with sections of (sh_type, sh_entsize, contents)."""
    head, body, sections = (64, b"", []) if bits == 64 else (52, b"", [])
    for kind, width, data in tables:
        body += b"\0" * (-(head + len(body)) % 8)
        sections.append((kind, head + len(body), len(data), width))
        body += data
    form = "<IIQQQQIIQQ" if bits == 64 else "<10I"
    table = b"".join(struct.pack(form, 0, kind, 0, 0, at, size, 0, 0, 8, width) for kind, at, size, width in sections)
    body += b"\0" * (-(head + len(body)) % 8)
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    word = "Q" if bits == 64 else "I"
    sizes = (head, 0, 0, struct.calcsize(form), len(sections), 0)
    header = ident + struct.pack(f"<HHI{word}{word}{word}I6H", 1, 62, 1, 0, 0, head + len(body), 0, *sizes)
    return header + body + table


def relocations(count: int, bits: int) -> bytes:
    """Records as a compiler leaves them; some go back, as those of .rela.altinstructions do."""
    form = "<QQq" if bits == 64 else "<II"
    records = []
    for number in range(count):
        place = number * 13 if number % 7 else (1 << bits - 1) - number
        records.append(struct.pack(form, place, (number % 300) << 8 | 4, *([-4 - number % 3] if bits == 64 else [])))
    return b"".join(records)


@pytest.mark.parametrize("bits", [32, 64])
def test_tables_come_back(unpacked: Unpack, bits: int) -> None:
    width = 24 if bits == 64 else 8
    for count in (0, 15, 16, 17, 4000):
        kinds = [(4 if bits == 64 else 9, width, relocations(count, bits)), (2, 24 if bits == 64 else 16, bytes(960))]
        module = module_with([(1, 0, b"text" * 99), *kinds], bits)
        assert unpacked(pack(module), "x") == module
    # They are turned round, or the table would cost its size.
    assert len(pack(module)) < len(module) / 8


@example(data=b"\x7fELF\2\1".ljust(47, b"\0") + b"\x80".ljust(13, b"\0") + b"\1".ljust(9, b"\0"), seed=b"x", times=1)
@given(data=st.binary(max_size=400), seed=st.binary(min_size=1, max_size=40), times=st.integers(1, 90))
def test_any_bytes_come_back(data: bytes, seed: bytes, times: int) -> None:
    for module in (data, seed * times + data + seed * times, module_with([(4, 24, data), (2, 16, seed * times)], 64)):
        if module:
            assert unpack(pack(module), "x") == module == _core.unpack(pack(module), "x")


@pytest.mark.parametrize("little_endian", [True, False])
@pytest.mark.parametrize("bits", [32, 64])
def test_every_kind_of_module_comes_back(unpacked: Unpack, bits: int, little_endian: bool) -> None:
    exports = {f"symbol_{number}": number for number in range(40)}
    module = make_ko([("license", "GPL")], exports, bits=bits, little_endian=little_endian)
    packed = pack(module)
    assert compression(packed) == "packed"
    assert unpacked(packed, "x") == module


@pytest.mark.parametrize("bits", [32, 64])
def test_both_turn_tables_to_the_same_bytes(kernel, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    width = 24 if bits == 64 else 8
    modules = [module_with([(4 if bits == 64 else 9, width, relocations(count, bits)), (2, 24 if bits == 64 else 16,
               bytes(range(240)) * 4), (2, 20, bytes(800))], bits) for count in (16, 17, 4000)]  # fmt: skip
    modules += [file.read_bytes() for file in (kernel.root / "lib/modules").rglob("kernel/fs/nls/*.ko")]
    quick = [pack(module) for module in modules]
    monkeypatch.setattr(core, "extension", None)
    assert [pack(module) for module in modules] == quick


@given(data=st.binary(min_size=100, max_size=4000), offset=st.integers(0, 50), width=st.integers(1, 4),
       word=st.sampled_from([0, 4, 8]))  # fmt: skip
def test_any_table_is_turned_alike(data: bytes, offset: int, width: int, word: int) -> None:
    # Where a first number is a difference, everything is a multiple of its size.
    unit = word or 1
    wide = width * unit
    first = offset * unit if offset * unit < len(data) else 0
    table = (first, (len(data) - first) // wide, 0, wide, word)
    one, other = bytearray(data), bytearray(data)
    assert turn(one, [_Table(*table)]) == _core.turn(other, [table])
    assert one == other


def test_a_table_outside_is_not_turned() -> None:
    for table in ((0, 26, 0, 4, 4), (100, 1, 0, 1, 0), (1, 1 << 31, 0, 2, 0), (0, 1, 0, 33, 0)):
        with pytest.raises(ValueError, match="outside"):
            _core.turn(bytearray(100), [table])


def test_real_modules_come_back(kernel, unpacked: Unpack) -> None:
    files = sorted((kernel.root / "lib/modules" / kernel.release / "kernel/fs").rglob("*.ko"))
    size = 0
    for file in files:
        module = file.read_bytes()
        packed = pack(module)
        assert unpacked(packed, str(file)) == module
        size += len(packed) / len(module)
    assert size / len(files) < 0.4


def damaged() -> list[tuple[str, bytes]]:
    whole = pack(module_with([(4, 24, relocations(50, 64))], 64))
    _, size, tables = struct.unpack_from("<4sII", whole)
    assert tables == 1

    def table(offset: int, records: int, width: int, word: int) -> bytes:
        return whole[:12] + struct.pack("<IIIHH", offset, records, 0xFFFFFF, width, word) + whole[28:]

    return [
        ("cut", whole[:-1]),
        ("only a header", whole[:12]),
        ("less than a header", whole[:9]),
        ("too many tables", whole[:8] + struct.pack("<I", 1 << 28) + whole[12:]),
        ("larger", whole[:4] + struct.pack("<I", size + 1) + whole[8:]),
        ("smaller", whole[:4] + struct.pack("<I", size - 1) + whole[8:]),
        ("as large as no block can be", whole[:4] + struct.pack("<I", 255 * len(whole) + 1) + whole[8:]),
        ("a table behind the end", table(size - 24 * 50 + 8, 50, 24, 8)),
        ("records without number", table(64, 1 << 31, 24, 8)),
        ("records without a byte", table(64, 2, 0, 8)),
        ("wide records", table(64, 2, 33, 0)),
        ("a number of 3 bytes", table(64, 50, 24, 3)),
        ("a number that is no part of the record", table(64, 50, 20, 8)),
        ("a table at an odd place", table(65, 40, 24, 8)),
    ]


@pytest.mark.parametrize(("what", "data"), damaged(), ids=[what for what, _ in damaged()])
def test_damage_is_told(what: str, data: bytes) -> None:
    for unpacking in (unpack, _core.unpack):
        with pytest.raises(ModuleFormatError, match=r"^x\.ko: packed data are damaged"):
            unpacking(data, "x.ko")


@given(changes=st.dictionaries(st.integers(12, 10000), st.integers(0, 255), max_size=4))
def test_no_two_faces_read_different_modules(changes: dict[int, int]) -> None:
    data = bytearray(pack(module_with([(4, 24, relocations(50, 64))], 64)))
    for place, value in changes.items():
        data[place % (len(data) - 12) + 12] = value
    told = []
    for unpacking in (unpack, _core.unpack):
        try:
            told.append(unpacking(bytes(data), "x"))
        except ModuleFormatError:
            told.append(b"")
    # The core refuses a distance of 0, liblz4 does not.
    assert told[1] in (told[0], b"")


def modinfo(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([loaders.find(), "modinfo", *words], capture_output=True, text=True, check=False)


def test_the_loader_reads_what_was_packed(kernel, tmp_path: Path) -> None:
    for name in ("ext4/ext4", "fat/vfat", "nls/nls_utf8"):
        module = kernel.root / "lib/modules" / kernel.release / f"kernel/fs/{name}.ko"
        packed = tmp_path / f"{module.name}.tkp"
        packed.write_bytes(pack(module.read_bytes()))
        plain, read = modinfo(module), modinfo(packed)
        assert plain.returncode == read.returncode == 0
        assert plain.stdout.splitlines()[1:] == read.stdout.splitlines()[1:] != []


@pytest.mark.parametrize(("what", "data"), damaged(), ids=[what for what, _ in damaged()])
def test_the_loader_tells_of_damage(tmp_path: Path, what: str, data: bytes) -> None:
    file = tmp_path / "x.ko.tkp"
    file.write_bytes(data)
    why = "its packed file is damaged" if len(data) >= 12 else "no module that can be read"
    done = modinfo(file)
    assert (done.returncode, done.stderr) == (1, f"tinykmod: modinfo {file}: {why}\n")
    assert data.startswith(MAGIC)
