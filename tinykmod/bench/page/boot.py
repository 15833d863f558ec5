"""The page of one boot; also what the page of a bench shows of each."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from tinykmod.bench.measured import MARKS, METRICS, Measured, Step
from tinykmod.bench.page.markup import Html, details, figure, table, tag
from tinykmod.bench.pictures import timeline
from tinykmod.bench.pictures.look import time
from tinykmod.bench.pictures.phases import phases
from tinykmod.bench.pictures.shares import draw as draw_shares
from tinykmod.trace.critical import KINDS
from tinykmod.trace.timeline import REASONS

#: Widths of pictures, in pixels: where there is room, and on a phone.
WIDE, NARROW = 530, 340


def title(boot: Measured) -> str:
    return f"Boot of {boot.contender} on {boot.machine}"


def body(boot: Measured) -> Html:
    parts = [tag("h1", headline(boot))]
    parts.append(tag("p", f"{len(boot.loads)} modules; {boot.engine}", class_="about"))
    known = [(metric, value) for metric in METRICS if (value := boot.metric(metric)) is not None]
    parts.append(tag("div", *(_card(metric, value) for metric, value in known), class_="answers metrics"))
    parts.append(pictures(boot, "timeline"))
    if any(value for value in boot.marks):
        rows = [(MARKS[mark], time(at), time(at - boot.marks["init"]) if "init" in boot.marks else "")
                for mark, at in sorted(boot.marks.items(), key=lambda pair: pair[1]) if mark in MARKS]  # fmt: skip
        head = ("moment", "since the kernel", "since init")
        parts += [tag("h2", "Moments"), tag("div", table(head, rows), class_="card-table")]
    if phases(boot):
        drawn = figure("Where the time goes", draw_shares({boot.contender: boot}, "shares", width=WIDE * 2),
                       draw_shares({boot.contender: boot}, "shares-narrow", width=NARROW))  # fmt: skip
        parts += [tag("h2", "From the kernel's start to the root's init"), drawn]
    return Html("".join(parts))


def headline(boot: Measured) -> str:
    """How the boot ended, in a sentence."""
    root = boot.metric("T_root")
    if boot.ended != "root":
        return f"{title(boot)}: {boot.error or f'did not come to the root, it ended with {boot.ended}'}"
    if root is None:
        return f"{title(boot)}: the root's init ran; when the root was mounted is not to be seen in its log"
    return f"{title(boot)}: root mounted {time(root)} after init started"


def pictures(boot: Measured, name: str) -> Html:
    """The timeline with what it shows as tables, or the console's last lines where there is none."""
    parts = []
    if timeline.drawable(boot):
        parts.append(figure(tag("span", "time since the image's init started; rest the pointer on a bar to see more"),
                            timeline.draw(boot, name)))  # fmt: skip
        parts += [details(f"Critical path to the {where}: {len(path)} steps", _path(path, boot.marks["init"]))
                  for where, path in (("root", boot.path), ("display", boot.display_path)) if path]  # fmt: skip
        parts.append(details(f"Modules: {len(boot.loads)}", _modules(boot)))
    if boot.console:
        parts.append(details("The console's last lines", tag("pre", "\n".join(boot.console)), open_=True))
    return Html("".join(parts))


def _path(path: Sequence[Step], init: float) -> Html:
    whole = sum(step.seconds for step in path) or 1
    rows = [(step.name or step.kind, time(step.begin - init), time(step.seconds), f"{step.seconds / whole:.0%}",
             tag("span", KINDS.get(step.kind, step.kind), class_="text")) for step in path]  # fmt: skip
    return table(("step", "begins", "takes", "share", tag("span", "what it is", class_="text")), rows)


def _modules(boot: Measured) -> Html:
    init = boot.marks["init"]
    rows = [(load.name, time(load.begin - init), time(load.seconds), load.worker or "",
             "ok" if not load.result else errno.errorcode.get(-load.result, load.result),
             tag("span", REASONS.get(load.why, "{}").format(load.by), class_="text"))
            for load in sorted(boot.loads, key=lambda load: load.begin)]  # fmt: skip
    return table(("module", "begins", "takes", "worker", "result", tag("span", "why", class_="text")), rows)


def _card(metric: str, value: float) -> Html:
    end, begin = METRICS[metric]
    since = MARKS.get(begin, "the kernel starts")
    return tag("div", tag("h3", metric), tag("div", time(value), class_="time"),
               tag("p", f"from when {since} to when {MARKS[end]}", class_="about"), class_="card")  # fmt: skip
