"""`tinykmod insmod`: load one module from its file, as insmod(8) does."""

from __future__ import annotations

import argparse
import errno
import os
from pathlib import Path

from tinykmod.cli import messages
from tinykmod.errors import TinykmodError
from tinykmod.inspect.failed import Watch
from tinykmod.kmod.insert import insert
from tinykmod.kmod.names import module_name
from tinykmod.kmod.system import MODULE_INIT_IGNORE_MODVERSIONS, MODULE_INIT_IGNORE_VERMAGIC, Linux

#: kmod's own words for what the kernel answers; for the rest it has strerror(3)'s.
WHY = {
    errno.ENOEXEC: "Invalid module format",
    errno.ENOENT: "Unknown symbol in module",
    errno.ESRCH: "Module has wrong symbol version",
    errno.EINVAL: "Invalid parameters",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--force", action="store_true",
                        help="whatever its version magic and symbol versions are; dangerous")  # fmt: skip
    parser.add_argument("-p", action="store_true", help="ignored, as by kmod")
    messages.add_options(parser)
    parser.add_argument(
        "words", nargs="*", metavar="FILE [PARAMETER=VALUE ...]", help="the module, and its parameters"
    )


def run(args: argparse.Namespace) -> int:
    error = messages.reporter("insmod", syslog=args.syslog)
    if not args.words:
        error("missing filename.")
        return 1
    file, options = args.words[0], " ".join(args.words[1:])
    if file == "-":
        error("this tool does not support loading from stdin!")
        return 1
    flags = MODULE_INIT_IGNORE_MODVERSIONS | MODULE_INIT_IGNORE_VERMAGIC if args.force else 0
    try:
        os.stat(file)  # noqa: PTH116 - no Path: an empty word is not the directory here
    except OSError as missing:
        error(f"could not load module {file}: {missing.strerror}")
        return 1
    watch = Watch(Path("/"), os.uname().release)
    watch.mark()
    try:
        result = insert(Linux(), Path(file), options, flags)
    except OSError as unreadable:
        error(f"could not insert module {file}: {unreadable.strerror}")
        return 1
    except TinykmodError as damaged:
        error(str(damaged))
        return 1
    if result:
        error(f"could not insert module {file}: {WHY.get(-result) or os.strerror(-result)}")
        if cause := watch.cause(module_name(file), Path(file), options, -result):
            error(f"{module_name(file)}: {cause}")
        return 1
    if args.verbose:
        print(" ".join(["insmod", *args.words]))
    return 0
