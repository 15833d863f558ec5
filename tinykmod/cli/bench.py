"""`tinykmod bench [run]|show|compare`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinykmod.cli import progress
from tinykmod.errors import TinykmodError

if TYPE_CHECKING:
    from tinykmod.bench.figures import Row
    from tinykmod.bench.measured import Measured
    from tinykmod.bench.suite import Suite
    from tinykmod.cli import Parser

HOW = """\
Times are read inside the guest, by the clock of the kernel's log: never from outside, where QEMU's own start and the
console's delay would count. qemu-icount is QEMU with one processor whose clock counts instructions, one a nanosecond:
its figures repeat within a percent or two whatever the host does, and compare programs; a real machine's are others.
qemu is QEMU by the host's clock, on two processors: noisy, so keep the host idle and do more runs.
T_root is from the image's init to the root mounted, T_gpu to the first display, T_all to the end of the last module's
init, unpacking what the kernel takes to unpack the image, total from the kernel's start to the root's init.
"""
_WORDS = "the word `run` may be left out: tinykmod bench SUITE"


def configure(parser: Parser) -> None:
    parser.usual = "run"
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = f"{_WORDS}\n\n{HOW}"
    actions = parser.add_subparsers(dest="action", required=True, metavar="run|show|compare")
    run = actions.add_parser("run", help="boot each image of a suite in turn, again and again", epilog=HOW,
                             formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    run.set_defaults(wrong=run.error)
    add = run.add_argument
    add("suite", nargs="?", metavar="SUITE", help="a TOML file (docs/bench.md), or the name of a ready-made suite")
    add("--images", nargs="+", default=[], metavar="IMAGE",
        help="boot these, without a suite: files, or names of what can be made")  # fmt: skip
    add("--runs", type=int, metavar="N", help="rounds (default: the suite's, or 5)")
    add("--warmup", type=int, metavar="N",
        help="rounds before these that do not count (default: the suite's, or 1, 0 for qemu-icount)")  # fmt: skip
    add("--machine", action="append", metavar="NAME|FILE",
        help="instead of the suite's; repeatable (default: virtio-blk)")  # fmt: skip
    add("--engine", action="append", metavar="NAME",
        help="instead of the suite's: qemu-icount, qemu, labgrid:FILE#TARGET, labgrid:FILE for all of its"
        " targets at once; repeatable (default: qemu-icount)")  # fmt: skip
    add("--kernel", metavar="FILE|META", help="a kernel, or Debian's meta-package of one (default: for the machine)")
    add("--disk", type=Path, action="append", metavar="FILE",
        help="a disk with the root, never written to; repeatable (default: a small root is made)")  # fmt: skip
    add("--until", metavar="PATTERN", help="the console's line with which that disk's init shows that it runs")
    add("--append", metavar="WORDS", help="further words for the kernel's command line")
    add("--timeout", type=float, metavar="S", help="of one boot, by the host's clock (default: 300)")
    add("--baseline", metavar="NAME", help="what ratios are to (default: the suite's, or the first contender)")
    add("-j", "--jobs", type=int, default=1, metavar="N",
        help="boots at the same time with qemu-icount: figures stay within about a percent (default: 1)")  # fmt: skip
    add("-o", "--output", type=Path, metavar="DIR",
        help="for the results; boots that it has are not repeated (default: SUITE.bench)")  # fmt: skip
    add("--label", metavar="WORD", default="",
        help="what a report calls this bench among others (default: what git calls the commit here)")  # fmt: skip
    show = actions.add_parser("show", help="print the table of what was measured")
    show.add_argument("directory", type=Path, metavar="DIR")
    show.add_argument("--baseline", metavar="NAME", help="what ratios are to (default: as it was)")
    show.add_argument("--format", choices=["table", "markdown", "json", "csv"], default="table",
                      help="default: %(default)s")  # fmt: skip
    compare = actions.add_parser("compare", help="tell what got slower or larger; exit 1 past a budget")
    compare.add_argument("old", type=Path, metavar="OLD", help="a directory of results, or its runs.jsonl")
    compare.add_argument("new", type=Path, metavar="NEW")
    compare.add_argument("--budget", type=Path, metavar="FILE", help="limits, past which the exit code is 1")


def run(args: argparse.Namespace) -> int:
    return {"run": _run, "show": _show, "compare": _compare}[args.action](args)


def _run(args: argparse.Namespace) -> int:
    from tinykmod.bench import prepare, results, runner

    if (args.suite is None) == (not args.images):
        args.wrong("one of SUITE and --images says what to boot")
    for name, least in ("runs", 1), ("warmup", 0), ("jobs", 1), ("timeout", 0.001):
        if (given := getattr(args, name)) is not None and not least <= given < float("inf"):
            args.wrong(f"--{name} {given} is too {'small' if given < least else 'large'}")
    suite = _suite(args)
    directory = args.output or Path(f"{suite.name}.bench")
    show = progress.line()
    try:
        prepared = prepare.prepare(suite, show, args.label)
    finally:
        show("")
    for (contender, machine), error in prepared.unmade.items():
        print(f"tinykmod: {contender} for {machine} is not made: {error}", file=sys.stderr)
    with results.held(directory):
        about = results.read_about(directory)
        changed = prepare.changes(about, prepared.about) if about else []
        if changed:
            why = "; ".join(changed)
            raise TinykmodError(directory, f"is of something else: {why}; remove it, or name another with -o")
        if not about and (directory / results.RUNS).exists():
            raise TinykmodError(directory, f"has {results.RUNS} and no {results.ABOUT}: what it was of is lost")
        about = prepare.merged(about, prepared.about) | ({"label": args.label} if args.label else {})
        results.write_about(directory, about)
        try:
            done = runner.run(prepared, directory, jobs=args.jobs, show=show, tell=_teller(show))
        except KeyboardInterrupt:
            show("")
            print("tinykmod: what was measured is kept; the same command goes on with it", file=sys.stderr)
            raise
        finally:
            show("")
        rows = _write(directory, done, about)
    print(_told(rows, about, suite.baseline))
    print(f"\nin {directory}: {results.RUNS}, results.json, results.csv{_page(directory)}")
    return int(bool(prepared.unmade) or any(run.ended == runner.FAILED for run in done))


def _suite(args: argparse.Namespace) -> Suite:
    """The suite that is asked for, with what options say instead. Raises TinykmodError, OSError."""
    import dataclasses

    from tinykmod.bench.suite import Suite, of_images, read_suite

    suite = read_suite(args.suite) if args.suite else Suite("images", of_images(args.images))
    given = {
        "runs": args.runs, "warmup": args.warmup, "kernel": args.kernel, "append": args.append,
        "timeout": args.timeout, "baseline": args.baseline, "until": args.until,
        "machines": args.machine and tuple(args.machine), "engines": args.engine and tuple(args.engine),
        "disks": args.disk and tuple(args.disk),
    }  # fmt: skip
    return dataclasses.replace(suite, **{key: value for key, value in given.items() if value is not None}).checked()


def _teller(show: Callable[[str], None]) -> Callable[[Measured, str], None]:
    """What tells each boot that ended: a line a boot, on a terminal only of those that give no figure."""
    def tell(run: Measured, status: str) -> None:
        if run.ended == "root" and run.marks and sys.stderr.isatty():
            return
        show("")
        root = run.metric("T_root")
        came = "the root's init runs" + ("" if run.marks else "; nothing could be measured, its log has no stamps")
        what = run.error or (f"T_root {root * 1e3:.1f} ms" if root is not None else came)
        print(f"tinykmod: {status}: {what}", file=sys.stderr)
        for line in run.console[-5:] if run.ended != "root" else ():
            print(f"  {line}", file=sys.stderr)

    return tell


def _write(directory: Path, done: Sequence[Measured], about: Mapping[str, Any]) -> list[Row]:
    """The rows of what was measured, which results.json and results.csv in DIRECTORY then have."""
    import json

    from tinykmod.bench.figures import rows, to_csv, to_json
    from tinykmod.files import replace_all

    found = rows(done, about["suite"]["baseline"])
    texts = {"results.json": f"{json.dumps(to_json(found, about), indent=1)}\n", "results.csv": to_csv(done)}
    replace_all(directory, {name: text.encode() for name, text in texts.items()})
    return found


def _page(directory: Path) -> str:
    """What is said of the page, which DIRECTORY then has."""
    from tinykmod.bench import page
    from tinykmod.bench.pictures.look import has_matplotlib

    if not has_matplotlib():
        return "; for report.html: pip install 'tinykmod[plots]', then `tinykmod report`"
    page.write(directory, directory / "report.html")
    return ", report.html"


def _told(rows: Sequence[Row], about: Mapping[str, Any], baseline: str) -> str:
    """The table with what it is of."""
    from tinykmod.bench.figures import table

    kernel = about.get("kernel", {}).get("release") or "unknown kernel"
    engines = ", ".join(f"{name} {version}".strip() for name, version in about.get("engines", {}).items())
    head = f"{kernel}; {engines}\nmilliseconds: median ±half of the range, x ratio to {baseline}, round by round"
    return f"{head}\n\n{table(rows, baseline)}"


def _show(args: argparse.Namespace) -> int:
    import json

    from tinykmod.bench import figures, results

    about, runs = results.read_about(args.directory), results.read_runs(args.directory)
    if not runs:
        raise TinykmodError(args.directory, "holds no boot yet")
    baseline = args.baseline or about.get("suite", {}).get("baseline", "")
    rows = figures.rows(runs, baseline)
    if baseline and all(row.contender != baseline for row in rows):
        raise TinykmodError(args.directory, f"has no boot of the baseline {baseline}")
    if args.format == "csv":
        print(figures.to_csv(runs), end="")
    elif args.format == "json":
        print(json.dumps(figures.to_json(rows, about), indent=1))
    elif args.format == "markdown":
        print(figures.markdown(rows, baseline))
    else:
        print(_told(rows, about, baseline))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from tinykmod.bench import compare, prepare, results
    from tinykmod.bench.figures import rows

    limits = compare.read_budget(args.budget) if args.budget else []
    old, new = (rows(results.read_runs(path)) for path in (args.old, args.new))
    both = {row.place for row in old} & {row.place for row in new}
    if not both:
        raise TinykmodError(args.new, f"has no contender, machine and engine in common with {args.old}")
    before, after = (results.read_about(path) if path.is_dir() else {} for path in (args.old, args.new))
    for line in prepare.changes(before, after) if before and after else ():
        if not line.startswith(prepare.IMAGE_OF):
            print(f"not alike: {line}")
    changes = compare.compare(old, new)
    for path, rows_there in (args.old, old), (args.new, new):
        for row in rows_there:
            if row.place not in both:
                print(f"{compare.named(row.place)}: only in {path}")
    figures = [change for change in changes if change.place in both]
    for change in figures:
        if change.verdict != "same":
            print(f"{compare.named(change.place)}: {change.metric} {change}")
    ends = {row.place: row.ends for row in old}
    for row in new:
        if row.ends != ends.get(row.place, {}):
            print(f"{compare.named(row.place)}: {compare.missed(row)}")
    same = sum(change.verdict == "same" for change in figures)
    print(f"{same} of {len(figures)} figures are the same within the noise")
    lines = compare.past(changes, limits, new, str(args.budget))
    for line in lines:
        print(f"past the budget: {line}")
    return int(bool(lines))
