"""`tinykmod why`: why a module or device is, is not, or would not be loaded or bound."""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import textwrap
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", metavar="MODULE|DEVICE|MODALIAS", help="a module's name, alias or .ko file; a "
                        "device's path in /sys, name (0000:00:1f.2) or node in /dev; or its modalias")  # fmt: skip
    parser.add_argument("--sysroot", type=Path, default=Path("/"), metavar="DIR",
                        help="where lib/modules, etc/modprobe.d, boot, sys and proc are (default: /)")  # fmt: skip
    parser.add_argument("-k", "--kernel", metavar="VERSION", help="default: the root's running one, or its only one")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="the trace of the boot that is asked about")
    parser.add_argument("--log", type=Path, metavar="FILE", help="the kernel's log, as dmesg prints it (default: "
                        "the running kernel's, if --sysroot is /)")  # fmt: skip
    parser.add_argument("--image", type=Path, metavar="FILE", help="the initramfs that should have it")
    parser.epilog = ("Exit code 0: it is, or would be, loaded or bound; 1: not, and the lines `because` say why, or "
                     "nothing of that name is there; 2: wrong usage.")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    from tinykmod.cli.trace import read
    from tinykmod.image.archive import read_image
    from tinykmod.inspect import kernel_log
    from tinykmod.inspect.kernel import Kernel, release_of
    from tinykmod.inspect.why import Place, modules_in, why
    from tinykmod.kmod.config import read_config

    trace = read(args.trace) if args.trace else []
    told = next((str(event["release"]) for event in trace if event["ev"] == "start"), None)
    kernel = Kernel(args.sysroot, args.kernel or told or release_of(args.sysroot))
    place = Place(kernel, read_config(args.sysroot), trace=trace)
    if args.log is not None:
        place.log = kernel_log.read_file(args.log)
    elif args.sysroot.resolve() == Path("/") and kernel.is_running:
        place.log = kernel_log.Running().all()
    if args.image is not None:
        place.image, place.image_name = modules_in(read_image(args.image).entries), str(args.image)
    # Cut to the terminal only: what reads a pipe wants a line a finding.
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() or "COLUMNS" in os.environ else 1 << 16
    verdicts = why(place, args.what)
    for verdict in verdicts:
        print(*_wrapped(f"{verdict.about}: {verdict.text}", width, "", "  "), sep="\n")
        for line in dict.fromkeys(verdict.lines):
            print(*_wrapped(line.text, width, f"  {line.word:<8} ", " " * 11), sep="\n")
    return 0 if all(verdict.good for verdict in verdicts) else 1


def _wrapped(text: str, width: int, first: str, rest: str) -> list[str]:
    return textwrap.wrap(text, max(width, 40), initial_indent=first, subsequent_indent=rest,
                         break_long_words=False, break_on_hyphens=False)  # fmt: skip
