"""Loading with several workers: what may go when, and that the number of workers changes nothing but the order."""

from __future__ import annotations

import errno
import subprocess
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from boot_cases import DEVICES, image, make_sysroot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from make_tree import RELEASE, make_tree

from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree

Run = Callable[..., subprocess.CompletedProcess[str]]


def coldplug(run_fake: Run, root: Path, sysroot: Path, jobs: int, fail: Mapping[str, int]) -> tuple[list[str], str]:
    """The modules that the kernel was given, in the order of their ends, and what was said."""
    done = run_fake(
        "tinykmod", "coldplug", "-j", str(jobs), "-d", root, "-S", RELEASE, "--sysroot", sysroot, fail=fail
    )
    assert done.returncode == (1 if done.stderr else 0)
    return [line.split()[1].partition(".")[0] for line in done.stdout.splitlines()], done.stderr


@pytest.mark.parametrize("jobs", [2, 4, 16])
def test_what_waits_holds_up_only_what_needs_it(tmp_path: Path, run_fake: Run, jobs: int) -> None:
    root = image(tmp_path / "root", "softdep disk pre: crc\n")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    ended, said = coldplug(run_fake, root, sysroot, jobs, {"base.wait": 300})
    assert said == ""
    assert sorted(ended[:3]) == ["crc", "packed", "spare"]
    assert ended[3] == "base"
    assert sorted(ended[4:]) == ["disk", "sound"]


def test_a_disk_goes_before_controllers_where_its_bus_is_built_in(tmp_path: Path, run_fake: Run) -> None:
    def driver(modalias: str, size: int) -> dict[str, object]:
        return {"imports": {"device_add_disk": None}, "modinfo": [("alias", modalias), ("note", "x" * size)]}

    modules = {"one": driver("pci:one", 0), "two": driver("pci:two", 0), "disk": driver("virtio:disk", 9000)}
    root = make_tree(tmp_path / "root", {f"kernel/{name}.ko": module for name, module in modules.items()})
    index = compile_index(read_tree(root, RELEASE), read_config(root))
    (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(index)
    sysroot = make_sysroot(tmp_path / "sysroot", {"pci/1": "pci:one", "pci/2": "pci:two", "virtio/3": "virtio:disk"})
    ended, said = coldplug(run_fake, root, sysroot, 2, {"one.wait": 300, "two.wait": 300})
    assert (ended[0], said) == ("disk", "")


def test_a_softdep_is_waited_for_and_its_failure_is_none(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "softdep disk post: spare\n")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    ended, said = coldplug(run_fake, root, sysroot, 4, {"crc.wait": 200, "crc": errno.EINVAL, "disk.wait": 100})
    assert ended[-3:] == ["crc", "disk", "spare"]
    why = "a parameter, a symbol's version or namespace does not fit, or its init refuses"
    assert said.splitlines() == [f"tinykmod: module crc: {why}"]


def test_a_failure_fails_what_needs_it_with_the_reason(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    ended, said = coldplug(run_fake, root, sysroot, 4, {"base": errno.ENOEXEC})
    assert sorted(ended) == ["base", "crc", "packed", "spare"]
    assert sorted(said.splitlines())[1:] == [
        "tinykmod: module disk: it needs base, which was not loaded",
        "tinykmod: module sound: it needs base, which was not loaded",
    ]


def test_softdeps_in_a_circle_end_nothing(tmp_path: Path, run_fake: Run) -> None:
    root = image(
        tmp_path / "root", "softdep sound pre: spare\nsoftdep spare pre: packed\nsoftdep packed pre: sound\n"
    )
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    ended, said = coldplug(run_fake, root, sysroot, 4, {})
    assert (sorted(ended), said) == (["base", "crc", "disk", "packed", "sound", "spare"], "")


def test_what_a_device_asks_for_probes_in_its_load_and_a_library_need_not(tmp_path: Path, run_fake: Run) -> None:
    root = image(tmp_path / "root", "options base a=1\n")
    sysroot = make_sysroot(tmp_path / "sysroot", DEVICES)
    done = run_fake("tinykmod", "coldplug", "-d", root, "-S", RELEASE, "--sysroot", sysroot)
    assert "finit_module base.ko a=1 async_probe = 0" in done.stdout
    assert "finit_module sound.ko = 0" in done.stdout


#: (needs, pre softdeps) of each module, by the numbers of earlier ones; those that fail; those that devices ask for.
graphs = st.integers(1, 9).flatmap(
    lambda n: st.tuples(
        st.tuples(*(st.tuples(st.sets(st.integers(0, at - 1), max_size=3) if at else st.just(set()),
                              st.sets(st.integers(0, at - 1), max_size=2) if at else st.just(set()))
                    for at in range(n))),
        st.sets(st.integers(0, n - 1), max_size=3),
        st.sets(st.integers(0, n - 1), min_size=1),
    )
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graphs)
def test_any_graph_ends_alike_with_any_number_of_workers(
    run_fake: Run, graph: tuple[tuple[tuple[set[int], set[int]], ...], set[int], set[int]]
) -> None:
    edges, failing, wanted = graph
    modules = {
        f"kernel/m{at}.ko": {
            "exports": {f"s{at}": 1},
            "imports": {f"s{other}": 1 for other in needs},
            "modinfo": [("alias", f"pci:m{at}"), *(("softdep", f"pre: m{other}") for other in sorted(soft))],
        }
        for at, (needs, soft) in enumerate(edges)
    }
    with tempfile.TemporaryDirectory() as scratch:
        root = make_tree(Path(scratch, "root"), modules)
        data = compile_index(read_tree(root, RELEASE), read_config(root))
        (root / "lib/modules" / RELEASE / "tinykmod.tki").write_bytes(data)
        sysroot = make_sysroot(Path(scratch, "sysroot"), {f"pci/{at}": f"pci:m{at}" for at in wanted})
        fail = {f"m{at}": errno.EINVAL for at in failing}
        answers = [coldplug(run_fake, root, sysroot, jobs, fail) for jobs in (1, 4, 16)]
    serial, said = answers[0]
    for ended, other in answers[1:]:
        assert sorted(ended) == sorted(serial)
        assert sorted(other.splitlines()) == sorted(said.splitlines())
