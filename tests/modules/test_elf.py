"""The readers of .ko files: what they read, what they refuse, and that they agree."""

from __future__ import annotations

import io
import struct
import subprocess
from collections.abc import Callable
from itertools import product

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ko import PPC64, SPARCV9, make_ko

from tinykmod import _core
from tinykmod.errors import ModuleFormatError
from tinykmod.modules import elf
from tinykmod.modules.elf_module import WHY, ElfModule, Fault
from tinykmod.modules.tree import ModuleTree

Reader = Callable[[bytes, str], ElfModule]
KINDS = [{"bits": bits, "little_endian": little} for bits, little in product((32, 64), (True, False))]

SAMPLE = {
    "modinfo": [("alias", "pci:v*d*sv*sd*bc01sc06i01*"), ("name", "sample"), ("alias", "b=c")],
    "exports": {"one": 0x11223344, "two": 0xFFFFFFFF},
    "imports": {"three": 5, "four": 0xDEADBEEF, "five": None},
    "weak": ["five"],
}
names = st.text(st.characters(codec="utf-8", exclude_characters="\0="), min_size=1, max_size=18)
crcs = st.integers(0, 0xFFFFFFFF)


@pytest.fixture(scope="session")
def small_modules(real_tree: ModuleTree) -> list[bytes]:
    modules = sorted(real_tree.modules, key=lambda module: (module.size, module.path))[:5]
    return [(real_tree.directory / module.path).read_bytes() for module in modules]


def outcome(reader: Reader, data: bytes) -> ElfModule | str:
    """What a reader makes of some bytes; no exception but ModuleFormatError may come out."""
    try:
        return reader(data, "x.ko")
    except ModuleFormatError as error:
        return str(error)


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=40)
@given(
    modinfo=st.lists(st.tuples(names, names)),
    exports=st.dictionaries(names, crcs),
    imports=st.dictionaries(names, crcs),
)
@pytest.mark.parametrize("form", [{}, {"absolute_crcs": True}, {"extended_versions": True}], ids=str)
def test_what_was_put_in_is_read(read_elf: Reader, kind, form, *, modinfo, exports, imports) -> None:
    read = read_elf(make_ko(modinfo, exports, imports, weak=list(imports)[::2], **kind, **form), "x.ko")
    assert read == ElfModule(tuple(modinfo), exports, imports, frozenset(list(imports)[::2]))


def test_without_modversions_the_names_are_read(read_elf: Reader) -> None:
    read = read_elf(make_ko(exports=["one"], imports=["two"]), "x.ko")
    assert (read.exports, read.imports) == ({"one": None}, {"two": None})


def test_without_local_symbols_the_export_strings_are_read(read_elf: Reader) -> None:
    stripped = make_ko(exports={"one": 1, "two": 2}, stripped=True)
    assert read_elf(stripped, "x.ko").exports == {"one": None, "two": None}


def test_bytes_that_are_no_utf8_survive(read_elf: Reader) -> None:
    raw = b"caf\xe9".decode(errors="surrogateescape")
    read = read_elf(make_ko([("author", raw)], {raw: 1}, {raw: 2}), "x.ko")
    assert read == ElfModule((("author", raw),), {raw: 1}, {raw: 2}, frozenset())


def test_on_ppc64_entry_points_lose_their_dot(read_elf: Reader) -> None:
    imports = {".printk": 1, ".TOC.": 2, "plain": 3}
    assert read_elf(make_ko(imports=imports, machine=PPC64), "x.ko").imports == {"printk": 1, "plain": 3}
    assert read_elf(make_ko(imports=imports), "x.ko").imports == imports


def test_sparc_registers_are_no_symbols(read_elf: Reader) -> None:
    assert read_elf(make_ko(imports=["#scratch"], machine=SPARCV9, import_type=13), "x.ko").imports == {}
    assert read_elf(make_ko(imports=["#scratch"], import_type=13), "x.ko").imports == {"#scratch": None}


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_cut_is_told(read_elf: Reader, kind) -> None:
    whole = make_ko(**SAMPLE, **kind)
    for size in range(len(whole)):
        with pytest.raises(ModuleFormatError, match=r"^x\.ko: (not an ELF file|cut short)"):
            read_elf(whole[:size], "x.ko")


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("extended_versions", [False, True])
def test_the_readers_agree_on_every_changed_byte(kind, extended_versions) -> None:
    whole = bytearray(make_ko(**SAMPLE, **kind, extended_versions=extended_versions))
    refused = 0
    for place, old in enumerate(whole):
        for new in (old ^ 1, 0xFF - old):
            whole[place] = new
            read = outcome(elf.read_elf, bytes(whole))
            assert read == outcome(_core.read_elf, bytes(whole)), f"byte {place} as {new}"
            refused += isinstance(read, str)
        whole[place] = old
    assert refused > 100


@settings(max_examples=300)
@given(data=st.data())
def test_the_readers_agree_on_a_damaged_real_module(small_modules: list[bytes], data) -> None:
    whole = data.draw(st.sampled_from(small_modules))
    damaged = bytearray(whole[: data.draw(st.just(len(whole)) | st.integers(1, len(whole)))])
    changes = st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=4)
    for place, value in data.draw(changes):
        damaged[place] = value
    assert outcome(elf.read_elf, bytes(damaged)) == outcome(_core.read_elf, bytes(damaged))


