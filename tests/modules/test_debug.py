"""Modules without their debug sections: all else is what it was, in compilers' output of either size and order."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import example, given
from hypothesis import strategies as st
from make_ko import make_ko

from tinykmod.modules.debug import without_debug
from tinykmod.modules.elf import read_elf

SOURCE = """
struct item { int number; long size; char name[8]; };
static int count;
static struct item table[40] __attribute__((aligned(64))) = {{1, 2, "x"}};
const char info[] __attribute__((section(".modinfo"), used)) = "license=GPL";
extern int printk(const char *format, ...);
int init_module(void) { struct item *at = table; return printk("%d %d", ++count, at->number); }
void cleanup_module(void) { printk("%s", table[count].name); }
"""
TARGETS = ["x86_64-linux-musl", "arm-linux-musleabihf", "powerpc-linux-musleabi", "s390x-linux-musl"]


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """compiled(target, *options): a module; each is compiled once."""
    here = tmp_path_factory.mktemp("compiled")
    (here / "source.c").write_text(SOURCE)

    def compiled(target: str, *options: str) -> bytes:
        out = here / "".join([target, *options])
        if not out.exists():
            words = [sys.executable, "-m", "ziglang", "cc", "-target", target, "-O1", "-c", *options]
            subprocess.run([*words, "-o", out, here / "source.c"], check=True)
        return out.read_bytes()

    return compiled


Compiled = Callable[..., bytes]


@pytest.mark.parametrize("options", [["-g"], ["-g", "-gz"], ["-g", "-ffunction-sections"]], ids="".join)
@pytest.mark.parametrize("target", TARGETS)
def test_all_but_debug_sections_stays(compiled: Compiled, target: str, options: list[str]) -> None:
    module = compiled(target, *options)
    stripped = without_debug(module)
    assert len(stripped) < len(module)
    before, after = ELFFile(io.BytesIO(module)), ELFFile(io.BytesIO(stripped))
    assert before.num_sections() == after.num_sections()
    emptied = set()
    for old, new in zip(before.iter_sections(), after.iter_sections(), strict=True):
        is_debug = ".debug" in old.name and old["sh_size"] > 0
        emptied |= {old.name} if is_debug else set()
        places = {"sh_offset", *(("sh_size", "sh_flags") if is_debug else ())}
        assert {key: value for key, value in old.header.items() if key not in places} == {
            key: value for key, value in new.header.items() if key not in places
        }
        assert old.name == new.name
        assert new.data() == (b"" if is_debug else old.data())
        assert new["sh_type"] == "SHT_NOBITS" or is_debug or new["sh_offset"] % max(1, new["sh_addralign"]) == 0
    assert {".debug_info", ".debug_str"} <= emptied
    assert any(name.startswith(".rel") for name in emptied)
    symbols, same = (
        [(symbol.name, symbol.entry) for symbol in elf.get_section_by_name(".symtab").iter_symbols()]
        for elf in (before, after)
    )
    assert symbols == same
    assert read_elf(stripped, "x") == read_elf(module, "x")
    assert without_debug(stripped) == stripped


def test_binutils_reads_it_without_a_warning(compiled: Compiled, tmp_path: Path) -> None:
    file = tmp_path / "x.ko"
    for options in (["-g"], ["-g", "-gz"]):
        file.write_bytes(without_debug(compiled(TARGETS[0], *options)))
        done = subprocess.run(["readelf", "-aW", file], capture_output=True, text=True, check=True)
        assert done.stderr == ""
        assert "init_module" in done.stdout


def test_what_has_none_is_the_same_bytes(compiled: Compiled, kernel) -> None:
    modules = [compiled(target, "-g0") for target in TARGETS]
    modules += [make_ko(bits=bits, little_endian=order) for bits in (32, 64) for order in (True, False)]
    modules += [path.read_bytes() for path in (kernel.root / "lib/modules").rglob("kernel/fs/nls/*.ko")]
    for module in [*modules, b"", b"\x7fELF", b"#!/bin/sh\n" * 40]:
        assert without_debug(module) == module


@example(changes={47: 128})  # sections beyond what any file can hold
@given(changes=st.dictionaries(st.integers(0, 10000), st.integers(0, 255), min_size=1, max_size=6))
def test_damage_makes_nothing_larger(compiled: Compiled, changes: dict[int, int]) -> None:
    module = bytearray(compiled(TARGETS[0], "-g"))
    for place, value in changes.items():
        # The header and the table of sections.
        table = int.from_bytes(module[40:48], "little")
        module[place % 64 if place % 2 or table >= len(module) else table + place % (len(module) - table)] = value
    stripped = without_debug(bytes(module))
    assert stripped == module or len(stripped) < len(module)
