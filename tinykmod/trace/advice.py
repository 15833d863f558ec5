"""What would make a boot quicker, from its trace: each piece of advice with the gain that the model expects of it."""

from __future__ import annotations

import errno
from typing import NamedTuple

from tinykmod.trace.critical import Step
from tinykmod.trace.graph import Graph, Node
from tinykmod.trace.replay import Times, replay
from tinykmod.trace.timeline import ms

#: Of the time to a target: what gains less is not worth a line.
_WORTH = 0.02
#: What checking signatures is of what the way to the root computes: Debian 6.1's modules booted with them and without
#: took 0.78 to 0.82 of it less (virtio-blk, NVMe and AHCI roots, QEMU counting instructions).
_SIGNATURE = 0.8
_MOST = 6  # pieces of advice of one kind


class Advice(NamedTuple):
    """`gain` is what is expected, in nanoseconds of each target; `fact` is of the trace, `action` what to do."""

    fact: str
    action: str
    gain: Times
    how: str = "replay"


def advise(graph: Graph, path_to_root: list[Step], source: str = "trace") -> tuple[Times, list[Advice]]:
    """The replay of the boot as it was, and the advice, what gains most first.

    Raises TinykmodError(SOURCE, ...) for a trace of an older loader, which does not tell enough for a replay.
    """
    base = replay(graph, source=source)
    found = [*_omit(graph, base), *_plan(graph, base), *_async(graph, base), *_signatures(graph, path_to_root)]
    last = path_to_root[-1] if path_to_root else None
    if last and last.kind == "mount" and 2 * last.duration > last.end - path_to_root[0].begin:
        # rootdelay=: the root waits for the clock, and nothing is gained there.
        found = [advice._replace(gain=advice.gain._replace(root=None)) for advice in found]
    worth = [advice._replace(gain=_worth(advice.gain, base)) for advice in found]
    return base, [advice for advice in worth if any(advice.gain)]


def _gain(base: Times, other: Times) -> Times:
    return Times(*(None if a is None or b is None else a - b for a, b in zip(base, other, strict=True)))


def _worth(gain: Times, base: Times) -> Times:
    """GAIN without what is not worth a line, or within what the model cannot tell."""
    pairs = zip(gain, base, strict=True)
    return Times(*(some if some and of and some >= of * _WORTH else None for some, of in pairs))


def _omit(graph: Graph, base: Times) -> list[Advice]:
    """Drivers that neither the root nor a display needs, one by one, with what only they use."""
    kept = graph.to_root() | graph.with_needs(graph.displays())
    found: list[tuple[set[str], Advice]] = []
    for node in graph.nodes.values():
        if node.name in kept or not graph.asked_by(node) or graph.users(node.name):
            continue
        without = _alone(graph, node, kept)
        gain = _gain(base, replay(graph, without=without))
        # Nothing asks for the others then; an image may need them for other machines.
        action = f"leave it to the root's own init: initramfs --omit {node.name}"
        found.append((without, Advice(_took(graph, node, without), action, gain)))
    found.sort(key=lambda item: -max(some or 0 for some in item[1].gain))
    # What is a part of something that gains more is no advice of its own.
    return [advice for place, (names, advice) in enumerate(found)
            if not any(names < other for other, _ in found[:place])][:_MOST]  # fmt: skip


def _took(graph: Graph, node: Node, names: set[str]) -> str:
    """What NODE, with NAMES that are there for it alone, took, and that nothing waits for it."""
    whole = max(other.end for other in graph.nodes.values()) - graph.start
    took = sum(graph.nodes[name].live - graph.nodes[name].begin for name in names)
    more = f" and {len(names) - 1} that are there for it alone" if len(names) > 1 else ""
    fact = f"{node.name}{more} took {ms(took)} ms, {100 * took / max(whole, 1):.0f} % of T_all"
    if node.result == -errno.ENODEV:
        return f"{fact}, and found no device"
    if node.result:
        return f"{fact}, and failed"
    return f"{fact}, and neither the root nor a display waits for it"


def _alone(graph: Graph, node: Node, kept: set[str]) -> set[str]:
    """NODE, what only it needs, and what only the devices that it made asked for."""
    gone = {node.name}
    while True:
        more = {
            other.name for other in graph.nodes.values()
            if other.name not in gone and other.name not in kept
            and (_serves_only(graph, other, gone) or (
                other.why in ("dependency", "softdep") and (users := graph.users(other.name))
                and all(user.name in gone for user in users)))
        }  # fmt: skip
        if not more:
            return gone
        gone |= more


def _serves_only(graph: Graph, node: Node, makers: set[str]) -> bool:
    """Whether every device that NODE serves was made by one of MAKERS."""
    asked = graph.asked_by(node)
    return bool(asked) and all(graph.devices[modalias].maker in makers for modalias in asked)


def _plan(graph: Graph, base: Times) -> list[Advice]:
    if any(node.why == "plan" for node in graph.nodes.values()) or base.root is None:
        return []
    late = [node for node in graph.filesystem() if node.why == "root"]
    if not late:
        return []
    fact = f"{' '.join(node.name for node in late)} began only when the root's device was there"
    action = "a plan begins with all of it at once: tinykmod profile TRACE -o PLAN, initramfs --plan PLAN"
    gain = _gain(base, replay(graph, planned=True))
    mounted = graph.first("mounted")
    # What the replay gets wrong of the boot as it was it may get wrong here too, and elsewhere.
    wrong = abs(base.root - (mounted["t"] - graph.start)) if mounted else 0
    return [Advice(fact, action, Times(gain.root, None, None))] if (gain.root or 0) >= 3 * wrong else []


def _async(graph: Graph, base: Times) -> list[Advice]:
    found = []
    for node in graph.nodes.values():
        waited = node.live - node.begin - (node.cpu or 0)
        users = " ".join(user.name for user in graph.users(node.name))
        if users and waited > _WORTH * max(value or 0 for value in base):
            gain = _gain(base, replay(graph, asynchronous={node.name}))
            fact = f"{node.name} waited {ms(waited)} ms in its init, and {users} for it"
            found.append(Advice(fact, f"have it probe on its own: rd.tinykmod.async={node.name}", gain))
    return found


def _signatures(graph: Graph, path: list[Step]) -> list[Advice]:
    """What the way to the root computes is half the kernel's check of signatures, where modules are signed."""
    names = [step.name for step in path if step.kind == "module"]
    computed = sum(graph.nodes[name].cpu or 0 for name in dict.fromkeys(names))
    if not computed:
        return []
    largest = max(names, key=lambda name: graph.nodes[name].cpu or 0)
    most = f"most in {largest} ({ms(graph.nodes[largest].cpu or 0)})"
    fact = f"{ms(computed)} ms of T_root were computed in {len(names)} modules, {most}"
    action = "if this kernel's modules are signed and need not be (it is then tainted): initramfs --drop-signatures"
    return [Advice(fact, action, Times(round(computed * _SIGNATURE), None, None),
                   how="the check of signatures was four fifths of that where it was measured")]  # fmt: skip
