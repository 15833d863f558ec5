"""`tinykmod initramfs`: an initramfs image with the loader as /init."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tinykmod import loaders
from tinykmod.cli.config import add_config, add_plan
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.image import snapshot
from tinykmod.image.build import COMPRESSIONS, Request, build
from tinykmod.image.select import parse_classes
from tinykmod.trace.plan import read_plan


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("release", metavar="VERSION", help="kernel release, as uname -r says it")
    parser.add_argument(
        "-b",
        "--root",
        type=Path,
        default=Path("/"),
        metavar="ROOT",
        help="where lib/modules, modprobe.d and boot are (default: /)",
    )
    add_config(parser)
    add_plan(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="IMAGE", help="default: initramfs-VERSION.img here")
    parser.add_argument(
        "--class", dest="classes", default="storage", metavar="CLASS,...", help="driver classes (default: storage)"
    )
    parser.add_argument("--for", dest="machine", default="generic", metavar="generic|host|SNAPSHOT",
                        help="of the classes all drivers (default), or those of this machine or of a file that"
                        " `tinykmod snapshot` has written")  # fmt: skip
    parser.add_argument("--strict", action="store_true",
                        help="for a machine, nothing for a disk that was moved")  # fmt: skip
    parser.add_argument("--add", action="append", default=[], metavar="MODULE", help="a module or alias; repeatable")
    parser.add_argument("--compress", choices=COMPRESSIONS, default="zstd", help="default: zstd")
    parser.add_argument(
        "--file",
        action="append",
        default=[],
        metavar="SRC:DST",
        help="put a file of this machine into the image; repeatable",
    )
    parser.add_argument(
        "--modules-load", action="store_true", help="put the root's modules-load.d in, with the modules that it names"
    )
    parser.add_argument("--busybox", type=Path, metavar="PATH", help="a static busybox, for a rescue shell")
    parser.add_argument("--arch", help="machine that the image is for, as uname -m says it (default: this one)")
    parser.add_argument("-v", "--verbose", action="store_true", help="print each module and why it is in the image")


def run(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    output = args.output or Path(f"initramfs-{args.release}.img")
    machine = snapshot.chosen(args.machine)
    request = Request(
        args.root,
        args.release,
        output,
        loaders.find(args.arch or (machine.arch if machine else None)),
        parse_classes(args.classes.split(",")),
        args.add,
        args.compress,
        [_file(text) for text in args.file],
        args.busybox,
        args.modules_load,
        args.config,
        read_plan(args.plan) if args.plan else None,
        machine,
        args.strict,
    )
    image = build(request, counter("reading modules"))
    warn(image.warnings)
    if args.verbose:
        for name, reason in image.modules.items():
            print(f"{name}: {reason}")
    seconds = time.monotonic() - begin
    print(f"{output}: {image.size / 2**20:.1f} MiB, {len(image.modules)} modules, {seconds:.1f} s")
    return 0


def _file(text: str) -> tuple[Path, str]:
    source, colon, target = text.rpartition(":")
    if not (source and colon):
        raise TinykmodError(text, "--file takes SRC:DST")
    return Path(source), target
