"""`tinykmod rmmod`: take modules out of the kernel, as rmmod(8) does."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tinykmod.cli import messages
from tinykmod.kmod.loaded import holders_of, refcount_of, state_of
from tinykmod.kmod.lookup import ModuleFiles
from tinykmod.kmod.names import module_name
from tinykmod.kmod.system import Linux, System
from tinykmod.modules.directory import directory_of

#: Seconds between two looks of --wait.
PAUSE = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--force", action="store_true",
                        help="also one that is in use, if the kernel allows it; dangerous")  # fmt: skip
    parser.add_argument("-w", "--wait", action="store_true", help="wait until the module is not in use")
    messages.add_options(parser)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a loaded module's name, or its file")


def run(args: argparse.Namespace) -> int:
    error = messages.reporter("rmmod", syslog=args.syslog)
    if not args.modules:
        error("missing module name.")
        return 1
    return messages.reported(error, partial(_run, args, error))


def _run(args: argparse.Namespace, error: Callable[[str], object]) -> int:
    good = True
    for why in remove(args, Linux(), Path("/")):
        error(why)
        good = False
    return 0 if good else 1


def remove(args: argparse.Namespace, system: System, root: Path) -> Iterator[str]:
    """Remove one module after the other; yields why one is not removed. proc/ and sys/ are below ROOT."""
    for name in map(module_name, args.modules):
        # The modules that hold it will not go by themselves.
        while args.wait and not holders_of(name, root) and refcount_of(name, root):
            time.sleep(PAUSE)
        obstacle = "" if args.force else _obstacle(name, root)
        if obstacle:
            yield obstacle
            continue
        result = system.delete_module(name, os.O_NONBLOCK | (os.O_TRUNC if args.force else 0))
        if result:
            yield f"could not remove module {name}: {os.strerror(-result)}"
        elif args.verbose:
            print(f"rmmod {name}")


def _obstacle(name: str, root: Path) -> str:
    if ModuleFiles(directory_of(root, os.uname().release)).is_builtin(name):
        return f"Module {name} is builtin."
    if not state_of(name, root):
        return f"Module {name} is not currently loaded"
    holders = holders_of(name, root)
    if holders:
        return f"Module {name} is in use by: {' '.join(holders)}"
    count = refcount_of(name, root)
    if count is None:
        return "Module unloading is not supported"
    return f"Module {name} is in use" if count else ""
