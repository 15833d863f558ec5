"""`tinykmod coldplug`: load what this machine's devices ask for, or show what that would be."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tinykmod.boot.load import load, options_of, plan
from tinykmod.boot.sysfs import modaliases
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.index.records import Step
from tinykmod.kmod.config import read_config
from tinykmod.kmod.system import Linux
from tinykmod.modules.tree import PARENTS, module_directory, read_tree


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the plan, load nothing")
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="look at the /sys and /proc below DIR (a copy, for --dry-run)")  # fmt: skip
    parser.add_argument("-b", dest="root", type=Path, default=Path("/"), metavar="ROOT",
                        help="where the modules are (default: /)")  # fmt: skip
    parser.add_argument("--index", type=Path, metavar="FILE", help="a boot index, instead of reading every module")
    parser.add_argument("version", nargs="?", metavar="VERSION", help="default: the running kernel's")


def run(args: argparse.Namespace) -> int:
    index = _index(args)
    command_line = _command_line(args.sysroot)
    steps = plan(index, modaliases(args.sysroot), command_line)
    if args.dry_run:
        for step in steps:
            print(_line(index, step, _directory(args.root, index.release), command_line))
        return 0
    if args.sysroot != Path("/"):
        raise TinykmodError(args.sysroot, "only the machine's own /sys can be loaded for; add --dry-run")
    if os.geteuid():
        raise TinykmodError("coldplug", "loading modules needs root; --dry-run does not")
    here = [step for step in steps if not Path("/sys/module", step.module, "initstate").exists()]
    failed = 0
    for done in load(index, here, Linux(), module_directory(args.root, index.release), command_line):
        failed += done.result != 0
        if done.error:
            print(f"tinykmod: module {done.step.module}: {done.error}", file=sys.stderr)
    print(f"{len(here) - failed} modules loaded, {failed} failed, {len(steps) - len(here)} were there")
    return 1 if failed else 0


def _index(args: argparse.Namespace) -> Index:
    version = args.version or os.uname().release
    if args.index is None:
        tree = read_tree(args.root, version, progress=counter("reading modules"))
        config = read_config(args.root)
        warn(config.warnings)
        return Index(compile_index(tree, config), version, verify=False)
    index = Index(args.index.read_bytes(), str(args.index))
    if args.version is not None and args.version != index.release:
        raise TinykmodError(args.index, f"is of kernel {index.release}, not {version}")
    return index


def _command_line(sysroot: Path) -> str:
    """The kernel command line; a copied tree may have none."""
    try:
        return (sysroot / "proc" / "cmdline").read_text(errors="surrogateescape")
    except FileNotFoundError:
        return ""


def _directory(root: Path, release: str) -> Path:
    """Where the modules are; for an index whose tree is not here, where they would be."""
    try:
        return module_directory(root, release)
    except TinykmodError:
        return root / PARENTS[0] / release


def _line(index: Index, step: Step, directory: Path, command_line: str) -> str:
    """As the loader program prints it: `insmod PATH OPTIONS # why: by`."""
    options = options_of(index, step.module, command_line)
    return f"insmod {directory / index.path(step.module)} {options} # {step.why}: {step.by}"
