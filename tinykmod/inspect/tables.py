"""What `tinykmod stats` prints: tables for a narrow terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from tinykmod.inspect.statistics import MOST, Bin, Share, Statistics
from tinykmod.terminal import Page, plural, shown, size, whole_size

_BAR = 24


def page(stats: Statistics, columns: int | None = None, bold: bool | None = None) -> str:
    """The tables of one tree."""
    out = Page(columns, bold)
    builtin = f", {stats.builtin} more built into the kernel" if stats.builtin else ""
    out.title(f"{stats.release}: {plural(len(stats.modules), 'module')}{builtin}")
    out.add("tree", stats.tree)
    _sizes(out, stats, "on disk")
    memory = stats.total_memory
    out.add("in memory", f"{size(memory.core)} if all were loaded, and {size(memory.init)} to initialise")
    out.add("class", list(_shares(stats.classes, stats.total, out.room)))
    out.add("directory", list(_shares(stats.directories, stats.total, out.room)))
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
    out.add("class", list(_shares(stats.classes, stats.total, out.room)))
    out.add("used by", [f"{name}: {plural(count, 'module')}" for name, count in stats.most_needed.items()])
    return str(out)


def comparison(one: Statistics, other: Statistics, columns: int | None = None, bold: bool | None = None) -> str:
    """What differs from ONE to OTHER."""
    out = Page(columns, bold)
    out.title(f"{one.release} -> {other.release}")
    out.add("modules", _change(len(one.modules), len(other.modules)))
    out.add("built in", _change(one.builtin, other.builtin))
    out.add("on disk", _change(one.total, other.total, sizes=True))
    out.add("in memory", _change(one.total_memory.core, other.total_memory.core, sizes=True))
    tables = (("class", one.classes, other.classes), ("directory", one.directories, other.directories))
    for label, before, after in tables:
        counts = {name: [each[name].modules if name in each else 0 for each in (before, after)]
                  for name in {**before, **after}}  # fmt: skip
        changed = [name for name, (a, b) in sorted(counts.items(), key=_by_change) if a != b]
        width = max(map(len, changed), default=0)
        rows = [f"{name:<{width}}  {_change(*counts[name])}" for name in changed[:MOST]]
        out.add(label, rows or "the same")
    _lists(out, one, other)
    return str(out)


def compared(one: Statistics, other: Statistics) -> dict[str, object]:
    """What --json prints of a comparison, besides both."""
    gone, come, change = _names(one, other)
    return {"removed": gone, "added": come, "memory_change": change}


def _names(one: Statistics, other: Statistics) -> tuple[list[str], list[str], dict[str, int]]:
    """The modules that are in the first only, in the second only, and of those in both that take more or less memory
    by how many bytes. The files' sizes say less: one of the trees may be compressed."""
    both = {name: other.memory[name].core - one.memory[name].core for name in one.memory if name in other.memory}
    return (
        sorted(one.modules.keys() - other.modules.keys()),
        sorted(other.modules.keys() - one.modules.keys()),
        {name: change for name, change in both.items() if change},
    )


def _lists(out: Page, one: Statistics, other: Statistics) -> None:
    gone, come, change = _names(one, other)
    for label, names in (("only first", gone), ("only second", come)):
        out.add(label, f"{len(names)}: {shown(names, 3 * out.room - 30)}" if names else "none")
    for label, sign in (("grown most", 1), ("shrunk most", -1)):
        most = sorted((name for name in change if sign * change[name] > 0), key=lambda name: -abs(change[name]))
        out.add(label, [
            f"{name}: {size(one.memory[name].core)} -> {size(other.memory[name].core)} in memory"
            for name in most[: MOST // 2]
        ])  # fmt: skip


def _by_change(row: tuple[str, Sequence[int]]) -> tuple[int, str]:
    """For the greatest change to come first."""
    name, (before, after) = row
    return -abs(after - before), name


def _sizes(out: Page, stats: Statistics, where: str) -> None:
    largest = stats.largest()
    smallest = largest[-1]
    out.add("size", [
        f"{size(stats.total)} {where}, half of the modules at most {size(stats.quantile(0.5))}",
        f"smallest {smallest[0]} ({size(smallest[1])})",
    ])  # fmt: skip
    out.add("", list(_histogram(stats.sizes, out.room)))
    out.add("largest", [f"{name}: {size(count)}" for name, count in largest[:MOST]])


def _histogram(bins: Sequence[Bin], room: int) -> Iterator[str]:
    most = max((each.modules for each in bins), default=1)
    for each in bins:
        row = f"from {whole_size(each.least):>7}  {each.modules:>5}  {size(each.bytes):>8}  "
        yield row + "#" * -(-each.modules * max(0, min(_BAR, room - len(row))) // most)


def _shares(table: Mapping[str, Share], total: int, room: int) -> Iterator[str]:
    shown_, rest = list(table.items())[:MOST], list(table.values())[MOST:]
    width = max((len(name) for name, _ in shown_), default=0)
    for name, share in shown_:
        yield _row(name, width, share, total, room)
    if rest:
        share = Share(sum(each.modules for each in rest), sum(each.bytes for each in rest))
        yield _row(f"{len(rest)} others", width, share, total, room)


def _row(name: str, width: int, share: Share, total: int, room: int) -> str:
    row = f"{name:<{width}}  {share.modules:>5}  {size(share.bytes):>9}"
    part = f"  {100 * share.bytes / total:>3.0f}%" if total else ""
    return row + part if len(row + part) <= room else row


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
