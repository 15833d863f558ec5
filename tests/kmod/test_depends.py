"""Dependencies from symbols: the sets, and the load order, that Debian's depmod finds."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from make_ko import make_ko

from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.kmod.depends import resolve
from tinykmod.modules.elf import read_elf
from tinykmod.modules.tree import Module, read_tree

RELEASE = "6.1.0-test"


def modules(**symbols: tuple[str, str]) -> list[Module]:
    """modules(name=("exports", "imports"), ...), symbols with spaces between them."""
    return [
        Module(
            name, f"kernel/{name}.ko", 0, read_elf(make_ko(exports=exports.split(), imports=imports.split()), name)
        )
        for name, (exports, imports) in symbols.items()
    ]


def load_orders(found: Sequence[Module]) -> dict[str, list[str]]:
    dependencies = resolve(found)
    return {
        module.path: [found[number].path for number in closure]
        for module, closure in zip(found, dependencies.closure, strict=True)
    }


def depmod(root: Path, release: str) -> dict[str, list[str]]:
    """The same from Debian's depmod: a line of modules.dep is loaded from its right end."""
    subprocess.run(["depmod", "-b", str(root), release], check=True, capture_output=True)
    lines = (root / "lib/modules" / release / "modules.dep").read_text().splitlines()
    return {path: needed.split()[::-1] for path, needed in (line.split(":") for line in lines)}


def plant(root: Path, files: Mapping[str, bytes]) -> None:
    directory = root / "lib/modules" / RELEASE
    (directory / "kernel").mkdir(parents=True)
    for name, data in files.items():
        (directory / f"kernel/{name}.ko").write_bytes(data)
    (directory / "modules.order").write_text("".join(f"kernel/{name}.ko\n" for name in files))
    (directory / "modules.builtin").touch()


def test_direct_and_all_dependencies() -> None:
    found = modules(top=("", "m other"), middle=("m", "b kernel_own"), base=("b", ""), other=("other", "b"))
    direct, closure = resolve(found)
    assert direct == [[1, 3], [2], [], [2]]
    assert [sorted(numbers) for numbers in closure] == [[1, 2, 3], [2], [], [2]]
    assert closure[0][0] == 2


def test_a_module_does_not_depend_on_itself() -> None:
    assert resolve(modules(alone=("s", "s"))) == ([[]], [[]])


def test_a_circle_is_named_and_nothing_else() -> None:
    found = modules(user=("", "a"), a=("a", "b"), b=("b", "c"), c=("c", "a leaf"), leaf=("leaf", ""))
    with pytest.raises(TinykmodError) as caught:
        resolve(found)
    circle = caught.value.why.rpartition(": ")[2].split(" -> ")
    assert sorted(circle[1:]) == ["a", "b", "c"]
    assert circle[0] == circle[-1]
    assert all(pair in [("a", "b"), ("b", "c"), ("c", "a")] for pair in pairwise(circle))


def test_of_two_exporters_depmod_takes_the_same(tmp_path: Path) -> None:
    twice = make_ko(exports={"twice": 1})
    plant(tmp_path, {"b": twice, "c": twice, "user": make_ko(imports={"twice": 1}), "a": twice})
    found = load_orders(read_tree(tmp_path, RELEASE).modules)
    assert found == depmod(tmp_path, RELEASE)
    assert found["kernel/user.ko"] == ["kernel/a.ko"]


@st.composite
def graphs(draw: st.DrawFn) -> list[tuple[int, list[int]]]:
    """Modules' places in modules.order, each with those of the modules that it needs; no circles."""
    count = draw(st.integers(1, 9))
    place = draw(st.permutations(range(count)))
    return [
        (place[number], draw(st.lists(st.sampled_from(place[:number]), unique=True)) if number else [])
        for number in range(count)
    ]


@settings(max_examples=60)
@given(graph=graphs(), weak=st.booleans())
def test_depmod_finds_the_same_order_in_any_graph(graph: list[tuple[int, list[int]]], weak: bool) -> None:
    files = {
        f"m{number}": make_ko(
            exports={f"s{number}": number},
            imports={f"s{needed}": needed for needed in needs},
            weak=[f"s{needed}" for needed in needs] if weak else [],
        )
        for number, needs in sorted(graph)
    }
    with TemporaryDirectory() as root:
        plant(Path(root), files)
        assert load_orders(read_tree(Path(root), RELEASE).modules) == depmod(Path(root), RELEASE)


def test_depmod_finds_the_same_order_for_all_of_debian(kernel: Kernel, tmp_path: Path) -> None:
    source = kernel.root / "lib/modules" / kernel.release
    copy = tmp_path / "lib/modules" / kernel.release
    for file in [*source.rglob("*.ko"), source / "modules.order", source / "modules.builtin"]:
        target = copy / file.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(file)
    expected = depmod(tmp_path, kernel.release)
    found = load_orders(read_tree(kernel.root, kernel.release).modules)
    assert len(found) > 1000
    assert found == expected
