"""What the traces of real boots explain: the way to the root and to the display, without a gap."""

from __future__ import annotations

from itertools import pairwise

import pytest
from with_display import MACHINES

from tinykmod.trace.critical import path
from tinykmod.trace.explain import explain
from tinykmod.trace.graph import Graph
from tinykmod.trace.replay import replay

pytestmark = pytest.mark.vm


@pytest.mark.parametrize(("machine", "driver"), [(machine, driver) for machine, _, driver, _ in MACHINES],
                         ids=[machine.name for machine, *_ in MACHINES])  # fmt: skip
def test_a_boot_is_explained_from_its_start_to_its_root(booted, machine, driver) -> None:
    trace = booted("6.1", machine).trace
    at = {event["ev"]: event["t"] for event in reversed(trace)}
    steps = path(trace)
    assert (steps[0].begin, steps[-1].end) == (at["start"], at["mounted"])
    assert all(before.end == after.begin for before, after in pairwise(steps))
    names = [step.name for step in steps if step.kind == "module"]
    graph = Graph(trace)
    # Each needs the one before it, by itself or by a device; or has it out of the way.
    assert set(names) <= graph.to_root()
    assert {driver, "ext4"} <= graph.to_root()
    assert "ext4" in names
    assert path(trace, "display")[-1].name == graph.displays()[0].name
    assert replay(graph).root is not None
    assert "What would be gained" in explain(trace)


def test_what_needs_what_is_told_by_a_real_boot(booted) -> None:
    """Of modules that every one of Debian's kernels has so."""
    graph = Graph(booted("6.1", MACHINES[0][0]).trace)
    assert {"virtio", "virtio_ring"} <= set(graph.nodes["virtio_pci"].needs)
    assert {"jbd2", "mbcache", "crc16"} <= set(graph.nodes["ext4"].needs)
    assert graph.nodes["ext4"].cpu
    made = [device for device in graph.devices.values() if device.modalias.startswith("virtio:")]
    assert {device.maker for device in made} == {"virtio_pci"}
    assert graph.nodes["virtio_blk"].classes == {"storage"}
