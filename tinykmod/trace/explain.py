"""Where the time of a boot went, for people: the path to the root and to the display, and what would be gained."""

from __future__ import annotations

import textwrap

from tinykmod.errors import TinykmodError
from tinykmod.trace.advice import Advice, advise
from tinykmod.trace.critical import Step, Target, path_of
from tinykmod.trace.events import Event
from tinykmod.trace.graph import Graph, Node
from tinykmod.trace.replay import Times
from tinykmod.trace.timeline import ms, reason

_TITLES: dict[Target, str] = {
    "root": "T_root, to the root mounted",
    "display": "T_gpu, to the first display's driver",
    "all": "T_all, to the end of the last load",
}
#: Of a path: shorter steps are added up in one line.
_SHORT = 0.005
_SLOWEST = 8


def explain(trace: list[Event], source: str = "trace", *, width: int = 100) -> str:
    """Lines of at most WIDTH columns, but for names that are longer. Raises TinykmodError(SOURCE, ...) where there is
    nothing to explain."""
    graph = Graph(trace)
    if not graph.nodes:
        raise TinykmodError(source, "no module was loaded in this boot")
    paths: dict[Target, list[Step]] = {}
    missing = []
    for target in _TITLES:
        try:
            paths[target] = path_of(graph, target, source)
        except TinykmodError as error:
            missing.append(error.why)
    lines = [*missing, *([""] if missing else [])]
    for target, path in paths.items():
        if target == "all" and [*paths][-2:-1] and path[-1].end - paths[[*paths][-2]][-1].end < _SHORT * _whole(path):
            continue  # the display is what came last
        lines += [*_path(graph, target, path), ""]
    lines += [*_not_needed(graph, paths.get("root", []), width), *_slowest(graph, width), ""]
    lines += _advice(graph, paths.get("root", []), source, width)
    return "\n".join(lines) + "\n"


def _whole(path: list[Step]) -> int:
    return max(path[-1].end - path[0].begin, 1)


def _path(graph: Graph, target: Target, path: list[Step]) -> list[str]:
    whole = _whole(path)
    lines = [f"{_TITLES[target]}: {ms(whole)} ms after the loader's start. What it waited for:", "",
             f"{'at ms':>9} {'ms':>9} {'%':>5}"]  # fmt: skip
    needed = _needed(graph, target, path)
    short = [step for step in path if step.duration < _SHORT * whole]
    for step in path:
        if step.duration >= _SHORT * whole:
            lines.append(f"{ms(step.begin - path[0].begin):>9} {_row(step.duration, whole)}  "
                         f"{_words(graph, step, needed)}")  # fmt: skip
    if short:
        rest = sum(step.duration for step in short)
        lines.append(f"{'':>9} {_row(rest, whole)}  in {len(short)} short steps between")
    lines.append(f"{'':>9} {_row(whole, whole)}")
    return lines


def _row(duration: int, whole: int) -> str:
    return f"{ms(duration):>9} {100 * duration / whole:>5.1f}"


def _needed(graph: Graph, target: Target, path: list[Step]) -> set[str]:
    if target == "root":
        return graph.to_root()
    names = dict.fromkeys(step.name for step in path if step.kind == "module")
    return graph.with_needs([graph.nodes[name] for name in names])


def _words(graph: Graph, step: Step, needed: set[str]) -> str:
    node = graph.nodes.get(step.name)
    if step.kind == "module" and node is not None:
        cpu = f" ({_computing(node, step)})" if node.cpu is not None else ""
        return f"{step.name}{cpu}: {_why(node)}"
    if step.kind == "worker":
        return f"{step.name} is held back: {_busy(graph, step, needed)}"
    if step.kind == "device":
        return f"{step.name} is loaded, its device has yet to come"
    if step.kind == "mount":
        return "the root's device and filesystem are there: the mount, and rootdelay= if given"
    return "the loader looks at devices"


def _busy(graph: Graph, step: Step, needed: set[str]) -> str:
    """What had the processors instead, most of them first; what is not needed for this target is said to be so."""
    if not step.busy:
        return "no load is under way"
    used = {name: graph.computed(name, step.begin, step.end) for name in step.busy}
    names = sorted(used, key=lambda name: -used[name])
    others = [name for name in names if name not in needed]
    share = sum(used[name] for name in others)
    told = f"{_some(tuple(names))} first"
    if share < 0.05 * sum(used.values()):
        return f"{told}, needed as well"
    return f"{told}; {ms(round(share))} ms of {_some(tuple(others))} are not needed for this"


