"""depmod's .bin indexes: what is written reads back, by us and by Debian's modprobe; what is damaged is refused."""

from __future__ import annotations

import struct
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tree import RELEASE

from tinykmod.bench.debian import Kernel
from tinykmod.errors import BinIndexError
from tinykmod.kmod.binindex import BinIndex, Entry, write_index
from tinykmod.kmod.glob import glob

KEYS = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=12) | st.text("ab", max_size=6)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=6)
ENTRIES = st.lists(st.builds(Entry, KEYS, VALUES, st.integers(0, 3) | st.integers(0, 2**32 - 1)), max_size=40)

SMALL = [Entry("ab", "one", 1), Entry("abc", "two", 0), Entry("abd", "three", 7), Entry("x", "", 0)]


@given(ENTRIES)
def test_any_entries_read_back(entries: list[Entry]) -> None:
    # Of one key: the lower priority first, of equal ones the one that came last.
    last_first = list(reversed(entries))
    expected = sorted(last_first, key=lambda entry: (entry.key, entry.priority))
    assert BinIndex(write_index(entries, "x"), "x").entries() == expected


@given(ENTRIES)
def test_the_bytes_do_not_depend_on_the_order_of_the_keys(entries: list[Entry]) -> None:
    assert write_index(sorted(entries, key=lambda entry: entry.key), "x") == write_index(entries, "x")


#: As depmod writes aliases: a bracket is closed, and what is in it is not empty.
PATTERNS = st.lists(st.sampled_from(["a", "b", "x1", ":", "*", "?", "[ab]", "[!a]", "[a-c]", "_"]), max_size=6).map(
    "".join
)
ALIASES = st.lists(st.builds(Entry, PATTERNS, st.text("mno", min_size=1, max_size=3), st.integers(0, 3)), max_size=30)


@given(ENTRIES)
def test_every_key_is_found(entries: list[Entry]) -> None:
    index = BinIndex(write_index(entries, "x"), "x")
    keys = {entry.key for entry in entries}
    for key in keys:
        # min() takes the first of equal ones, an index the last that came.
        values = [entry for entry in reversed(entries) if entry.key == key]
        assert index.get(key) == min(values, key=lambda entry: entry.priority).value
    for key in {f"{key}a" for key in keys} | {key[:-1] for key in keys} - keys:
        assert key in keys or index.get(key) is None


@settings(max_examples=150)
@given(ALIASES, st.lists(st.text("abx1:_", max_size=7), max_size=6))
def test_a_search_finds_what_each_pattern_alone_matches(entries: list[Entry], texts: list[str]) -> None:
    index = BinIndex(write_index(entries, "x"), "x")
    for text in texts:
        matching = [entry for entry in entries if glob(entry.key.encode(), text.encode())]
        found = index.search(text)
        assert sorted(found) == sorted(entry.value for entry in matching)
        if len({entry.priority for entry in matching}) == len(matching):
            assert found == [entry.value for entry in sorted(matching, key=lambda entry: entry.priority)]


