"""`tinykmod why`: why a module or device is, is not, or would not be loaded or bound."""

from __future__ import annotations

import argparse
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
    from tinykmod import terminal
    from tinykmod.cli.trace import read
    from tinykmod.image.archive import read_image
    from tinykmod.inspect import kernel_log
    from tinykmod.inspect.kernel import Kernel
    from tinykmod.inspect.place import Place, modules_in
    from tinykmod.inspect.roots import release_below
    from tinykmod.inspect.why import why
    from tinykmod.kmod.config import read_config

    trace = read(args.trace) if args.trace else []
    told = next((str(event["release"]) for event in trace if event["ev"] == "start"), None)
    kernel = Kernel(args.sysroot, release_below(args.sysroot, args.kernel or told, args.sysroot))
    place = Place(kernel, read_config(args.sysroot), trace=trace)
    if args.log is not None:
        place.log = kernel_log.read_file(args.log)
    elif args.sysroot.resolve() == Path("/") and kernel.is_running:
        place.log = kernel_log.Running().all()
    if args.image is not None:
        place.image, place.image_name = modules_in(read_image(args.image).entries), str(args.image)
    page = terminal.Page(terminal.columns())
    verdicts = why(place, args.what)
    for verdict in verdicts:
        page.title(f"{verdict.about}: {verdict.text}")
        for line in verdict.lines:
            page.add(f"  {line.word}", line.text)
    print(page)
    return 0 if all(verdict.good for verdict in verdicts) else 1
