"""Matching and resolving through all three faces: Debian's kernel against Debian's modprobe, and made trees."""

from __future__ import annotations

import fnmatch
import string
import subprocess
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest
from examples import example
from faces import Face
from hypothesis import given, settings
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod import core
from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.matcher import Nodes, Pattern, Search
from tinykmod.index.reader import Index
from tinykmod.index.schema import NONE
from tinykmod.kmod.config import read_config
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import normalise_modalias, normalise_pattern
from tinykmod.modules.tree import read_tree

MARK = "tkmark"


def build(root: Path, **options: object) -> Path:
    """The index of a made tree, beside it."""
    path = root / "index.tki"
    path.write_bytes(compile_index(read_tree(root, RELEASE), read_config(root), **options))
    return path


@pytest.fixture(scope="session")
def real_examples(kernel_index: Path) -> list[str]:
    return sorted({example(pattern) for pattern, _ in Index(kernel_index.read_bytes()).aliases()})


@pytest.fixture(scope="session")
def modprobe_answers(
    depmod_root: Path, kernel: Kernel, real_examples: list[str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[str]]:
    """What `modprobe -R` of Debian's kmod resolves each example to; a marker between two tells the answers apart."""
    config = tmp_path_factory.mktemp("modprobe.d")
    (config / "mark.conf").write_text(f"alias {MARK} {MARK}\n")
    answers: dict[str, list[str]] = {}
    for start in range(0, len(real_examples), 1000):
        batch = real_examples[start : start + 1000]
        words = [word for name in batch for word in (name, MARK)]
        command = ["/sbin/modprobe", "-C", config, "-d", depmod_root, "-S", kernel.release, "-aqR", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = f"\n{done.stdout}".split(f"\n{MARK}")
        answers |= {name: lines.split() for name, lines in zip(batch, found, strict=False)}
    return answers


def test_every_alias_resolves_as_modprobe_resolves_it(
    face: Face, kernel_index: Path, real_examples: list[str], modprobe_answers: dict[str, list[str]]
) -> None:
    assert len(real_examples) > 20000
    wrong = {}
    for name, matches in zip(real_examples, face.lookup(kernel_index, real_examples), strict=True):
        # kmod prints a module once for each of its patterns that match.
        if sorted(module for module, _ in matches) != sorted(set(modprobe_answers[name])):
            wrong[name] = (matches, modprobe_answers[name])
    assert not wrong


def test_order_of_several_matches_is_modules_order(
    face: Face, kernel_index: Path, real_examples: list[str], modprobe_answers: dict[str, list[str]]
) -> None:
    several = [name for name in real_examples if len(set(modprobe_answers[name])) > 1]
    assert several
    for name, matches in zip(several, face.lookup(kernel_index, several), strict=True):
        assert [module for module, _ in matches] == list(dict.fromkeys(modprobe_answers[name]))


def test_faces_give_the_pattern_as_the_module_spells_it(
    face: Face, kernel_index: Path, real_examples: list[str]
) -> None:
    patterns = {pattern for pattern, _ in Index(kernel_index.read_bytes()).aliases()}
    for name, matches in zip(real_examples[::7], face.lookup(kernel_index, real_examples[::7]), strict=True):
        for _, pattern in matches:
            assert pattern == "" or pattern in patterns, name


def test_faces_plan_alike_for_every_module(face: Face, kernel_index: Path) -> None:
    index = Index(kernel_index.read_bytes())
    assert face.plan(kernel_index, index.names) == [tuple(step) for step in index.plan(index.names)]
    for name in index.names[::100]:
        assert face.plan(kernel_index, [name]) == [tuple(step) for step in index.plan([name])]


def test_plan_of_every_module_has_needs_first(kernel_index: Path) -> None:
    index = Index(kernel_index.read_bytes())
    for name in index.names:
        placed: set[str] = set()
        for step in index.plan([name]):
            assert set(index.module(step.module).deps) <= placed
            placed.add(step.module)
        assert name in placed


ALIASES = {
    "kernel/plain.ko": {"modinfo": [("alias", "pci:v00008086d*"), ("alias", "of:N*T*Cacme,x-1C*")]},
    "kernel/range.ko": {"modinfo": [("alias", "usb:v0BDApd0[0-2]*"), ("alias", "x[!a-c]y"), ("alias", "m?d")]},
    "kernel/also-plain.ko": {"modinfo": [("alias", "pci:v00008086d00001234sv*"), ("alias", "of:N*T*Cacme,x_1C*")]},
    "kernel/board.ko": {"modinfo": [("alias", alias) for alias in (
        "of:N*T*Cacme,sd-host", "platform:acme-sd", "acpi*:ACME0001:*", "sdio:c*v02D0dA9A6*", "virtio:d00000042v*")]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pci:v00008086d00001234sv0", [("plain", "pci:v00008086d*"), ("also_plain", "pci:v00008086d00001234sv*")]),
        ("pci:v00008086d", [("plain", "pci:v00008086d*")]),
        ("pci:v00008087d1", []),
        ("of:NdiskT(null)Cacme,x-1C", [("plain", "of:N*T*Cacme,x-1C*"), ("also_plain", "of:N*T*Cacme,x_1C*")]),
        ("of:NdiskT(null)Cacme,x_1Cfoo/bar", [("plain", "of:N*T*Cacme,x-1C*"), ("also_plain", "of:N*T*Cacme,x_1C*")]),
        ("of:NmmcT(null)Cother,x-1Cacme,sd-host", [("board", "of:N*T*Cacme,sd-host")]),
        ("of:NmmcT(null)Cacme,sd-hostCother,x", []),
        ("platform:acme_sd", [("board", "platform:acme-sd")]),
        ("acpi:PNP0D40:ACME0001:", [("board", "acpi*:ACME0001:*")]),
        ("sdio:c00v02D0dA9A6", [("board", "sdio:c*v02D0dA9A6*")]),
        ("virtio:d00000042v554D4551", [("board", "virtio:d00000042v*")]),
        ("usb:v0BDApd01", [("range", "usb:v0BDApd0[0-2]*")]),
        ("usb:v0BDApd0-", []),
        ("usb:v0BDApd03", []),
        ("xdy", [("range", "x[!a-c]y")]),
        ("xby", []),
        ("mod", [("range", "m?d")]),
        ("also-plain", [("also_plain", "")]),
        ("also_plain", [("also_plain", "")]),
        ("plain.ko", []),
        ("kernel/plain", []),
        ("/plain", []),
        ("", []),
    ],
)
def test_lookup(face: Face, tmp_path: Path, name: str, wanted: list[tuple[str, str]]) -> None:
    index = build(make_tree(tmp_path / "root", ALIASES))
    assert face.lookup(index, [name]) == [wanted]


def test_configuration_wins_then_names_then_aliases_then_builtin(face: Face, tmp_path: Path) -> None:
    modules = {
        "kernel/one.ko": {"modinfo": [("alias", "thing:*")]},
        "kernel/two.ko": {"modinfo": [("alias", "one"), ("alias", "inside")]},
    }
    config = "alias thing:special two\nalias two one\nalias gone off\n"
    index = build(make_tree(tmp_path / "root", modules, builtin={"inside": ["thing:builtin", "only:builtin"]},
                            config=config))  # fmt: skip
    names = ["thing:special", "thing:other", "two", "one", "gone", "inside", "only:builtin", "thing:builtin"]
    found = dict(zip(names, face.lookup(index, names), strict=True))
    assert found == {
        "thing:special": [("two", "thing:special")],
        "thing:other": [("one", "thing:*")],
        "two": [("one", "two")],
        "one": [("one", "")],
        "gone": [],
        "inside": [("two", "inside")],
        "only:builtin": [("inside", "only:builtin")],
        "thing:builtin": [("one", "thing:*")],
    }


SOFT = {
    "kernel/base.ko": {"exports": {"base": 1}},
    "kernel/before.ko": {"modinfo": [("alias", "crypto-sum")]},
    "kernel/after.ko": {"imports": {"base": 1}},
    "kernel/middle.ko": {"imports": {"base": 1}, "exports": {"middle": 2},
                         "modinfo": [("softdep", "pre: crypto-sum"), ("softdep", "post: after nowhere")]},
    "kernel/top.ko": {"imports": {"middle": 2}, "modinfo": [("alias", "dev:top*")]},
    "kernel/loop-a.ko": {"modinfo": [("softdep", "pre: loop_b")]},
    "kernel/loop-b.ko": {"modinfo": [("softdep", "pre: loop-a")]},
}  # fmt: skip


def test_softdeps_go_round_the_module_that_names_them(face: Face, tmp_path: Path) -> None:
    index = build(make_tree(tmp_path / "root", SOFT))
    assert face.plan(index, ["dev:top1"]) == [
        ("base", "dependency", "top"),
        ("before", "softdep", "middle"),
        ("middle", "dependency", "top"),
        ("after", "softdep", "middle"),
        ("top", "modalias", "dev:top1"),
    ]


def test_a_loop_of_softdeps_ends(face: Face, tmp_path: Path) -> None:
    index = build(make_tree(tmp_path / "root", SOFT))
    assert face.plan(index, ["loop-a"]) == [("loop_b", "softdep", "loop_a"), ("loop_a", "request", "loop-a")]


def test_blacklist_keeps_aliases_from_loading_and_nothing_else(face: Face, tmp_path: Path) -> None:
    index = build(make_tree(tmp_path / "root", SOFT, config="blacklist top\nblacklist base\n"))
    assert face.plan(index, ["dev:top1"]) == []
    assert [module for module, _, _ in face.plan(index, ["top"])] == ["base", "before", "middle", "after", "top"]


def test_other_byte_order_reads_the_same(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "root", ALIASES | SOFT, builtin={"inside": ["b:*"]})
    little, big = (Index(build(root, byteorder=order).read_bytes()) for order in ("little", "big"))
    assert (little.byteorder, big.byteorder) == ("little", "big")
    assert [little.module(name) for name in little.names] == [big.module(name) for name in big.names]
    assert sorted(little.aliases()) == sorted(big.aliases())
    assert little.lookup("b:x") == big.lookup("b:x") != []


WORDS = st.text("ab:-_", max_size=4)
PATTERNS = st.lists(
    st.lists(st.one_of(WORDS, st.sampled_from(["*", "?", "[ab]", "[!a]", "[a-c]", "*:"])), max_size=6).map("".join),
    max_size=12,
)


def reference(pattern: str, name: str) -> bool:
    return fnmatch.fnmatchcase(normalise_modalias(name), normalise_pattern(pattern))


@settings(max_examples=400)
@given(PATTERNS, st.lists(st.text("abc:-_/", max_size=10), max_size=8))
def test_matcher_finds_what_fnmatch_finds(patterns: list[str], names: list[str]) -> None:
    strings: list[bytes] = [b""]

    def intern(text: bytes) -> int:
        strings.append(text)
        return len(strings) - 1

    nodes = Nodes(intern)
    root = nodes.add(Pattern(pattern, number) for number, pattern in enumerate(patterns))
    rows = [tuple(row) for row in nodes.nodes]
    for name in names:
        found = Search(rows, strings.__getitem__).run(root, normalise_modalias(name).encode())
        rows_found = [(*nodes.values[value], spelled) for value, spelled in found.items()]
        values = {number: strings[raw] or spelled for number, raw, spelled in rows_found}
        assert set(values) == {number for number, pattern in enumerate(patterns) if reference(pattern, name)}
        for number, spelled in values.items():
            assert spelled.decode() == patterns[number]


@settings(max_examples=400)
@given(st.lists(st.text("ab-_*?[]!\\\xe4", max_size=8) | st.sampled_from(["*-" * 300, "*_" * 299]), max_size=12))
def test_both_builders_make_the_same_matcher(patterns: list[str]) -> None:
    def made() -> object:
        strings: list[bytes] = []

        def intern(text: bytes) -> int:
            strings.append(text)
            return len(strings)

        nodes = Nodes(intern)
        try:
            nodes.add(Pattern("ab*", NONE) for _ in range(2))
            root = nodes.add(Pattern(pattern, number) for number, pattern in enumerate(patterns))
        except TinykmodError as error:
            return str(error)
        return root, nodes.nodes, nodes.values, nodes.stars, strings

    assert core.extension is not None
    with mock.patch.object(core, "extension", None):
        twin = made()
    assert made() == twin


@settings(max_examples=300)
@given(PATTERNS.filter(bool).map("".join), st.text(string.ascii_lowercase[:3] + ":/_", max_size=12))
def test_glob_is_fnmatch(pattern: str, name: str) -> None:
    assert glob(pattern.encode(), name.encode()) == reference(pattern, name)


def test_faces_survive_patterns_made_to_be_slow(face: Face, tmp_path: Path) -> None:
    stars = {"kernel/slow.ko": {"modinfo": [("alias", "*a" * 30 + "b"), ("alias", "*a" * 29 + "*c")]}}
    index = build(make_tree(tmp_path / "root", stars))
    assert face.lookup(index, ["a" * 400, "a" * 60 + "b"]) == [[], [("slow", "*a" * 30 + "b")]]


def test_command_prints_module_and_pattern(
    kernel_index: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    modalias = "pci:v00001AF4d00001001sv00001AF4sd00000002bc01sc00i00"
    done = run_tinykmod("index", "match", kernel_index, modalias)
    assert (done.returncode, done.stdout) == (0, "virtio_pci  pci:v00001AF4d*sv*sd*bc*sc*i*\n")
    plan = run_tinykmod("index", "match", "--plan", kernel_index, modalias)
    assert plan.stdout.splitlines()[-1] == f"virtio_pci  modalias: {modalias}"
    two = run_tinykmod("index", "match", kernel_index, modalias, "ext4")
    assert two.stdout == f"{modalias}: virtio_pci  pci:v00001AF4d*sv*sd*bc*sc*i*\next4: ext4  by name\n"
    for words in ((), ("--plan",)):
        nothing = run_tinykmod("index", "match", *words, kernel_index, "pci:nothing", modalias, "no-such")
        assert (nothing.returncode, nothing.stderr.count("\n")) == (1, 1)
        assert "pci:nothing, no-such: no module in " in nothing.stderr
        assert "virtio_pci" in nothing.stdout


@pytest.mark.parametrize("pure", ["0", "1"])
def test_command_tells_what_the_blacklist_keeps_out(
    tmp_path: Path, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]], pure: str
) -> None:
    index = build(make_tree(tmp_path / "root", SOFT, builtin={"in": ["dev:*"]}, config="blacklist top\n"))
    done = run_tinykmod("index", "match", index, "dev:top1", "top", "dev:x", TINYKMOD_PURE=pure)
    assert done.stdout.splitlines() == [
        "dev:top1: top (blacklisted)  dev:top*", "top: top  by name", "dev:x: in (builtin)  dev:*",
    ]  # fmt: skip


def test_what_is_longer_than_any_event_matches_nothing(face: Face, tmp_path: Path) -> None:
    index = build(make_tree(tmp_path / "root", {"kernel/long.ko": {"modinfo": [("alias", "x*")]}}))
    assert face.lookup(index, ["x" * 4095, "x" * 4096]) == [[("long", "x*")], []]