def answers(root: Path, texts: list[str]) -> list[str]:
    """What Debian's modprobe -R says to each: a name that is its own, as an alias, comes between two."""
    Path(root, "mark.conf").write_text("alias mark mark\n")
    words = [word for text in texts for word in (text, "mark")]
    done = subprocess.run(
        ["/sbin/modprobe", "-C", f"{root}/mark.conf", "-d", root, "-S", RELEASE, "-aqR", *words],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout.split("mark\n")[:-1]


@settings(max_examples=80)
@given(ALIASES, st.lists(st.text("abx1:_", min_size=1, max_size=7), min_size=1, max_size=8))
def test_debians_modprobe_finds_the_same_in_the_same_order(entries: list[Entry], texts: list[str]) -> None:
    data = write_index(entries, "alias")
    with TemporaryDirectory() as root:
        directory = Path(root, "lib/modules", RELEASE)
        directory.mkdir(parents=True)
        for name in ("dep", "symbols", "builtin", "builtin.alias"):
            (directory / f"modules.{name}.bin").write_bytes(write_index([], name))
        (directory / "modules.alias.bin").write_bytes(data)
        found = answers(Path(root), texts)
    index = BinIndex(data, "alias")
    assert ["".join(f"{value}\n" for value in index.search(text)) for text in texts] == found


def test_both_layouts_of_kmods_are_searched(depmod_root: Path, kernel: Kernel) -> None:
    """kmod 30 writes a node behind its children, ours as well; this one, as kmod 34, before them."""
    path = depmod_root / "lib/modules" / kernel.release / "modules.builtin.bin"
    data = path.read_bytes()
    again = preorder(data)
    assert again != data
    assert len(again) == len(data)
    one, other = BinIndex.open(path), BinIndex(again, "again")
    assert one is not None
    assert one.entries() == other.entries() == BinIndex(data, path).entries()
    assert other.get("tcp_cubic") == "" != other.get("tcp_cubi")


def preorder(data: bytes) -> bytes:
    """The same index, each node before its children."""
    out = bytearray(data[:12])

    def copy(reference: int) -> int:
        at, start = reference & 0x0FFFFFFF, len(out)
        end = at
        if reference & 0x80000000:
            end = data.index(0, at) + 1
        table = end + 2
        if reference & 0x20000000:
            end = table + 4 * (data[end + 1] - data[end] + 1)
        children = range(table, end, 4)
        if reference & 0x40000000:
            (count,) = struct.unpack_from(">I", data, end)
            end += 4
            for _ in range(count):
                end = data.index(0, end + 4) + 1
        out.extend(data[at:end])
        for child in children:
            (below,) = struct.unpack_from(">I", data, child)
            if below:
                struct.pack_into(">I", out, start + child - at, copy(below))
        return reference & 0xF0000000 | start

    struct.pack_into(">I", out, 8, copy(struct.unpack_from(">I", data, 8)[0]))
    return bytes(out)


def test_a_file_that_is_not_there_or_empty_is_no_index(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert BinIndex.open(tmp_path / "empty") is BinIndex.open(tmp_path / "none") is None


@settings(max_examples=250)
@given(st.data())
def test_a_damaged_index_answers_or_is_told(data: st.DataObject) -> None:
    damaged = bytearray(write_index([*SMALL, Entry("a[x]*:?", "four", 2), Entry("*b", "five", 3)], "x"))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    cut = bytes(damaged[: data.draw(st.just(len(damaged)) | st.integers(0, len(damaged)))])
    for ask in ("ab", "abc", "ax:y", "zb", ""):
        for how in (BinIndex.get, BinIndex.search):
            try:
                how(BinIndex(cut, "x"), ask)
            except BinIndexError as error:
                assert error.which == "x"


@settings(max_examples=25)
@given(st.dictionaries(st.text("abcdxyz_", min_size=1, max_size=6), st.text("mnopq", min_size=1), min_size=1))
def test_debians_modprobe_reads_it(aliases: dict[str, str]) -> None:
    with TemporaryDirectory() as root:
        directory = Path(root, "lib/modules", RELEASE)
        directory.mkdir(parents=True)
        for name in ("dep", "symbols", "builtin", "builtin.alias"):
            (directory / f"modules.{name}.bin").write_bytes(write_index([], name))
        entries = [Entry(alias, name, 0) for alias, name in aliases.items()]
        (directory / "modules.alias.bin").write_bytes(write_index(entries, "alias"))
        dump = subprocess.run(
            ["/sbin/modprobe", "-c", "-C", "/dev/null", "-d", root, "-S", RELEASE],
            check=True, capture_output=True, text=True,
        )  # fmt: skip
    found = [line.split() for line in dump.stdout.splitlines() if line.startswith("alias ")]
    assert found == [["alias", alias, name] for alias, name in sorted(aliases.items())]


def test_an_empty_index_is_the_one_that_kmod_writes() -> None:
    assert write_index([], "x") == bytes.fromhex("b007f457 00020001 0000000c")


def test_a_layout_with_the_root_first_reads() -> None:
    root = struct.pack(">III", 0xB007F457, 0x00020001, 12 | 0x20000000) + struct.pack(">BBI", 97, 97, 18 | 0xC0000000)
    assert BinIndex(root + b"b\0" + struct.pack(">II", 1, 5) + b"v\0", "x").entries() == [Entry("ab", "v", 5)]


def test_a_minor_version_does_not_matter() -> None:
    data = bytearray(write_index(SMALL, "x"))
    data[7] = 9
    assert BinIndex(bytes(data), "x").entries() == SMALL


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda data: data[:11], "cut short within the header"),
        (lambda data: b"\0" + data[1:], "not an index of depmod"),
        (lambda data: data[:5] + b"\3" + data[6:], "version 3 is unknown"),
        (lambda data: data[:8] + b"\x2f\xff\xff\xff" + data[12:], "does not end"),
        (lambda data: data[:8] + b"\x80\0\0\4" + data[12:], "node at 4 lies in the header"),
    ],
)
def test_damage_is_told_with_the_file(change: object, why: str) -> None:
    with pytest.raises(BinIndexError, match=f"^modules.x.bin: .*{why}"):
        BinIndex(change(write_index(SMALL, "x")), "modules.x.bin").entries()  # type: ignore[operator]


def test_a_node_that_is_its_own_child_is_refused() -> None:
    data = struct.pack(">III", 0xB007F457, 0x00020001, 12 | 0x20000000) + struct.pack(">BBI", 97, 97, 12 | 0x20000000)
    with pytest.raises(BinIndexError, match="two ways lead to the node at 12"):
        BinIndex(data, "x").entries()


def test_every_shorter_file_is_refused() -> None:
    data = write_index(SMALL, "x")
    for length in range(len(data)):
        with pytest.raises(BinIndexError):
            BinIndex(data[:length], "x").entries()


@settings(max_examples=500)
@given(st.data())
def test_flipped_bytes_end_in_entries_or_in_an_error(data: st.DataObject) -> None:
    damaged = bytearray(write_index(SMALL, "x"))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        assert len(BinIndex(bytes(damaged), "x").entries()) < len(damaged)
    except BinIndexError as error:
        assert error.which == "x"


@pytest.mark.parametrize("entry", [Entry("é", "v", 0), Entry("a\0b", "v", 0), Entry("a", "v\0", 0)])
def test_what_an_index_cannot_hold_is_refused(entry: Entry) -> None:
    with pytest.raises(BinIndexError, match=r"^modules.x.bin: a (key|value)"):
        write_index([entry], "modules.x.bin")
