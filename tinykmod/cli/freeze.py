"""`tinykmod freeze`: the loader with its boot index, and modules, in one static program."""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from tinykmod.cli.choice import add_choice, chosen, is_choosy
from tinykmod.cli.progress import counter, line, warn
from tinykmod.errors import TinykmodError
from tinykmod.files import check_place, replacing
from tinykmod.image.archive import read_image
from tinykmod.image.build import INDEX_NAME, build
from tinykmod.image.compressions import BY_MODULE
from tinykmod.image.freeze import freeze
from tinykmod.image.request import Request
from tinykmod.index.compiler import compile_index, install_notes
from tinykmod.kmod.config import read_config
from tinykmod.kmod.names import module_name
from tinykmod.modules.packed import SUFFIX
from tinykmod.modules.tree import read_tree
from tinykmod.trace.plan import plan_notes


def configure(parser: argparse.ArgumentParser) -> None:
    add_choice(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PROGRAM")
    parser.add_argument(
        "--with-modules",
        action="store_true",
        help="with the modules that --class, --for, --add and --omit choose; without it the index is that of all"
        " modules, which the image then has as files",
    )


def run(args: argparse.Namespace) -> int:
    check_place(args.output)
    if not args.with_modules and is_choosy(args):
        raise TinykmodError(
            "freeze", "--class, --for, --add, --omit, --strict and --drop-signatures are for --with-modules"
        )
    request = replace(chosen(args, args.output), compress=BY_MODULE, firmware=None)
    index, modules = _of_image(request) if args.with_modules else (_of_tree(request), {})
    program = freeze(request.loader.read_bytes(), request.loader, index, modules)
    with replacing(args.output) as out:
        out.write(program)
    args.output.chmod(0o755)
    print(f"{args.output}: {len(program) / 2**20:.1f} MiB, {len(modules)} modules")
    return 0


def _of_image(request: Request) -> tuple[bytes, dict[str, bytes]]:
    """The index and the packed modules of the image that would be built."""
    with tempfile.TemporaryDirectory() as scratch:
        image = build(replace(request, output=Path(scratch, "image")), line())
        entries = read_image(image.path).entries
    warn(image.warnings)
    index = entries[f"lib/modules/{request.release}/{INDEX_NAME}"].data
    return index, {module_name(path): entry.data for path, entry in entries.items() if path.endswith(SUFFIX)}


def _of_tree(request: Request) -> bytes:
    tree = read_tree(request.root, request.release, progress=counter("reading modules"))
    config = read_config(request.root, paths=request.config)
    warn([*config.warnings, *install_notes(config), *plan_notes(request.plan, tree.by_name)])
    return compile_index(tree, config, plan=request.plan)
