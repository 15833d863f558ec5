"""Plans: what a trace makes of one, what an index makes of it, and files that are none."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.errors import TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.index.schema import PlanFlag
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import ModuleTree, read_tree
from tinykmod.trace.events import Event
from tinykmod.trace.plan import Load, Plan, format_plan, plan_notes, plan_of, read_plan


def load(name: str, t: int, dur: int, result: int = 0, by: str = "x") -> Event:
    return {"t": t, "ev": "module", "name": name, "why": "modalias", "by": by, "dur": dur, "result": result}


MOUNTED: Event = {"t": 90_000, "ev": "mounted", "device": "/dev/vda", "type": "ext4"}
TRACE = [
    load("slow", 10_000, 70_000),
    load("bus", 20_000, 30_000),
    load("gone", 55_000, 1_000, -19),
    load("disk", 60_000, 5_000),
    MOUNTED,
    {"t": 90_001, "ev": "behind", "modalias": "virtio:d2"},
    {"t": 90_002, "ev": "behind", "modalias": "pci:v1"},
    load("disk", 95_000, 0),
]


def test_plan_of_a_trace_has_modules_by_their_ends_and_what_the_root_sat_behind() -> None:
    plan = plan_of(TRACE, "trace")
    assert plan.root == ["virtio:d2", "pci:v1", "fs-ext4"]
    assert list(plan.modules.items()) == [("bus", Load(30)), ("disk", Load(5)), ("slow", Load(70))]


def test_plan_of_a_trace_knows_what_made_a_device() -> None:
    def seen(t: int, modalias: str, device: str) -> Event:
        return {"t": t, "ev": "device", "modalias": modalias, "device": device}

    pci, usb = "/bus/pci/devices/0000:00:05.0", "/devices/pci0000:00/0000:00:05.0/usb1/1-1/1-1:1.0"
    trace = [
        seen(1_000, "pci:v1", pci),
        load("host", 10_000, 20_000, by="pci:v1"),
        seen(70_000, "usb:v2", usb),
        load("hid", 75_000, 5_000, by="usb:v2"),
        seen(77_000, "hid:v3", f"{usb}/0003:0627"),
        load("keys", 81_000, 1_000, by="hid:v3"),
        load("library", 81_000, 2_000, by="keys"),
        MOUNTED,
    ]
    assert plan_of(trace, "trace").modules == {
        "host": Load(20),
        "hid": Load(5, "host", 40),
        "keys": Load(1, "hid", 0),
        "library": Load(2),
    }


@pytest.mark.parametrize(
    ("trace", "why"), [(TRACE[:4], "did not come to its root"), ([MOUNTED], "loaded no module"), ([], "its root")]
)
def test_a_boot_that_is_no_example_is_told(trace: list[Event], why: str) -> None:
    with pytest.raises(TinykmodError, match=f"^somewhere: .*{why}"):
        plan_of(trace, "somewhere")


times = st.integers(0, 10**10)
names = st.from_regex(r"[a-z0-9_]{1,20}", fullmatch=True)
aliases = st.from_regex(r"[!-~é]+( [!-~é]+)*", fullmatch=True)


@given(
    root=st.lists(aliases),
    modules=st.dictionaries(names, times.map(Load) | st.builds(Load, times, names, times), min_size=1),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, root: list[str], modules: dict[str, Load]
) -> None:
    file = tmp_path_factory.getbasetemp() / "any.plan"
    file.write_text(format_plan(Plan(root, modules), "6.0"))
    assert read_plan(file) == Plan(root, modules)


def test_a_plan_may_be_written_by_hand(tmp_path: Path) -> None:
    (tmp_path / "plan").write_text(" # mine\n\n  root platform:Fixed MDIO # bus \nmodule snd-hda 2 snd-x 0.5\n")
    assert read_plan(tmp_path / "plan") == Plan(["platform:Fixed MDIO # bus"], {"snd_hda": Load(2000, "snd_x", 500)})


@pytest.mark.parametrize(
    "line", ["root", "module a", "module a b", "module a -1", "module a nan", "module a 1 2", "x y", "module a inf"]
)
def test_a_line_that_means_nothing_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    (tmp_path / "plan").write_text(f"root fs-ext4\n{line}\n")
    with pytest.raises(TinykmodError, match=r"plan:2: .*\b(neither|no time)\b"):
        read_plan(tmp_path / "plan")


@pytest.mark.parametrize("text", ["", "# nothing\n", "root fs-ext4\n"])
def test_a_plan_of_nothing_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "plan").write_text(text)
    with pytest.raises(TinykmodError, match=r"plan: names no module$"):
        read_plan(tmp_path / "plan")


@pytest.fixture
def tree(tmp_path: Path) -> ModuleTree:
    modules = {
        "kernel/bus.ko": {"exports": {"bus": 1}, "modinfo": [("alias", "pci:v1*")]},
        "kernel/disk.ko": {"imports": {"bus": 1}, "modinfo": [("alias", "virtio:d2*"), ("softdep", "pre: crc")]},
        "kernel/crc.ko": {},
        "kernel/ext4.ko": {"modinfo": [("alias", "fs-ext4")]},
        "kernel/sound.ko": {"imports": {"bus": 1}},
        "kernel/slow.ko": {},
    }
    return read_tree(make_tree(tmp_path / "root", modules), RELEASE)


PLAN = Plan(
    ["virtio:d2", "pci:v1", "fs-ext4"],
    {
        "crc": Load(1000),
        "bus": Load(30000),
        "absent": Load(5, "slow", 10**6),
        "disk": Load(5000),
        "ext4": Load(10),
        "sound": Load(9000, "slow", 200),
        "slow": Load(7),
    },
)


def test_an_index_knows_what_the_plan_leads_to_and_how_long_the_way_is(tree: ModuleTree) -> None:
    index = Index(compile_index(tree, read_config(tree.directory), plan=PLAN))
    assert [tuple(item) for item in index.planned] == [
        ("crc", 6000, PlanFlag.ROOT),
        ("bus", 39000, PlanFlag.ROOT),
        ("disk", 5000, PlanFlag.ROOT),
        ("ext4", 10, PlanFlag.FILESYSTEM),
        ("sound", 9000, PlanFlag(0)),
        ("slow", 9207, PlanFlag(0)),
    ]
    assert plan_notes(PLAN, tree.by_name) == ["plan: absent: not here, and left out"]
    image = compile_index(tree, read_config(tree.directory), only={"bus", "ext4"}, plan=PLAN)
    assert [item.module for item in Index(image).planned] == ["bus", "ext4"]


def test_a_plan_is_part_of_what_an_index_was_made_from(tree: ModuleTree) -> None:
    config = read_config(tree.directory)
    digests = {Index(compile_index(tree, config, plan=plan)).digest for plan in (None, PLAN, PLAN._replace(root=[]))}
    assert len(digests) == 3


def test_the_order_of_a_plan_s_lines_changes_no_length(tree: ModuleTree) -> None:
    config = read_config(tree.directory)
    other = PLAN._replace(modules=dict(reversed(PLAN.modules.items())))
    one, two = (Index(compile_index(tree, config, plan=plan)).planned for plan in (PLAN, other))
    assert two == one[::-1]


def test_a_circle_of_makers_ends(tree: ModuleTree) -> None:
    plan = Plan([], {"slow": Load(5, "crc", 1), "crc": Load(7, "slow", 1)})
    assert len(Index(compile_index(tree, read_config(tree.directory), plan=plan)).planned) == 2