def _some(names: tuple[str, ...], most: int = 4) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _computing(node: Node, step: Step) -> str:
    share = min((node.cpu or 0) / max(node.live - node.begin, 1), 1.0)
    return "computes" if share > 0.9 else f"computes {100 * share:.0f} % of it"


def _why(node: Node) -> str:
    if node.why == "modalias":
        return f"a device asks for it, {node.by[:40]}{'...' if len(node.by) > 40 else ''}"
    return reason({"why": node.why, "by": node.by})


def _not_needed(graph: Graph, path: list[Step], width: int) -> list[str]:
    """What was loaded before the root was mounted and did not lead to it, and what that cost the root."""
    if not path:
        return []
    leading, mounted = graph.to_root(), path[-1].end
    others = [node for node in graph.nodes.values() if node.begin < mounted and node.name not in leading]
    if not others:
        return ["Nothing was loaded before the root was mounted but what leads to it."]
    behind = sum(graph.computed(node.name, step.begin, step.end) for step in path if step.kind == "worker"
                 for node in others)  # fmt: skip
    used = sum(node.cpu or 0 for node in others)
    names = tuple(node.name for node in sorted(others, key=lambda node: -(node.cpu or 0)))
    text = (f"Loaded before the root was mounted and not needed for it: {len(others)}, {ms(used)} ms of a processor "
            f"({_some(names, 8)}), {ms(round(behind))} of them while the root's own modules were held back.")
    return textwrap.wrap(text, width)


def _slowest(graph: Graph, width: int) -> list[str]:
    def length(node: Node) -> int:
        return node.live - node.begin

    nodes = sorted(graph.nodes.values(), key=length, reverse=True)[:_SLOWEST]
    told = [f"{node.name} {ms(length(node))}" + (f" (computing {ms(node.cpu)})" if node.cpu is not None else "")
            for node in nodes]  # fmt: skip
    return ["", *textwrap.wrap(f"The slowest inits, ms: {', '.join(told)}.", width)]


def _advice(graph: Graph, path: list[Step], source: str, width: int) -> list[str]:
    try:
        base, advice = advise(graph, path, source)
    except TinykmodError as error:
        return [f"No gains are estimated: the trace {error.why}."]
    heading = f"What would be gained, as a replay of the loads expects it {_fit(graph, path, base)}:"
    lines = textwrap.wrap(heading, width)
    if not advice:
        return [*lines, "", "  nothing that is worth 2 % of T_root, T_gpu or T_all."]
    for number, piece in enumerate(advice, 1):
        text = f"{piece.fact}. {piece.action[0].upper()}{piece.action[1:]}. {_gains(piece)}"
        lines += ["", *textwrap.wrap(text, width, initial_indent=f"{number:>3}. ", subsequent_indent="     ",
                                     break_long_words=False, break_on_hyphens=False)]  # fmt: skip
    return lines


def _gains(advice: Advice) -> str:
    named = [f"{name} -{ms(gain)} ms"
             for name, gain in zip(("T_root", "T_gpu", "T_all"), advice.gain, strict=True) if gain]  # fmt: skip
    return f"Expected: {', '.join(named)}{'' if advice.how == 'replay' else f' ({advice.how})'}."


def _fit(graph: Graph, path: list[Step], base: Times) -> str:
    """How near the replay of the boot as it was comes to the boot."""
    displays = graph.displays()
    real = Times(
        _whole(path) if path else None,
        displays[0].live - graph.start if displays else None,
        max(node.live for node in graph.nodes.values()) - graph.start,
    )
    told = [f"{name} {ms(made)} ms for {ms(was)} ({_off(made, was)})"
            for name, made, was in zip(("T_root", "T_gpu", "T_all"), base, real, strict=True)
            if made is not None and was is not None]  # fmt: skip
    return f"(of this boot as it was it makes {', '.join(told)}; gains may be off by as much)"


def _off(made: int, was: int) -> str:
    """How far MADE is from what it WAS."""
    off = made / max(was, 1) - 1
    return "right within 1 %" if abs(off) < 0.01 else f"{abs(off) * 100:.0f} % {'short' if off < 0 else 'long'}"
