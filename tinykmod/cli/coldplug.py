"""`tinykmod coldplug`: load what this machine's devices ask for, or show what that would be."""

from __future__ import annotations

import argparse
import errno
import os
import sys
import time
from collections import Counter
from pathlib import Path

from tinykmod.boot.load import Loaded, load, plan
from tinykmod.boot.rootdevice import RootDevice
from tinykmod.boot.sysfs import modaliases
from tinykmod.boot.uevents import Event, Uevents
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.index.compiler import compile_index
from tinykmod.index.reader import Index
from tinykmod.index.records import Step
from tinykmod.kmod.config import read_config
from tinykmod.kmod.system import Linux
from tinykmod.modules.directory import directory_of, module_directory
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import read_tree


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--dry-run", action="store_true", help="print the plan, load nothing")
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="look at the /sys and /proc below DIR (a copy, for --dry-run)")  # fmt: skip
    parser.add_argument("-b", dest="root", type=Path, default=Path("/"), metavar="ROOT",
                        help="where the modules are (default: /)")  # fmt: skip
    parser.add_argument("--index", type=Path, metavar="FILE", help="a boot index, instead of reading every module")
    parser.add_argument("--class", dest="classes", metavar="CLASS,...", help="of drivers only these classes")
    parser.add_argument("--wait-root", metavar="SPEC",
                        help="end when the device of root=SPEC is there and its filesystem loaded")  # fmt: skip
    parser.add_argument("--timeout", type=int, default=30, metavar="SECONDS",
                        help="how long that, or the loading, may take (default: 30)")  # fmt: skip
    parser.add_argument("version", nargs="?", metavar="VERSION", help="default: the running kernel's")


def run(args: argparse.Namespace) -> int:
    if not args.dry_run:
        if args.sysroot != Path("/"):
            raise TinykmodError(args.sysroot, "only the machine's own /sys can be loaded for; add --dry-run")
        if os.geteuid():
            raise TinykmodError("coldplug", "loading modules needs root; --dry-run does not")
        return _load(args)
    index = _index(args)
    command_line = _command_line(args.sysroot)
    steps = plan(index, modaliases(args.sysroot), command_line, _classes(args))
    directory = directory_of(args.root, index.release)
    fates = list(load(index, steps, None, directory, command_line))
    for done in fates:
        if done.error:
            _tell(done, done.error)
        else:
            print(_line(index, done, directory))
    return 1 if any(done.error for done in fates) else 0


def _load(args: argparse.Namespace) -> int:
    """Load one module after the other, until the root is there or, without one to wait for, all has settled."""
    root = RootDevice(args.wait_root) if args.wait_root is not None else None
    index = _index(args)
    command_line, classes = _command_line(args.sysroot), _classes(args)
    system, directory = Linux(), module_directory(args.root, index.release)
    until = time.monotonic() + args.timeout
    tried: set[str] = set()
    failed: set[str] = set()
    counts: Counter[str] = Counter()

    # Bound before the walk: a device that appears in between is then found twice, and not never.
    with Uevents() as uevents:
        found = dict.fromkeys(modaliases())

        def look(events: list[Event]) -> bool:
            """Whether EVENTS, or a second walk where some were lost, tell of modaliases that were not known."""
            before = len(found)
            found.update(dict.fromkeys(event["MODALIAS"] for event in events if event.get("MODALIAS")))
            if uevents.lost:
                uevents.lost = False
                found.update(dict.fromkeys(modaliases()))
            return len(found) > before

        def load_steps(steps: list[Step], *, whole: bool = False) -> None:
            """Load what of STEPS was not tried; unless WHOLE until there is news, which may come before the rest."""
            new = [step for step in steps if step.module not in tried]
            there = {step.module for step in new if _is_live(step.module)}
            counts["there"] += len(there)
            tried.update(there)
            new = [step for step in new if step.module not in there]
            for done in load(index, new, system, directory, command_line, failed):
                tried.add(done.step.module)
                counts[_fate(done)] += 1
                for said in filter(None, (done.note, done.error if _fate(done) == "failed" else "")):
                    _tell(done, said)
                if not whole and (look(uevents.read()) or (root and root.find()) or time.monotonic() >= until):
                    break

        while True:
            load_steps(plan(index, found, command_line, classes))
            news = look(uevents.read_all())
            if root and root.find():
                load_steps(index.order(_filesystem(index, root)), whole=True)
                break
            if time.monotonic() >= until:
                what = f"no root: root={root.spec} is not there" if root else "not all modules are loaded"
                raise TinykmodError("coldplug", f"{what} after {args.timeout} s")
            if news or any(step.module not in tried for step in plan(index, found, command_line, classes)):
                continue
            if root is None:
                break
            uevents.wait(until - time.monotonic())
    print(f"{counts['loaded']} modules loaded, {counts['failed']} failed, {counts['there']} were there")
    return 1 if counts["failed"] and root is None else 0


def _filesystem(index: Index, root: RootDevice) -> list[Step]:
    """What serves the filesystem that is on ROOT."""
    kind = root.filesystem()
    found = (index.lookup(f"fs-{kind}") or index.lookup(kind)) if kind else []
    return [Step(match.module, "root", kind) for match in found if not match.builtin]


def _is_live(module: str) -> bool:
    """Whether the kernel has MODULE. For one that something else is loading the kernel waits when it is asked."""
    try:
        return Path("/sys/module", module, "initstate").read_text() == "live\n"
    except OSError:
        return False


def _fate(done: Loaded) -> str:
    """What DONE counts as. A driver that finds no device is no fault."""
    if not done.tried:
        return "forbidden"
    return "loaded" if done.result == 0 else "idle" if done.result == -errno.ENODEV else "failed"


def _classes(args: argparse.Namespace) -> DriverClass | None:
    if args.classes is None:
        return None
    from tinykmod.image.select import parse_classes, with_behind

    return with_behind(parse_classes(args.classes.split(",")))


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
