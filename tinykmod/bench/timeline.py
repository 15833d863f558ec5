"""One measured boot for people: kernel, unpacking, loader, each module as a bar on its worker, root and init."""

from __future__ import annotations

import errno
from collections.abc import Iterator

from tinykmod.bench.measured import MARKS, Load, Measured
from tinykmod.terminal import WIDEST, columns
from tinykmod.trace import timeline as trace

#: Marks that are a moment in the table; the others are the beginnings and ends of phases.
_MOMENTS = {
    "disk": "the root's disk is there",
    "display": "the display is there",
    "mounted": "the root is mounted",
    "root_init": "the root's init runs",
}
#: What every boot of an image that finds its root comes to.
_EXPECTED = ("unpack", "unpacked", "init", "disk", "mounted", "root_init")
#: Columns of the bars at least and at most.
_LEAST, _MOST = 16, 48


def timeline(boot: Measured, *, width: int | None = None) -> str:
    """The boot's phases, modules and moments in order of time, then what they add up to.

    Times are milliseconds since the kernel's start; WIDTH is in columns, the terminal's where it is None.
    """
    width = width or columns(WIDEST)
    rows = sorted([*_phases(boot), *_moments(boot), *_modules(boot, width)], key=lambda row: row[:2])
    header = f"{'ms':>9} {'took ms':>9}  what, worker, result, when, reason"
    return "\n".join([header, *(line.rstrip() for *_, line in rows), "", *summary(boot)]) + "\n"


def summary(boot: Measured) -> list[str]:
    """A line for the kernel, the loader, each module that failed, and all."""
    lines = []
    if "init" in boot.marks:
        unpacking = boot.metric("unpacking")
        beside = "" if unpacking is None else f", {_ms(unpacking)} ms of that (or beside it) for unpacking"
        lines.append(f"kernel   {_ms(boot.marks['init'])} ms to the image's init{beside}")
    for name, metric, what in (
        ("root", "T_root", "from there to the root mounted (T_root)"),
        ("display", "T_gpu", "from there to the first display (T_gpu)"),
        ("modules", "T_all", "from there until the last module was loaded (T_all)"),
    ):
        took = boot.metric(metric)
        if took is not None:
            lines.append(f"{name:8} {_ms(took)} ms {what}{_counted(boot.loads) if metric == 'T_all' else ''}")
    # No fault: a driver that found nothing to do on this machine.
    lines += [f"failed   {load.name}: {_outcome(load)}{': ' if load.error else ''}{load.error}" for load in boot.loads
              if load.result not in (0, -errno.ENODEV)]  # fmt: skip
    total = boot.metric("total")
    if total is not None:
        lines.append(f"total    {_ms(total)} ms from the kernel's start to the root's init")
    return lines


def missing(boot: Measured, *, traced: bool) -> list[str]:
    """A line for each part of the timeline that this boot's log and trace do not tell. TRACED: it printed a trace."""
    if not boot.marks:
        return ["the kernel's log has come in no form with time stamps (no line of it on the console, or a kernel"
                " without CONFIG_PRINTK): nothing could be measured"]  # fmt: skip
    lines = []
    unknown = [MARKS[name] for name in _EXPECTED if name not in boot.marks]
    if unknown:
        lines.append(f"no line of the kernel's log tells when {', '.join(unknown)}")
    if not boot.loads:
        lines.append("no module: no trace was printed, and no initcall_debug lines came (--append 'initcall_debug"
                     " loglevel=8' has them on the console)")  # fmt: skip
    elif not traced:
        lines.append("no trace was printed: modules are those whose init the kernel's log tells (initcall_debug), for"
                     " that init alone; others, reasons and workers are not known")  # fmt: skip
    return lines


def _phases(boot: Measured) -> Iterator[tuple[float, int, str]]:
    marks = boot.marks
    for begin, end, what in (
        (0.0, marks.get("init"), "-- the kernel, until it starts the image's init"),
        (marks.get("unpack"), marks.get("unpacked"), "-- unpacking the image"),
        (marks.get("init"), marks.get("mounted"), "-- the image's init, until the root is mounted"),
    ):
        if begin is not None and end is not None:
            yield begin, 0, f"{_ms(begin):>9} {_ms(end - begin):>9}  {what}"


def _moments(boot: Measured) -> Iterator[tuple[float, int, str]]:
    for name, what in _MOMENTS.items():
        if name in boot.marks:
            yield boot.marks[name], 1, f"{_ms(boot.marks[name]):>9} {'':>9}  -- {what}"


def _modules(boot: Measured, width: int) -> Iterator[tuple[float, int, str]]:
    if not boot.loads:
        return
    name = max(len(load.name) for load in boot.loads)
    outcomes = {load: _outcome(load) for load in boot.loads}
    outcome = max(map(len, outcomes.values()))
    begin = min(load.begin for load in boot.loads)
    end = max(load.begin + load.seconds for load in boot.loads)
    left = width - (9 + 1 + 9 + 2 + name + 1 + 3 + outcome + 1 + 2)
    columns = min(max(left // 2, _LEAST), _MOST)
    for load in boot.loads:
        bar = _bar(load, begin, end, columns)
        why = _cut(_reason(load), left - columns)
        line = (f"{_ms(load.begin):>9} {_ms(load.seconds):>9}  {load.name:<{name}} {load.worker or '':>2} "
                f"{outcomes[load]:<{outcome}} {bar}  {why}")  # fmt: skip
        yield load.begin, 2, line


def _bar(load: Load, begin: float, end: float, columns: int) -> str:
    scale = columns / (end - begin) if end > begin else 0.0
    first = min(int((load.begin - begin) * scale), columns - 1)
    last = min(max(int((load.begin + load.seconds - begin) * scale + 0.5), first + 1), columns)
    return f"{'·' * first}{'█' * (last - first)}{'·' * (columns - last)}"


def _counted(loads: list[Load]) -> str:
    loaded = sum(load.result == 0 for load in loads)
    workers = len({load.worker for load in loads if load.worker})
    by = f" by {workers} workers" if workers > 1 else ""
    failed = f", {len(loads) - loaded} not" if loaded < len(loads) else ""
    return f": {loaded} modules{by}{failed}, {_ms(sum(load.seconds for load in loads))} ms added up"


def _outcome(load: Load) -> str:
    return trace.result({"result": load.result})


def _reason(load: Load) -> str:
    return trace.reason({"why": load.why, "by": load.by}) if load.why else ""


def _ms(seconds: float) -> str:
    return f"{seconds * 1e3:.1f}"


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(room - 1, 0)] + "…"
