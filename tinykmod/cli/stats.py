"""`tinykmod stats`: the modules of a kernel in numbers."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tinykmod.cli.config import there
from tinykmod.cli.progress import counter
from tinykmod.errors import TinykmodError
from tinykmod.inspect import roots, tables
from tinykmod.inspect.known import Known, chosen_tree, tree_at
from tinykmod.inspect.statistics import NO_CLASS, Statistics, classes_of, of_running, of_tree, told


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", nargs="?", metavar="VERSION",
                        help="default: the running kernel's, or the only one below ROOT")  # fmt: skip
    parser.add_argument("-b", "--root", type=there, default=Path("/"), metavar="ROOT",
                        help="where lib/modules is; or a module tree, or an image (default: /)")  # fmt: skip
    parser.add_argument("--running", action="store_true", help="the modules that are loaded")
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="with --running: look at the /sys and /proc below DIR (a copy)")  # fmt: skip
    parser.add_argument("--against", metavar="VERSION|TREE",
                        help="what differs to another kernel's modules, below ROOT or in TREE")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="as JSON, nothing left out")
    parser.add_argument("--plot", type=Path, metavar="FILE.svg",
                        help="draw the sizes and the classes (takes tinykmod[plots])")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.running and (args.against or args.release):
        raise TinykmodError("--running", "is of the running kernel: it takes no VERSION and no --against")
    with roots.opened(args.root) as root:
        stats = _running(args, root) if args.running else _tree(root, args.release, args.root)
        other = _against(root, args.against, args.root) if args.against else None
    if args.plot is not None:
        from tinykmod.files import replacing
        from tinykmod.inspect.plot import draw

        svg = draw(stats)
        with replacing(args.plot) as out:
            out.write(svg.encode())
    if args.json:
        parts = told(stats) if other is None else {
            "first": told(stats), "second": told(other), **tables.compared(stats, other)
        }  # fmt: skip
        json.dump(parts, sys.stdout, indent=1)
        print()
    elif other is not None:
        print(tables.comparison(stats, other))
    else:
        print(tables.running_page(stats) if args.running else tables.page(stats))
    return 0


def _tree(root: Path, release: str | None, shown: Path) -> Statistics:
    top, release = chosen_tree(root, release, shown)
    stats = of_tree(top, release, counter(f"reading modules of {release}"))
    stats.tree = roots.told(stats.tree, root, shown)
    return stats


def _against(root: Path, word: str, shown: Path) -> Statistics:
    if "/" not in word:
        return _tree(root, word, shown)
    root, release = tree_at(Path(word))
    return _tree(root, release, root)


def _running(args: argparse.Namespace, root: Path) -> Statistics:
    from tinykmod.inspect.devices import running

    machine = running(args.sysroot)
    return of_running(machine.modules, machine.release, partial(_classes, root, machine.release))


def _classes(root: Path, release: str, names: Iterable[str]) -> Mapping[str, Sequence[str]]:
    """The classes of modules, as far as their files are below ROOT."""
    wanted = list(names)
    try:
        known = Known(root, release, [])
    except TinykmodError:
        return {name: ["not known: its file is not there"] for name in wanted}
    found = {module.name: classes_of(module) for module in known.modules(wanted)}
    return {name: found.get(name, [NO_CLASS]) for name in wanted}
