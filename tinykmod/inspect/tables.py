"""What `tinykmod stats` prints: tables for a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tinykmod.inspect.statistics import MOST, Bin, Share, Statistics
from tinykmod.inspect.terminal import Page, plural, shown, size, whole_size

_BAR = 24


def page(stats: Statistics, columns: int | None = None, bold: bool | None = None) -> str:
    """The tables of one tree."""
    out = Page(columns, bold)
    builtin = f", {stats.builtin} more built into the kernel" if stats.builtin else ""
    out.title(f"{stats.release}: {plural(len(stats.modules), 'module')}{builtin}")
    out.add("tree", stats.tree)
    _sizes(out, stats, "on disk")
    out.add("in memory", f"{size(stats.memory.core)} if all were loaded, and {size(stats.memory.init)} to initialise")
    out.add("class", list(_shares(stats.classes, stats.total)))
    out.add("directory", list(_shares(stats.directories, stats.total)))
    out.add("compressed", [f"{name}: {plural(share.modules, 'module')}" for name, share in stats.compression.items()])
    out.add("license", [f"{name}: {count}" for name, count in stats.licenses.items()])
    out.add("signed", f"{stats.signed} of {len(stats.modules)}")
    out.add("parameters", str(stats.parameters))
    out.add("needed by", [f"{name}: {plural(count, 'module')}" for name, count in stats.most_needed.items()])
    out.add("deepest", [f"{len(each.names)}: {' '.join(each.names)}" for each in stats.deepest])
    out.add("aliases", list(_aliases(stats.aliases)))
    names, modules, there = stats.firmware
    out.add("firmware", f"{plural(names, 'name')} in {plural(modules, 'module')}, of which {there} are there")
    return str(out)


def running_page(stats: Statistics, columns: int | None = None, bold: bool | None = None) -> str:
    """The tables of what is loaded."""
    out = Page(columns, bold)
    out.title(f"{stats.release}: {plural(len(stats.modules), 'module')} loaded")
    if not stats.modules:
        return str(out)
    _sizes(out, stats, "in memory")
    out.add("class", list(_shares(stats.classes, stats.total)))
    out.add("used by", [f"{name}: {plural(count, 'module')}" for name, count in stats.most_needed.items()])
    return str(out)


def comparison(one: Statistics, other: Statistics, columns: int | None = None, bold: bool | None = None) -> str:
    """What differs from ONE to OTHER."""
    out = Page(columns, bold)
    out.title(f"{one.release} -> {other.release}")
    out.add("modules", _change(len(one.modules), len(other.modules)))
    out.add("built in", _change(one.builtin, other.builtin))
    out.add("on disk", _change(one.total, other.total, sizes=True))
    out.add("in memory", _change(one.memory.core, other.memory.core, sizes=True))
    tables = (("class", one.classes, other.classes), ("directory", one.directories, other.directories))
    for label, before, after in tables:
        rows = [(name, before.get(name, Share(0, 0)), after.get(name, Share(0, 0))) for name in {**before, **after}]
        rows.sort(key=lambda row: -abs(row[2].modules - row[1].modules))
        width = max((len(name) for name, *_ in rows), default=0)
        out.add(label, [
            f"{name:<{width}}  {a.modules:>5} -> {b.modules:>5}  {size(a.bytes):>9} -> {size(b.bytes):>9}"
            for name, a, b in rows[:MOST]
        ])  # fmt: skip
    _lists(out, one, other)
    return str(out)


def compared(one: Statistics, other: Statistics) -> dict[str, object]:
    """What --json prints of a comparison, besides both."""
    gone, come, stayed = _names(one, other)
    moved = one.builtin, other.builtin
    return {
        "removed": gone, "added": come, "builtin": list(moved),
        "changed": {name: [one.modules[name].bytes, other.modules[name].bytes] for name in stayed},
    }  # fmt: skip


def _names(one: Statistics, other: Statistics) -> tuple[list[str], list[str], list[str]]:
    """The modules that are in the first only, in the second only, and in both but of another size."""
    both = [name for name in one.modules if name in other.modules]
    return (
        sorted(one.modules.keys() - other.modules.keys()),
        sorted(other.modules.keys() - one.modules.keys()),
        [name for name in both if one.modules[name] != other.modules[name]],
    )


def _lists(out: Page, one: Statistics, other: Statistics) -> None:
    gone, come, stayed = _names(one, other)
    for label, names in (("only first", gone), ("only second", come)):
        out.add(label, f"{len(names)}: {shown(names, 3 * out.room - 30)}" if names else "none")
    change = {name: other.modules[name].bytes - one.modules[name].bytes for name in stayed}
    for label, sign in (("grown most", 1), ("shrunk most", -1)):
        most = sorted((name for name in stayed if sign * change[name] > 0), key=lambda name: -sign * change[name])
        sizes = [(name, one.modules[name].bytes, other.modules[name].bytes) for name in most[: MOST // 2]]
        out.add(label, [f"{name}: {size(before)} -> {size(after)}" for name, before, after in sizes])


def _sizes(out: Page, stats: Statistics, where: str) -> None:
    largest = stats.largest()
    smallest = largest[-1]
    out.add("size", [
        f"{size(stats.total)} {where}, half of the modules at most {size(stats.quantile(0.5))}",
        f"smallest {smallest[0]} ({size(smallest[1])})",
    ])  # fmt: skip
    out.add("", list(_histogram(stats.sizes)))
    out.add("largest", [f"{name}: {size(count)}" for name, count in largest[:MOST]])


def _histogram(bins: Sequence[Bin]) -> Iterator[str]:
    most = max((each.modules for each in bins), default=1)
    for each in bins:
        bar = "#" * -(-each.modules * _BAR // most)
        yield f"from {whole_size(each.least):>7}  {each.modules:>5}  {size(each.bytes):>8}  {bar}"


def _shares(table: Mapping[str, Share], total: int) -> Iterator[str]:
    width = max((len(name) for name in table), default=0)
    shown_, rest = list(table.items())[:MOST], list(table.values())[MOST:]
    for name, share in shown_:
        yield _row(name, width, share, total)
    if rest:
        share = Share(sum(each.modules for each in rest), sum(each.bytes for each in rest))
        yield _row(f"{len(rest)} others", width, share, total)


def _row(name: str, width: int, share: Share, total: int) -> str:
    part = f"{100 * share.bytes / total:.0f}%" if total else ""
    return f"{name:<{width}}  {share.modules:>5}  {size(share.bytes):>9}  {part:>4}"


def _aliases(table: Mapping[str, tuple[int, int]]) -> Iterator[str]:
    for bus, (patterns, modules) in list(table.items())[:MOST]:
        yield f"{bus:<10}  {patterns:>6} in {plural(modules, 'module')}"
    rest = list(table.items())[MOST:]
    if rest:
        yield f"{len(rest)} others  {sum(patterns for _, (patterns, _) in rest):>6}"


def _change(before: int, after: int, *, sizes: bool = False) -> str:
    one, other = (size(before), size(after)) if sizes else (str(before), str(after))
    part = f" ({100 * (after - before) / before:+.1f}%)" if before and before != after else ""
    return f"{one} -> {other}{part}"
