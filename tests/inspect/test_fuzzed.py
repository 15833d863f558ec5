"""Modules with bytes other than they were: what show, lint, check, stats and why say of them is in their own words.

Seeded, so that a failure comes again; a mutation's number is in the test's message.
"""

from __future__ import annotations

import random
import struct
from pathlib import Path

import pytest
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.cli import main

_MUTATIONS = 12
_ODD = (b"\xff" * 8, b"\0" * 8, b"\xff\xff\xff\x7f", b"\0\0\0\x80", struct.pack("<Q", 1 << 63))


def _mutated(whole: bytes, number: int) -> bytes:
    """Most of what is changed is in the ELF header and the table of sections, which lead a reader astray."""
    chance = random.Random(number)
    data = bytearray(whole)
    table, count = struct.unpack_from("<Q", data, 40)[0], struct.unpack_from("<H", data, 60)[0]
    for _ in range(chance.choice((1, 1, 2, 5, 30))):
        first, length = chance.choice(((0, 64), (table, 64 * count), (table, 64 * count), (0, len(data))))
        at = first + chance.randrange(length)
        odd = chance.choice((*_ODD, struct.pack("<Q", len(data) - 1), bytes([chance.randrange(256)])))
        data[at : at + len(odd)] = odd
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


@pytest.mark.parametrize("name", ["via_wdt", "usb_wwan"])
def test_no_command_crashes(kernel: Kernel, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    [module] = kernel.root.rglob(f"{name}.ko")
    whole = module.read_bytes()
    root = make_tree(tmp_path, {"kernel/base.ko": {"modinfo": [("license", "GPL")]}}, config=f"options {name} a=1\n")
    directory = root / "lib" / "modules" / RELEASE
    file = directory / "kernel" / f"{name}.ko"
    for number in range(_MUTATIONS):
        file.write_bytes(_mutated(whole, number))
        for words in (
            ("lint", "--notes", file),
            ("check", "--notes", directory),
            ("show", "-b", root, "-k", RELEASE, "--json", name),
            ("stats", "-b", root, RELEASE),
            ("why", "--sysroot", root, "-k", RELEASE, name),
        ):
            code = main([str(word) for word in words])
            told = capsys.readouterr()
            assert code in (0, 1), (number, words)
            # One clear line, or what was asked for.
            assert told.err.count("\n") <= 1, (number, words, told.err)
            assert told.out or told.err, (number, words)
            assert "\x1b" not in told.out, (number, words)
