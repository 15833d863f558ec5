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

from tinykmod.errors import BinIndexError
from tinykmod.kmod.binindex import Entry, read_index, write_index

KEYS = st.text(st.characters(min_codepoint=1, max_codepoint=127), max_size=12) | st.text("ab", max_size=6)
VALUES = st.text(st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), max_size=6)
ENTRIES = st.lists(st.builds(Entry, KEYS, VALUES, st.integers(0, 3) | st.integers(0, 2**32 - 1)), max_size=40)

SMALL = [Entry("ab", "one", 1), Entry("abc", "two", 0), Entry("abd", "three", 7), Entry("x", "", 0)]


@given(ENTRIES)
def test_any_entries_read_back(entries: list[Entry]) -> None:
    # Of one key: the lower priority first, of equal ones the one that came last.
    last_first = list(reversed(entries))
    expected = sorted(last_first, key=lambda entry: (entry.key, entry.priority))
    assert read_index(write_index(entries, "x"), "x") == expected


@given(ENTRIES)
def test_the_bytes_do_not_depend_on_the_order_of_the_keys(entries: list[Entry]) -> None:
    assert write_index(sorted(entries, key=lambda entry: entry.key), "x") == write_index(entries, "x")


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
    assert read_index(root + b"b\0" + struct.pack(">II", 1, 5) + b"v\0", "x") == [Entry("ab", "v", 5)]


def test_a_minor_version_does_not_matter() -> None:
    data = bytearray(write_index(SMALL, "x"))
    data[7] = 9
    assert read_index(bytes(data), "x") == SMALL


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
        read_index(change(write_index(SMALL, "x")), "modules.x.bin")  # type: ignore[operator]


def test_a_node_that_is_its_own_child_is_refused() -> None:
    data = struct.pack(">III", 0xB007F457, 0x00020001, 12 | 0x20000000) + struct.pack(">BBI", 97, 97, 12 | 0x20000000)
    with pytest.raises(BinIndexError, match="two ways lead to the node at 12"):
        read_index(data, "x")


def test_every_shorter_file_is_refused() -> None:
    data = write_index(SMALL, "x")
    for length in range(len(data)):
        with pytest.raises(BinIndexError):
            read_index(data[:length], "x")


@settings(max_examples=500)
@given(st.data())
def test_flipped_bytes_end_in_entries_or_in_an_error(data: st.DataObject) -> None:
    damaged = bytearray(write_index(SMALL, "x"))
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), min_size=1, max_size=3)):
        damaged[place] ^= data.draw(st.integers(1, 255))
    try:
        assert len(read_index(bytes(damaged), "x")) < len(damaged)
    except BinIndexError as error:
        assert error.which == "x"


@pytest.mark.parametrize("entry", [Entry("é", "v", 0), Entry("a\0b", "v", 0), Entry("a", "v\0", 0)])
def test_what_an_index_cannot_hold_is_refused(entry: Entry) -> None:
    with pytest.raises(BinIndexError, match=r"^modules.x.bin: a (key|value)"):
        write_index([entry], "modules.x.bin")
