"""`tinykmod stats`: that its numbers are those of the tree, and that they can be read."""

from __future__ import annotations

import json
import os
import subprocess
import xml.etree.ElementTree as ET
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.inspect import tables
from tinykmod.inspect.statistics import of_tree
from tinykmod.inspect.treemap import Box, squarified

PAGE = """\
6.0.0-test: 6 modules, 1 more built into the kernel
tree        {root}/lib/modules/6.0.0-test
size        {total} on disk, half of the modules at most {median}
            smallest {smallest}
{bins}
largest     foo: {foo}
{largest}
in memory   0 B if all were loaded, and 0 B to initialise
class       other         5  {other}
            storage       1  {storage}
directory   drivers      3  {drivers}
            lib          2  {lib}
            crypto       1  {crypto}
compressed  none: 4 modules
            xz: 1 module
            gzip: 1 module
license     GPL: 6
signed      0 of 6
parameters  2
needed by   base: 4 modules
            lib_foo: 3 modules
deepest     3: foo lib_foo base
aliases     pci              2 in 1 module
            names            1 in 1 module
firmware    2 names in 1 module, of which 1 are there
"""


def numbers(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> Any:
    assert main(["stats", "--json", *map(str, words)]) == 0
    return json.loads(capsys.readouterr().out)


def page(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["stats", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_they_are_those_of_the_tree(
    kernel: Kernel, depmod_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Debian's: counted here by other means, kmod's files and modinfo."""
    plot = tmp_path / "plot.svg"
    found = numbers("-b", depmod_root, "--plot", plot, capsys=capsys)
    tree = depmod_root / "lib/modules" / kernel.release
    files = {path.stem.replace("-", "_"): path for path in tree.rglob("*.ko")}
    assert found["module_sizes"] == {name: path.stat().st_size for name, path in files.items()}
    assert found["modules"] == found["signed"] == len(files)
    assert sum(each["modules"] for each in found["sizes"]) == len(files)
    assert sum(each["bytes"] for each in found["directory"].values()) == found["bytes"]
    told = subprocess.run(
        ["xargs", "/sbin/modinfo", "-F", "license"], input="\n".join(map(str, files.values())), capture_output=True,
        text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    # Some have two licenses, of which the first counts: as many lines more.
    assert Counter(found["license"]) <= Counter(told)
    needs: dict[str, list[str]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        name, *others = (Path(word.rstrip(":")).stem.replace("-", "_") for word in line.split())
        needs[name] = others
    counted = Counter(other for others in needs.values() for other in others)
    assert list(found["most_needed"].values()) == [count for _, count in counted.most_common(10)]
    assert all(counted[name] == count for name, count in found["most_needed"].items())
    for chain in found["deepest"]:
        assert all(second in needs[first] for first, second in pairwise(chain))
    assert len(found["deepest"][0]) > 5
    aliases = [
        line.split()[1] for line in (tree / "modules.alias").read_text().splitlines() if line.startswith("alias ")
    ]
    assert found["aliases"]["usb"]["patterns"] == sum(alias.startswith("usb:") for alias in aliases)
    assert sum(each["patterns"] for each in found["aliases"].values()) == len(aliases)
    picture = ET.fromstring(plot.read_text())
    texts = {element.text for element in picture.iter() if element.text}
    assert {"amdgpu", "i915", "16 KiB", f"{max(each['modules'] for each in found['sizes'])}"} <= texts
    assert any(text.startswith("gpu ") for text in texts)


def test_the_page(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = page("-b", root, capsys=capsys)
    # Sizes are those of what was made just now: only their labels are looked at.
    labels = [line.split()[0] for line in PAGE.splitlines() if line[:1] not in (" ", "{")]
    assert [line.split()[0] for line in out.splitlines() if line[:1] != " "] == labels
    for line in PAGE.splitlines():
        if "{" not in line:
            assert f"{line}\n" in out
    assert all(len(line) <= 80 or line.startswith("tree ") for line in out.splitlines())


def test_tables_fit_a_narrow_terminal(root: Path) -> None:
    """A bar shrinks, and stands on no line of its own."""
    stats = of_tree(root, RELEASE)
    for columns in 80, 50, 40:
        lines = tables.page(stats, columns, bold=False).splitlines()
        assert all(len(line) <= columns for line in lines if not line.startswith("tree "))
        assert not [line for line in lines if line.lstrip().startswith("#")]


def test_two_kernels_are_compared(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tree(tmp_path / "other", {"kernel/lib/base.ko": {}, "kernel/net/new.ko": {}}, release="7.0")
    other = tmp_path / "other/lib/modules/7.0"
    out = page("-b", root, "--against", other, capsys=capsys)
    for line in (
        "6.0.0-test -> 7.0", "modules     6 -> 2 (-66.7%)", "built in    1 -> 0 (-100.0%)",
        "only first  5: bar baz crc_fast foo lib_foo", "only second 1: new",
        "directory   drivers  3 -> 0 (-100.0%)", "            net      0 -> 1",
    ):  # fmt: skip
        assert f"{line}\n" in out
    found = numbers("-b", root, "--against", other, capsys=capsys)
    assert (found["added"], found["first"]["modules"], found["second"]["modules"]) == (["new"], 6, 2)
    make_tree(root, {"kernel/lib/base.ko": {}}, release="7.0")
    assert "modules     1 -> 6 (+500.0%)\n" in page("7.0", "-b", root, "--against", RELEASE, capsys=capsys)


def test_what_is_loaded(root: Path, sysroot: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with (sysroot / "proc/modules").open("a") as table:
        table.write("lib_foo 8192 1 foo, Live 0x0\n")
    words = ["--running", "--sysroot", sysroot, "-b", root]
    found = numbers(*words, capsys=capsys)
    assert found["module_sizes"] == {"foo": 20480, "lib_foo": 8192}
    assert found["class"] == {"storage": {"modules": 1, "bytes": 20480}, "other": {"modules": 1, "bytes": 8192}}
    out = page(*words, capsys=capsys)
    assert out.startswith("6.0.0-test: 2 modules loaded\nsize        28.0 KiB in memory, ")
    assert out.endswith("used by     foo: 1 module\n            lib_foo: 1 module\n")
    # Without the modules' files; and a kernel that has none loaded.
    assert page("--running", "--sysroot", sysroot, "-b", tmp_path / "root/etc", capsys=capsys).startswith(
        "6.0.0-test: 2 "
    )
    (sysroot / "proc/modules").unlink()
    assert page(*words, capsys=capsys) == "6.0.0-test: 0 modules loaded\n"


NO_TREE = "{root}/etc: no module tree: it is a directory ROOT/lib/modules/VERSION"
NO_MODULES = "{root}/etc: no modules of the running kernel {running}; there are none of any kernel"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-b", "{root}", "9"], "9: no modules of this kernel below {root}; there is 6.0.0-test"),
        (["-b", "{root}", "--against", "9"], "9: no modules of this kernel below {root}; there is 6.0.0-test"),
        (["-b", "{root}", "--against", "{root}/etc"], NO_TREE),
        (["-b", "{root}/etc"], NO_MODULES),
        (["--running", "9"], "--running: is of the running kernel: it takes no VERSION and no --against"),
        (["-b", "{cut}"], "{cut}: "),
    ],
)  # fmt: skip
def test_what_does_not_do_is_one_line(
    words: list[str], message: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = tmp_path / "cut"
    make_tree(cut, {"kernel/a.ko": {}})
    file = cut / "lib/modules" / RELEASE / "kernel/a.ko"
    file.write_bytes(file.read_bytes()[:100])
    names = {"root": root, "running": os.uname().release, "cut": cut}
    assert main(["stats", *(word.format(**names) for word in words)]) == 1
    done = capsys.readouterr()
    if "{cut}" in words:
        message = f"{file}: cut short: the section headers lie outside the file"
    assert (done.out, done.err) == ("", f"tinykmod: {message.format(**names)}\n")


@given(st.lists(st.integers(1, 1000), min_size=1, max_size=40), st.integers(1, 900), st.integers(1, 900))
def test_areas_are_sizes_and_fill_the_box(sizes: list[int], width: int, height: int) -> None:
    sizes.sort(reverse=True)
    boxes = squarified(sizes, Box(0, 0, width, height))
    scale = width * height / sum(sizes)
    assert [box.width * box.height for box in boxes] == pytest.approx([size * scale for size in sizes], rel=1e-6)
    for box in boxes:
        assert box.x >= -1e-6 and box.y >= -1e-6
        assert box.x + box.width <= width + 1e-6 and box.y + box.height <= height + 1e-6
