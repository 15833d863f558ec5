"""The extension's way from module files to depmod's files gives what its twin gives, or leaves it to the twin."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from make_ko import make_ko
from make_tree import make_tree

from tinykmod import _core, core
from tinykmod.bench.debian import Kernel
from tinykmod.errors import ModuleFormatError, TinykmodError
from tinykmod.kmod import depmod
from tinykmod.kmod.depmod import KernelSymbols, Made
from tinykmod.kmod.depmod_reading import Reading
from tinykmod.kmod.depmod_record import pack, unpack
from tinykmod.modules import elf
from tinykmod.modules.elf_module import ElfModule
from tinykmod.modules.files import ModuleFile, find_modules
from tinykmod.modules.tree import Module, ModuleTree, tree_of

OF_BUILTIN = ("modules.builtin.bin", "modules.builtin.alias.bin")


def wanted(module: ElfModule) -> ElfModule:
    """A module without what depmod does not look at."""
    keys = ("alias", "softdep", "weakdep")
    return module._replace(modinfo=tuple(pair for pair in module.modinfo if pair[0] in keys))


symbols = st.sampled_from(["a", "ab", "abc", "abcd", "abcde", "f_longer", "é", "x" * 40])
crcs = st.none() | st.integers(0, 2**32 - 1)
aliases = st.text(st.sampled_from("ab-_*?[]c:é"), max_size=6) | st.sampled_from(
    ["devname:net/tun", "char-major-10-200", "block-major-007-00", "char-major-10-*", "char-major-10-2-3", "devname:"]
)
modinfo = st.lists(
    st.tuples(st.sampled_from(["alias", "alias", "alias", "softdep", "weakdep", "license"]), aliases), max_size=5
)
kos = st.fixed_dictionaries({
    "modinfo": modinfo,
    "exports": st.dictionaries(symbols, crcs, max_size=3),
    "imports": st.dictionaries(symbols, crcs, max_size=4),
    "weak": st.lists(symbols, max_size=1),
    "stripped": st.booleans(),
    "bits": st.sampled_from([32, 64]),
    "little_endian": st.booleans(),
})  # fmt: skip


def read(directory: Path, kos: list[dict]) -> Reading:
    files = []
    for number, ko in enumerate(kos):
        file = ModuleFile(f"m{number}", f"m{number}.ko")
        (directory / file.path).write_bytes(make_ko(**ko))
        files.append(file)
    return Reading(directory, files, {}, None)


@settings(max_examples=40)
@given(kos=st.lists(kos, min_size=1, max_size=3))
def test_records_hold_what_the_twin_reads(tmp_path_factory: pytest.TempPathFactory, kos: list[dict]) -> None:
    reading = read(tmp_path_factory.mktemp("records"), kos)
    for module, ko in zip(reading.modules(), kos, strict=True):
        read_by_twin = wanted(elf.read_elf(make_ko(**ko), "x"))
        assert module.elf == read_by_twin
        assert unpack(pack(read_by_twin)) == read_by_twin
        assert list(module.elf.imports) == list(read_by_twin.imports), "the order decides the order of loading"


def of_twin(directory: Path, modules: list[Module]) -> Made | str:
    tree = ModuleTree(directory, "x", modules, builtin=[], builtin_modinfo={}, digest=b"")
    try:
        return depmod.make(tree)
    except TinykmodError as error:
        return str(error)


FILES_OF_BUILD = 3  # their absence is always warned of here


@settings(max_examples=120)
@given(kos=st.lists(kos, max_size=6), kernel=st.none() | st.dictionaries(symbols, crcs), versioned=st.booleans())
@example(kos=[{"modinfo": [("alias", "")]}], kernel=None, versioned=False)
@example(kos=[{"exports": ["a"]}, {"exports": ["b"], "imports": ["a"]}] * 2, kernel={}, versioned=False)
def test_the_files_are_the_twins(
    tmp_path_factory: pytest.TempPathFactory, kos: list[dict], kernel: dict | None, versioned: bool
) -> None:
    directory = tmp_path_factory.mktemp("tree")
    reading = read(directory, kos)
    symbols = None if kernel is None else KernelSymbols(kernel, versioned)
    made = reading.make(symbols)
    expected = of_twin(directory, reading.modules())
    tree = ModuleTree(directory, "x", reading.modules(), builtin=[], builtin_modinfo={}, digest=b"")
    faults = list(depmod.symbol_faults(tree, symbols)) if symbols else []
    if made is None:
        empty = any(module.aliases.count("") for module in reading.modules())
        assert isinstance(expected, str) or len(expected.warnings) > FILES_OF_BUILD or faults or empty
    else:
        assert isinstance(expected, Made)
        assert not faults
        assert len(expected.warnings) == FILES_OF_BUILD
        assert made == {name: data for name, data in expected.files.items() if name not in OF_BUILTIN}


def test_the_files_of_a_debian_kernel_are_the_twins(kernel: Kernel) -> None:
    directory = kernel.root / "lib/modules" / kernel.release
    reading = Reading(directory, find_modules(directory), {}, None)
    made = reading.make(None)
    assert made is not None
    assert depmod.make(tree_of(directory, kernel.release, reading.modules(), b"")).files == (
        depmod.make(tree_of(directory, kernel.release, [], b""), made).files
    )


def test_the_kernels_symbols_are_regarded(tmp_path: Path) -> None:
    kos = [
        {"imports": {"a": 1, "kernels": 2}, "exports": {"own": 3}},
        {"imports": {"own": 3, "may_miss": 4}, "weak": ["may_miss"]},
    ]
    reading = read(tmp_path, kos)
    ours = {"a": 1, "kernels": 2}
    assert reading.make(KernelSymbols(ours, True))
    assert reading.make(KernelSymbols({**ours, "kernels": 9}, False)), "a System.map knows no CRCs"
    assert reading.make(KernelSymbols({**ours, "kernels": None}, True))
    assert reading.make(KernelSymbols({**ours, "kernels": 9}, True)) is None
    assert reading.make(KernelSymbols({"a": 1}, False)) is None
    assert reading.make(KernelSymbols({**ours, "may_miss": 9}, True)), "a weak symbol's CRC is not compared"
    assert reading.make(None)


def test_progress_ends_with_all(tmp_path: Path) -> None:
    make_tree(tmp_path, {f"kernel/m{number}.ko.xz": {} for number in range(20)}, release="r")
    directory = tmp_path / "lib/modules/r"
    shown: list[tuple[int, int]] = []
    Reading(directory, find_modules(directory), {}, lambda done, total: shown.append((done, total)))
    assert shown[-1] == (20, 20)
    assert all(done <= total for done, total in shown)


@pytest.mark.parametrize("damage", [b"", b"\x7fELF", b"no module", b"\xfd7zXZ\0no stream", b"\x1f\x8b\x08"], ids=str)
def test_a_damaged_file_is_named(tmp_path: Path, damage: bytes) -> None:
    make_tree(tmp_path, {f"kernel/m{number}.ko": {} for number in range(8)}, release="r")
    directory = tmp_path / "lib/modules/r"
    (directory / "kernel/m5.ko").write_bytes(damage)
    with pytest.raises(ModuleFormatError, match=r"kernel/m5\.ko: "):
        Reading(directory, find_modules(directory), {}, None)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as failure:
        Reading(tmp_path, [ModuleFile("gone", "gone.ko")], {}, None)
    assert failure.value.filename == str(tmp_path / "gone.ko")


def test_files_of_every_size(tmp_path: Path) -> None:
    """Small ones are copied, large ones mapped; where one ends at the end of a page, nothing behind it is read."""
    page = os.sysconf("SC_PAGESIZE")
    ko = make_ko([("alias", "a"), ("alias", "b")], {"symbol": 1}, ["needed"])
    files = []
    for name, size in {"small": len(ko), "page": page, "edge": 1 << 17, "large": 40 * page}.items():
        (tmp_path / f"{name}.ko").write_bytes(ko.ljust(size, b"\0"))
        files.append(ModuleFile(name, f"{name}.ko"))
    reading = Reading(tmp_path, files, {}, None)
    assert len({reading.record(number) for number in range(len(files))}) == 1


def test_records_that_are_given_are_not_read(tmp_path: Path) -> None:
    kos = [make_ko([("alias", f"x{number}")], exports=[f"e{number}"]) for number in range(3)]
    (tmp_path / "m1.ko").write_bytes(kos[1])
    kept = {number: pack(elf.read_elf(kos[number], "x")) for number in (0, 2)}
    files = [ModuleFile(f"m{number}", f"m{number}.ko") for number in range(3)]
    made = Reading(tmp_path, files, kept, None).make(None)
    assert made is not None
    assert made["modules.alias"].splitlines()[1:] == [b"alias x0 m0", b"alias x1 m1", b"alias x2 m2"]


@settings(max_examples=200)
@given(record=st.binary(max_size=40), cut=st.integers(0, 40))
def test_a_record_that_makes_no_sense_is_no_danger(record: bytes, cut: int) -> None:
    engine = _core.Depmod([b"/nowhere"])
    engine.give(0, (b"E\1\2\3\4name\0" + record)[:cut])
    engine.read(bytes)
    engine.make([b"m"], [b"m.ko"])


def test_the_twin_reads_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    modules = {"kernel/a.ko": {"modinfo": [("alias", "x")]}, "kernel/b.ko.xz": {"imports": ["s"]}}
    make_tree(tmp_path, modules, release="r")
    directory = tmp_path / "lib/modules/r"
    files = find_modules(directory)
    fast = Reading(directory, files, {}, None)
    monkeypatch.setattr(core, "extension", None)
    slow = Reading(directory, files, {0: fast.record(0)}, None)
    assert slow.make(None) is None
    assert [module.elf for module in slow.modules()] == [module.elf for module in fast.modules()]
    assert [unpack(slow.record(number)) for number in range(2)] == [module.elf for module in fast.modules()]


def test_names_and_symbols_that_no_index_takes_are_left_to_the_twin(tmp_path: Path) -> None:
    (tmp_path / "é.ko").write_bytes(make_ko())
    assert Reading(tmp_path, [ModuleFile("é", "é.ko")], {}, None).make(None) is None
    for ko in ({"exports": ["é"]}, {"modinfo": [("alias", "[a")]}, {"modinfo": [("devname:x", "")]}):
        made = read(tmp_path, [ko]).make(None)
        assert (made is None) == (ko != {"modinfo": [("devname:x", "")]})


def test_circles_are_left_to_the_twin(tmp_path: Path) -> None:
    ring = itertools.pairwise("abca")
    assert read(tmp_path, [{"exports": [has], "imports": [needs]} for has, needs in ring]).make(None) is None
