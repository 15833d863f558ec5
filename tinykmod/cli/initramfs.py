"""`tinykmod initramfs`: an initramfs image with the loader as /init."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tinykmod import loaders
from tinykmod.cli.config import add_config, add_plan, there
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.image import snapshot
from tinykmod.image.build import COMPRESSIONS, Request, build
from tinykmod.image.firmware import told
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
    parser.add_argument("--for", dest="machine", default="generic", metavar="generic|host|SNAPSHOT|PROFILE",
                        help="of the classes all drivers (default), or those of this machine, of a file that"
                        " `tinykmod snapshot` has written, or of a kind of machines:"
                        f" {', '.join(snapshot.profiles())}")  # fmt: skip
    parser.add_argument(
        "--add",
        action="append",
        default=[],
        metavar="MODULE",
        help="a module, a pattern of modules' names (in quotes) or an alias; repeatable",
    )
    parser.add_argument(
        "--omit",
        action="append",
        default=[],
        metavar="MODULE",
        help="leave these out, as --add takes them, and what cannot be loaded without them; repeatable",
    )
    firmware = parser.add_mutually_exclusive_group()
    firmware.add_argument(
        "--firmware",
        action="append",
        default=[],
        type=there,
        metavar="DIR",
        help="look for firmware here before ROOT's lib/firmware; repeatable",
    )
    firmware.add_argument("--no-firmware", action="store_true", help="put no firmware in, and miss none")
    parser.add_argument("--strict", action="store_true",
                        help="missing firmware is an error; for a machine, nothing for a moved disk")  # fmt: skip
    parser.add_argument("--compress", choices=COMPRESSIONS, default="",
                        help="`modules` compresses each module by itself, the others but `none` the whole image"
                        " (default: the first that the kernel can undo)")  # fmt: skip
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
    parser.add_argument("--init", type=there, metavar="PATH",
                        help="a program that is to be /init; the loader is then /sbin/tinykmod")  # fmt: skip
    parser.add_argument("--arch", help="machine that the image is for, as uname -m says it (default: this one)")
    parser.add_argument("--why", action="store_true", help="print each file of the image with its size and reason")


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
        args.omit,
        args.compress,
        [_file(text) for text in args.file],
        args.busybox,
        args.modules_load,
        args.config,
        read_plan(args.plan) if args.plan else None,
        None if args.no_firmware else args.firmware,
        machine,
        init=args.init,
        strict=args.strict,
    )
    image = build(request, counter("reading modules"))
    warn([*image.warnings, *told(image.missing_firmware)])
    if args.why:
        print(*image.files, sep="\n")
    seconds = time.monotonic() - begin
    print(f"{output}: {image.size / 2**20:.1f} MiB, {len(image.modules)} modules, {seconds:.1f} s")
    return 0


def _file(text: str) -> tuple[Path, str]:
    source, colon, target = text.rpartition(":")
    if not (source and colon):
        raise TinykmodError(text, "--file takes SRC:DST")
    return Path(source), target
