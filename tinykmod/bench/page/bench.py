"""The page of a bench."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from tinykmod.bench.compare import SINGLE, Change
from tinykmod.bench.figures import Figure, Row, mib
from tinykmod.bench.measured import MARKS, METRICS
from tinykmod.bench.page import boot
from tinykmod.bench.page.boot import NARROW, WIDE
from tinykmod.bench.page.markup import Html, details, figure, table, tag, terms
from tinykmod.bench.page.report import Answer, Bench, answer, changes, inside, middle, settings
from tinykmod.bench.pictures import contenders, shares, timeline, trend
from tinykmod.bench.pictures.look import NONE, TIMES, Picture, time
from tinykmod.bench.pictures.phases import phases

#: Lines of a trend that can be told apart.
_LINES = 6


def title(bench: Bench) -> str:
    return f"Boot times: {bench.about.get('suite', {}).get('name') or bench.name}"


def body(bench: Bench, earlier: Sequence[Bench]) -> Html:
    """EARLIER are the benches before it, the oldest first."""
    before = earlier[-1] if earlier else None
    found = {setting: answer(bench, setting, before) for setting in settings(bench.rows)}
    answers = [one for one in found.values() if one is not None]
    parts = [tag("h1", lede(answers)), tag("p", *_since(answers, before)), tag("p", _about(bench), class_="about")]
    parts.append(tag("div", *(_card(bench, setting, one) for setting, one in found.items()), class_="answers"))
    parts.append(tag("h2", "Time to the root, and of the whole boot"))
    parts += [_pair(bench, setting, number) for number, setting in enumerate(found)]
    if earlier:
        parts.append(tag("h2", "Trend"))
        trends = [_trends([*earlier, bench], setting, number) for number, setting in enumerate(found)]
        parts.append(tag("div", *trends, class_="pair"))
    parts.append(tag("h2", "All figures"))
    parts += [_table(bench, setting, before) for setting in found]
    parts.append(_failures(bench))
    parts.append(tag("h2", "Boots, moment by moment"))
    parts.append(tag("p", "Of each contender the boot with the median time to the root.", class_="about"))
    parts += [_boot(bench, row, f"boot{number}", number == 0) for number, row in enumerate(_by_answers(bench, found))]
    parts += [tag("h2", "How it was measured"), _how(bench)]
    return Html("".join(parts))


def lede(answers: Sequence[Answer]) -> str:
    """Who is first to the root, where and by how much, in one sentence."""
    if not answers:
        return "No contender was seen to reach its root"
    places = _places(answers)
    best, won = next(iter(places.items()))
    if len(won) < len(answers):
        others = "; ".join(f"{name} on {_listed(machines)}" for name, machines in [*places.items()][1:])
        return f"{best} is the fastest to the root on {_listed(won)}; {others}"
    where = f"on {won[0]}: {time(answers[0].time.median)}" if len(won) == 1 else f"on {_all(len(won))} machines"
    if all(one.next is None and len(one.level) > 1 for one in answers):
        return f"{_listed([row.contender for row in answers[0].level])} are level to the root {where}"
    # Beside the baseline; where that is among the fastest, beside the next.
    ahead = [(one, one.baseline) for one in answers if one.baseline is not None and one.baseline not in one.level]
    told = ahead[0][1].contender if ahead else "the next"
    ahead = ahead or [(one, one.next) for one in answers if one.next is not None]
    if not ahead:
        return f"{best} is the fastest to the root {where}"
    factors = [row.metrics["T_root"].median / one.time.median for one, row in ahead]
    times = " to ".join(dict.fromkeys(f"{factor:.3g}" for factor in (min(factors), max(factors))))
    return f"{best} is the fastest to the root {where}, {times} times as fast as {told}"


def _places(answers: Sequence[Answer]) -> dict[str, list[str]]:
    """As few contenders as it takes to have one of the fastest on each machine -> the machines, most first."""
    places: dict[str, list[str]] = {}
    left = list(answers)
    while left:
        wins = {row.contender: [one for one in left if row.contender in [level.contender for level in one.level]]
                for each in left for row in each.level}  # fmt: skip
        best = max(wins, key=lambda name: (len(wins[name]), sum(one.first.contender == name for one in wins[name])))
        places[best] = [one.machine for one in wins[best]]
        left = [one for one in left if one not in wins[best]]
    return places


def _all(count: int) -> str:
    return "both" if count == 2 else f"all {count}"


def _listed(names: Sequence[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _since(answers: Sequence[Answer], before: Bench | None) -> list[object]:
    """Whether it is better than before, in a sentence."""
    if before is None:
        return ["Nothing to compare with: no earlier results were given."]
    known = [(one.machine, one.before) for one in answers if one.before is not None]
    if not known:
        return [f"Nothing to compare with: {before.name} has none of the contenders that are first now."]
    told: list[object] = [f"Than before ({before.name}), what is first now is "]
    for number, verdict in enumerate(verdict for verdict in ("faster", "slower", "same")
                                     if any(change.verdict == verdict for _, change in known)):  # fmt: skip
        where = [machine for machine, change in known if change.verdict == verdict]
        words = "unchanged within the noise" if verdict == "same" else verdict
        on = "everywhere" if len(where) == len(answers) > 1 else f"on {_listed(where)}"
        told += ["; " if number else "", tag("span", f"{words} {on}", class_=_CLASSES.get(verdict, "same"))]
    return [*told, "."]


_CLASSES = {"faster": "better", "smaller": "better", "slower": "worse", "larger": "worse"}


def _about(bench: Bench) -> str:
    about = bench.about
    runs = max(row.runs for row in bench.rows)
    return ". ".join(filter(None, [
        "Time from the image's init to the root mounted, median of "
        + (f"{runs} boots" if runs > 1 else "one boot, so that its noise is not known"),
        f"Linux {release}" if (release := about.get("kernel", {}).get("release")) else "",
        ", ".join(f"{name} ({what})" if what else name for name, what in about.get("engines", {}).items()),
        bench.begun[:10],
        str(about.get("label") or ""),
    ]))  # fmt: skip


def _name(bench: Bench, setting: tuple[str, str]) -> str:
    engine, machine = setting
    return machine if len({row.engine for row in bench.rows}) == 1 else f"{machine}, {engine}"


def _card(bench: Bench, setting: tuple[str, str], one: Answer | None) -> Html:
    heading = tag("h3", _name(bench, setting))
    if one is None:
        return tag("div", heading, tag("div", "no root", class_="time"),
                   tag("p", "No contender was seen to reach its root here."), class_="card failed")  # fmt: skip
    best = one.time.median
    also = [row.contender for row in one.level[1:]]
    level = tag("span", f" and, level with it, {_listed(also)}") if also else ""
    lines: list[tuple[object, object]] = []
    if one.next is not None:
        lines.append(("next", _beside(one.next, best)))
    if one.baseline is not None and one.baseline is not one.next:
        lines.append(("baseline", _beside(one.baseline, best)))
    if one.before is not None and one.before.old is not None:
        lines.append(("before", Html(f"{time(one.before.old)}, {_verdict(one.before)}")))
    if one.whole is not None:
        total = time(one.whole.metrics["total"].median)
        own = one.first.metrics.get("total")
        if one.whole.contender == one.first.contender or own is None:
            lines.append(("whole boot", f"{total}" + ("" if own else f", {one.whole.contender}")))
        else:
            lines.append(("whole boot", f"{time(own.median)}; quickest {one.whole.contender}, {total}"))
    return tag("div", tag("div", heading, tag("div", time(best), class_="time"), class_="head"),
               tag("p", one.first.contender, level, class_="who"), terms(lines), class_="card")  # fmt: skip


def _beside(row: Row, best: float) -> str:
    median = row.metrics["T_root"].median
    return f"{row.contender}, {time(median)}" + (f" ({TIMES}{median / best:.2f})" if best else "")


def _verdict(change: Change) -> Html:
    """`5.4 % faster`."""
    if change.old is None or change.new is None or change.verdict == "same":
        return tag("span", "same", title="within the noise", class_="same")
    grown = abs(change.new / change.old - 1) if change.old else 0
    return tag("span", f"{grown * 100:.1f} % {change.verdict}", class_=_CLASSES[change.verdict])


def pictures(bench: Bench, earlier: Sequence[Bench]) -> Iterator[tuple[str, Picture]]:
    """Each picture of the page, as it is where there is room, with a name."""
    for number, setting in enumerate(settings(bench.rows)):
        name = _name(bench, setting)
        for what, draw in (("root", _root), ("whole", _whole)):
            if (picture := draw(bench, setting, f"{what}{number}", WIDE)) is not None:
                yield f"{what} {name}", picture
        if earlier and (picture := _trend([*earlier, bench], setting, f"trend{number}", WIDE)) is not None:
            yield f"trend {name}", picture
        for row in inside(bench.rows, setting):
            run = middle(bench, row)
            if run is not None and timeline.drawable(run):
                yield f"timeline {name} {row.contender}", timeline.draw(run, "timeline")


def _root(bench: Bench, setting: tuple[str, str], name: str, width: int) -> Picture | None:
    rows = inside(bench.rows, setting)
    known = any("T_root" in row.metrics for row in rows)
    return contenders.draw(rows, "T_root", name, width=width) if known else None


def _whole(bench: Bench, setting: tuple[str, str], name: str, width: int) -> Picture | None:
    boots = {row.contender: run for row in inside(bench.rows, setting)
             if (run := middle(bench, row)) is not None and phases(run)}  # fmt: skip
    return shares.draw(boots, name, width=width) if boots else None


def _trend(benches: Sequence[Bench], setting: tuple[str, str], name: str, width: int) -> Picture | None:
    """Of the contenders that are the fastest now, and the baseline."""
    # In one order on all machines, so that a contender keeps its colour.
    names = list(dict.fromkeys(row.contender for row in benches[-1].rows))
    lines = [*_roots(benches, setting).items()][:_LINES]
    shown = dict(sorted(lines, key=lambda line: names.index(line[0])))
    return trend.draw([one.name for one in benches], shown, "T_root", name, width=width) if shown else None


def _roots(benches: Sequence[Bench], setting: tuple[str, str]) -> dict[str, list[Figure | None]]:
    """T_root in each of BENCHES of each contender that the last has: the baseline, then the fastest first."""
    now = [row for row in inside(benches[-1].rows, setting) if "T_root" in row.metrics]
    now.sort(key=lambda row: (row.contender != benches[-1].baseline, row.metrics["T_root"].median))
    return {
        row.contender: [next((old.metrics.get("T_root") for old in one.rows if old.place == row.place), None)
                        for one in benches]
        for row in now
    }  # fmt: skip


def _pair(bench: Bench, setting: tuple[str, str], number: int) -> Html:
    spread = "median and range" if any(row.runs > 1 for row in inside(bench.rows, setting)) else "one boot each"
    ratio = f"; {TIMES} {bench.baseline}" if bench.baseline else ""
    drawn = []
    for what, draw, told in (
        ("root", _root, f"init to root mounted: {spread}{ratio}"),
        ("whole", _whole, "the whole boot, from the kernel to the root's init"),
    ):
        wide, narrow = (draw(bench, setting, f"{what}{number}-{width}", width) for width in (WIDE, NARROW))
        if wide is not None:
            drawn.append(figure(_caption(bench, setting, told), wide, narrow))
    return tag("div", *drawn, class_="pair") if drawn else Html()


def _trends(benches: Sequence[Bench], setting: tuple[str, str], number: int) -> Html:
    wide, narrow = (_trend(benches, setting, f"trend{number}-{width}", width) for width in (WIDE, NARROW))
    if wide is None:
        return Html()
    lines = _roots(benches, setting)
    left = len(lines) - _LINES
    told = "T_root over the benches, oldest first" + (f"; {left} more in the table" if left > 0 else "")
    rows = [(bench.name, tag("span", bench.begun[:16].replace("T", " "), class_="text"),
             *(_cell(line[number]) for line in lines.values())) for number, bench in enumerate(benches)]  # fmt: skip
    head = ("bench", tag("span", "begun, UTC", class_="text"), *lines)
    return tag("div", figure(_caption(benches[-1], setting, told), wide, narrow),
               details(f"The trend in figures: {len(benches)} benches", table(head, rows)))  # fmt: skip


def _caption(bench: Bench, setting: tuple[str, str], told: str) -> Html:
    return Html(f"{tag('b', _name(bench, setting))} {tag('span', told)}")


def _table(bench: Bench, setting: tuple[str, str], before: Bench | None) -> Html:
    rows = sorted(inside(bench.rows, setting), key=_root_time)
    changed = changes(bench, before) if before is not None else {}
    metrics = [metric for metric in METRICS if any(metric in row.metrics for row in rows)]
    head = ["contender", "image", *metrics, *(["T_root since before"] if changed else []), "boots to the root"]
    lines = []
    for row in rows:
        cells: list[object] = [row.contender, mib(row.image_bytes)]
        cells += [_cell(row.metrics.get(metric)) for metric in metrics]
        if changed:
            change = changed.get((row.place, "T_root"))
            known = change is not None and change.old is not None and change.new is not None
            cells.append(_verdict(change) if change is not None and known else NONE)
        failed = sum(row.ends.values())
        cells.append(tag("span", f"{row.runs - failed} of {row.runs}", class_="worse" if failed else ""))
        lines.append(cells)
    first = frozenset([0] if rows and "T_root" in rows[0].metrics else [])
    return tag("div", tag("h3", _name(bench, setting)), table(head, lines, marked=first), class_="card-table")


def _cell(figure_: Figure | None) -> object:
    if figure_ is None:
        return NONE
    notes = f" ±{figure_.spread / figure_.median:.1%}" if figure_.runs > 1 and figure_.median else ""
    notes += f" {TIMES}{figure_.ratio:.2f}" if figure_.ratio is not None else ""
    return Html(f"{time(figure_.median)}{tag('small', notes)}")


def _failures(bench: Bench) -> Html:
    """Of each contender the last boot that did not come to its root."""
    parts = []
    for row in bench.rows:
        if row.ends:
            last = [run for run in bench.runs if (run.engine, run.machine, run.contender) == row.place
                    and run.ended != "root"][-1]  # fmt: skip
            told = f"{sum(row.ends.values())} of {row.runs} boots, the last: {last.error or last.ended}"
            summary = Html(f"{tag('b', f'{row.contender} on {_name(bench, row.place[:2])}')} {tag('span', told)}")
            console = tag("pre", "\n".join(last.console) or "The console said nothing.")
            parts.append(details(summary, console))
    return Html("".join([tag("h2", "Boots that did not come to the root"), *parts])) if parts else Html()


def _by_answers(bench: Bench, found: Mapping[tuple[str, str], Answer | None]) -> list[Row]:
    """The rows that have a boot to show, by setting, the fastest first."""
    order = list(found)
    rows = [row for row in bench.rows if (run := middle(bench, row)) and timeline.drawable(run)]
    return sorted(rows, key=lambda row: (order.index(row.place[:2]), _root_time(row)))


def _root_time(row: Row) -> float:
    return row.metrics["T_root"].median if "T_root" in row.metrics else math.inf


def _boot(bench: Bench, row: Row, name: str, open_: bool) -> Html:
    run = middle(bench, row)
    assert run is not None
    root = run.metric("T_root")
    told = [f"root mounted after {time(root)}"] if root is not None else []
    told += [f"{len(run.loads)} modules", f"boot {run.run} of {row.runs}"]
    summary = Html(f"{tag('b', f'{row.contender} on {_name(bench, row.place[:2])}')} {tag('span', ', '.join(told))}")
    return details(summary, boot.pictures(run, name), open_=open_)


def _how(bench: Bench) -> Html:
    about = bench.about
    lines: list[tuple[object, object]] = []
    for metric, (end, begin) in METRICS.items():
        if any(metric in row.metrics for row in bench.rows):
            lines.append((metric, f"from when {MARKS.get(begin, 'the kernel starts')} to when {MARKS[end]}"))
    lines.append(("clock", "that of the kernel's log, read inside the guest: neither QEMU's start nor the console's "
                           "delay counts"))  # fmt: skip
    if any(row.engine == "qemu-icount" for row in bench.rows):
        lines.append(("qemu-icount", "one processor whose clock counts instructions, one a nanosecond: figures "
                                     "repeat within a percent whatever else the host does. They compare programs; "
                                     "a real machine's times are others"))  # fmt: skip
    lines.append(("noise", "what boots of one image differ by counts as none: three standard errors, and what 99 of "
                           "100 differences are within by all boots that were repeated here; of single boots "
                           f"{SINGLE:.0%}"))  # fmt: skip
    kernel = about.get("kernel", {})
    lines += [(term, told) for term, told in (
        ("kernel", " ".join(filter(None, [kernel.get("release"), kernel.get("package")]))),
        ("command line", about.get("append")),
        ("begun", about.get("begun")),
        ("label", about.get("label")),
        ("tinykmod", about.get("tinykmod")),
        ("host", ", ".join(str(value) for value in about.get("host", {}).values())),
    ) if told]  # fmt: skip
    lines += [(name, " ".join([*machine.get("args", ()), machine.get("disk", "")]))
              for name, machine in about.get("machines", {}).items()]  # fmt: skip
    parts = [tag("div", terms(lines), class_="card how")]
    images: dict[tuple[str, str], list[str]] = {}
    sizes: dict[str, int] = {}
    found = about.get("contenders", {})
    for name, contender in found.items():
        for machine, image in contender.get("images", {}).items():
            images.setdefault((name, image["sha256"]), []).append(machine)
            sizes[image["sha256"]] = image["bytes"]
    rows = [(name, mib(sizes[digest]), digest[:12], tag("span", ", ".join(machines), class_="text"),
             tag("span", found[name].get("about", ""), class_="text"))
            for (name, digest), machines in images.items()]  # fmt: skip
    if rows:
        head = ("contender", "image", "sha256", *(tag("span", each, class_="text") for each in ("for", "what it is")))
        parts += [tag("h3", "Images", class_="apart"), tag("div", table(head, rows), class_="card-table")]
    return Html("".join(parts))