class Damage:
    """A sample, one of whose fields is overwritten: by its section's name, or in the ELF header."""

    def __init__(self) -> None:
        self.data = bytearray(make_ko(**SAMPLE))
        file = ELFFile(io.BytesIO(self.data))
        self.headers = file.header.e_shoff
        self.at = {section.name: section["sh_offset"] for section in file.iter_sections()}
        self.number = {section.name: number for number, section in enumerate(file.iter_sections())}

    def header(self, offset: int, form: str, value: int) -> Damage:
        struct.pack_into(form, self.data, offset, value)
        return self

    def section(self, name: str, field: int, form: str, value: int) -> Damage:
        return self.header(self.headers + 64 * self.number[name] + field, form, value)

    def inside(self, name: str, offset: int, form: str, value: int) -> Damage:
        return self.header(self.at[name] + offset, form, value)


SH_NAME, SH_TYPE, SH_OFFSET, SH_SIZE, SH_LINK = 0, 4, 24, 32, 40
TOP = 0xFFFFFFFFFFFFFFFF
SYMBOL = 24
FAULTS = [
    (Fault.CLASS, 3, lambda damage: damage.header(4, "B", 3)),
    (Fault.ORDER, 0, lambda damage: damage.header(5, "B", 0)),
    (Fault.TYPE, 3, lambda damage: damage.header(16, "<H", 3)),
    (Fault.HEADERS, 0, lambda damage: damage.header(40, "<Q", TOP - 62)),
    (Fault.HEADERS, 0, lambda damage: damage.header(58, "<H", 40)),
    (Fault.HEADERS, 0, lambda damage: damage.header(60, "<H", 0).section("", SH_SIZE, "<Q", 1 << 58)),
    (Fault.SECTION, 1, lambda damage: damage.section(".modinfo", SH_SIZE, "<Q", TOP)),
    (Fault.SECTION, 1, lambda damage: damage.section(".modinfo", SH_OFFSET, "<Q", TOP)),
    (Fault.NAMES, 0, lambda damage: damage.header(62, "<H", 0)),
    (Fault.NAMES, 0x10000, lambda damage: damage.header(62, "<H", 0xFFFF).section("", SH_LINK, "<I", 0x10000)),
    (Fault.SECTION_NAME, 1, lambda damage: damage.section(".modinfo", SH_NAME, "<I", 0xFFFFFFFF)),
    (Fault.SYMBOLS, 5, lambda damage: damage.section(".symtab", SH_LINK, "<I", 99)),
    (Fault.SYMBOLS, 5, lambda damage: damage.section(".symtab", SH_SIZE, "<Q", SYMBOL + 1)),
    (Fault.SYMBOL_NAME, 1, lambda damage: damage.inside(".symtab", SYMBOL, "<I", 0xFFFFFFFF)),
    (Fault.CRC, 2, lambda damage: damage.inside(".symtab", 2 * SYMBOL + 8, "<Q", TOP)),
    (Fault.CRC, 2, lambda damage: damage.inside(".symtab", 2 * SYMBOL + 6, "<H", 0xFFF2)),
    (Fault.VERSIONS, 0, lambda damage: damage.section("__versions", SH_SIZE, "<Q", 65)),
    (Fault.MODINFO, 0, lambda damage: damage.section(".modinfo", SH_SIZE, "<Q", 3)),
]


@pytest.mark.parametrize(("fault", "number", "damage"), FAULTS)
def test_each_damage_is_told_with_its_place(read_elf: Reader, fault, number, damage) -> None:
    with pytest.raises(ModuleFormatError) as caught:
        read_elf(bytes(damage(Damage()).data), "x.ko")
    assert caught.value.why == WHY[fault].format(number)


def test_a_version_record_without_its_end_is_told(read_elf: Reader) -> None:
    whole = make_ko(imports={"n" * 55: 1})
    with pytest.raises(ModuleFormatError, match="record 0 of __versions has no end"):
        read_elf(whole.replace(b"n" * 55 + b"\0", b"n" * 56, 1), "x.ko")


def test_extended_versions_of_unlike_length_are_told(read_elf: Reader) -> None:
    whole = make_ko(imports={"one": 1, "two": 2}, extended_versions=True)
    with pytest.raises(ModuleFormatError, match="do not agree"):
        read_elf(whole.replace(b"one\0two\0", b"one_two\0", 1), "x.ko")


def test_section_numbers_beyond_16_bits_are_read_from_section_0(read_elf: Reader) -> None:
    damage = Damage()
    count, strings = struct.unpack_from("<HH", damage.data, 60)
    damage.header(60, "<H", 0).section("", SH_SIZE, "<Q", count)
    damage.header(62, "<H", 0xFFFF).section("", SH_LINK, "<I", strings)
    assert read_elf(bytes(damage.data), "x.ko") == read_elf(make_ko(**SAMPLE), "x.ko")


@pytest.mark.parametrize("name", ["ahci", "btrfs", "nvme_core", "usb_storage"])
def test_kmod_reads_the_same_of_a_real_module(real_tree: ModuleTree, read_elf: Reader, name: str) -> None:
    file = real_tree.directory / real_tree.by_name[name].path
    read = read_elf(file.read_bytes(), str(file))
    versions = dict(reversed(line.split("\t")) for line in _run("modprobe", "--dump-modversions", str(file)))
    assert {symbol: f"0x{crc:08x}" for symbol, crc in read.imports.items()} == versions
    for key in ("alias", "depends", "softdep", "vermagic", "license", "parmtype"):
        expected = [line for line in _run("modinfo", "-F", key, str(file)) if line]
        assert [value for field, value in read.modinfo if field == key and value] == expected


def _run(*words: str) -> list[str]:
    return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()


def test_crcs_of_exports_and_imports_meet(real_tree: ModuleTree) -> None:
    exports = {symbol: crc for module in real_tree.modules for symbol, crc in module.elf.exports.items()}
    met = [
        (symbol, crc == exports[symbol])
        for module in real_tree.modules
        for symbol, crc in module.elf.imports.items()
        if symbol in exports
    ]
    assert len(met) > 20000
    assert [symbol for symbol, same in met if not same] == []
