"""`tinykmod coldplug`: load what this machine's devices ask for, or show what that would be."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tinykmod.boot.load import Loaded, load, plan
from tinykmod.boot.sysfs import modaliases
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.kmod.config import read_config
from tinykmod.kmod.system import Linux
from tinykmod.modules.directory import directory_of, module_directory
from tinykmod.modules.tree import read_tree


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
        directory = directory_of(args.root, index.release)
        fates = list(load(index, steps, None, directory, command_line))
        for done in fates:
            if done.error:
                _tell(done, done.error)
            else:
                print(_line(index, done, directory))
        return 1 if any(done.error for done in fates) else 0
    if args.sysroot != Path("/"):
        raise TinykmodError(args.sysroot, "only the machine's own /sys can be loaded for; add --dry-run")
    if os.geteuid():
        raise TinykmodError("coldplug", "loading modules needs root; --dry-run does not")
    here = [step for step in steps if not Path("/sys/module", step.module, "initstate").exists()]
    failed = forbidden = 0
    for done in load(index, here, Linux(), module_directory(args.root, index.release), command_line):
        failed += done.result != 0
        forbidden += not done.tried
        for said in filter(None, (done.note, done.error)):
            _tell(done, said)
    loaded = len(here) - failed - forbidden
    print(f"{loaded} modules loaded, {failed} failed, {len(steps) - len(here)} were there")
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


def _tell(done: Loaded, what: str) -> None:
    print(f"tinykmod: module {done.step.module}: {what}", file=sys.stderr)


def _line(index: Index, done: Loaded, directory: Path) -> str:
    """As the loader program prints it: `insmod PATH OPTIONS # why: by`; of a module that is forbidden, by what."""
    why = f"# {done.step.why}: {done.step.by}"
    statement = index.install_command(done.step.module)
    if not done.tried and statement is not None:
        return f"install {statement.text}  {why}"
    return f"insmod {directory / done.path} {done.options} {why}"
