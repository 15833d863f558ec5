"""`tinykmod initramfs`: an initramfs image with the loader as /init."""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

from tinykmod.cli.choice import add_choice, chosen
from tinykmod.cli.config import there
from tinykmod.cli.progress import line, warn
from tinykmod.errors import TinykmodError
from tinykmod.image.build import build
from tinykmod.image.compressions import COMPRESSIONS
from tinykmod.image.firmware import told


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="IMAGE", help="default: initramfs-VERSION.img here")
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
    parser.add_argument("--why", action="store_true", help="print each file of the image with its size and reason")


def run(args: argparse.Namespace) -> int:
    begin = time.monotonic()
    output = args.output or Path(f"initramfs-{args.release}.img")
    request = replace(
        chosen(args, output),
        compress=args.compress,
        files=[_file(text) for text in args.file],
        busybox=args.busybox,
        modules_load=args.modules_load,
        firmware=None if args.no_firmware else args.firmware,
        init=args.init,
    )
    image = build(request, line())
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
