"""`tinykmod show`: everything about a module on one page."""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path

from tinykmod.cli.config import add_config, there
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.inspect import page, roots
from tinykmod.inspect.about import About
from tinykmod.inspect.dependencies import users
from tinykmod.inspect.devices import Machine, running, snapped
from tinykmod.inspect.inspector import Inspector
from tinykmod.inspect.known import Known, chosen_tree, tree_around
from tinykmod.inspect.told import need, told
from tinykmod.kmod.names import is_module_file


def configure(parser: argparse.ArgumentParser) -> None:
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--tree", action="store_true", help="only what it needs, with every symbol")
    form.add_argument("--reverse", action="store_true", help="only which modules need it, with every symbol")
    parser.add_argument("--json", action="store_true", help="as JSON, nothing left out")
    parser.add_argument("-b", "--root", type=there, default=Path("/"), metavar="ROOT",
                        help="where lib/modules, modprobe.d and firmware are; or a module tree, or an initramfs image"
                        " (default: /)")  # fmt: skip
    parser.add_argument("-k", "--set-version", dest="release", metavar="VERSION",
                        help="default: the running kernel's, or the only one below ROOT")  # fmt: skip
    add_config(parser)
    machine = parser.add_mutually_exclusive_group()
    machine.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="look at the /sys and /proc below DIR (a copy)")  # fmt: skip
    machine.add_argument("--for", dest="machine", metavar="SNAPSHOT",
                        help="the devices and modules of a machine that `tinykmod snapshot` wrote down")  # fmt: skip
    parser.add_argument("module", metavar="MODULE", help="a module's name, an alias, or a .ko file")


def run(args: argparse.Namespace) -> int:
    is_file = is_module_file(args.module) or ("/" in args.module and Path(args.module).is_file())
    file = Path(args.module) if is_file else None
    if file is None and re.search(r"\.ko(\.\w+)?$", args.module):
        raise TinykmodError(args.module, "no such file")
    machine = _machine(args)
    with roots.opened(args.root) as root:
        inspector = Inspector(_known(args, root, file), machine)
        if inspector.known is not None:
            warn(inspector.known.config.warnings)
        if file is not None:
            pages = [inspector.about_file(file)]
        else:
            pages = [inspector.about(found) for found in inspector.find(args.module)]
        _print(args, inspector, pages)
    return 0


def _machine(args: argparse.Namespace) -> Machine | None:
    if args.machine is not None:
        return snapped(args.machine)
    try:
        return running(args.sysroot)
    except OSError:
        # A container or a build chroot may be without /sys.
        if args.sysroot != Path("/"):
            raise
        return None


def _known(args: argparse.Namespace, root: Path, file: Path | None) -> Known | None:
    """The tree that is meant; None for a file that is in none, where there is none else to look in."""
    release, shown = args.release, args.root
    if file is not None and (shown, release) == (Path("/"), None) and (around := tree_around(file)) is not None:
        root, release = around
        shown = root
    try:
        top, release = chosen_tree(root, release, shown)
    except TinykmodError:
        if file is None or args.release is not None:
            raise
        return None
    return Known(top, release, args.config, counter("reading modules"), shown if top == root else top)


def _print(args: argparse.Namespace, inspector: Inspector, abouts: list[About]) -> None:
    if args.json:
        out = [told(about) for about in abouts]
        if args.reverse:
            for each in out:
                each["users"] = [need(user) for user in users(inspector.known, each["name"])]
        json.dump(out[0] if len(out) == 1 else out, sys.stdout, indent=1)
        print()
        return
    for number, about in enumerate(abouts):
        if number:
            print()
        if args.tree:
            print(page.tree(about.name, about.needs, "needs no module"))
        elif args.reverse:
            print(page.tree(about.name, users(inspector.known, about.name), "no module needs it"))
        else:
            print(page.page(about))
