"""`tinykmod depmod`: the files of depmod(8), for any root and any architecture."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from tinykmod.cli.progress import counter
from tinykmod.files import replace_all
from tinykmod.kmod import depmod
from tinykmod.kmod.depmod_config import read_depmod_config
from tinykmod.kmod.depmod_reading import Reading
from tinykmod.modules.directory import PARENTS, module_directory
from tinykmod.modules.files import find_modules, name_modules
from tinykmod.modules.tree import tree_of


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-a", "--all", action="store_true", help="probe all modules (default without FILE)")
    parser.add_argument(
        "-A", "--quick", action="store_true", help="as -a, but read only what changed since the last -A"
    )
    parser.add_argument("-b", "--basedir", dest="base", type=Path, default=Path("/"), metavar="BASE",
                        help="where lib/modules is (default: /)")  # fmt: skip
    parser.add_argument("-m", "--moduledir", metavar="DIR", help="what lies below BASE instead of lib/modules")
    parser.add_argument("-o", "--outdir", type=Path, metavar="DIR", help="write below DIR instead of BASE")
    parser.add_argument("-C", "--config", action="append", type=Path, metavar="PATH",
                        help="file or directory to read instead of depmod.d; may be given again")  # fmt: skip
    parser.add_argument("-e", "--errsyms", action="store_true",
                        help="report symbols that nothing exports; takes -E or -F")  # fmt: skip
    parser.add_argument("-E", "--symvers", type=Path, metavar="FILE",
                        help="the kernel's Module.symvers; -e then compares CRCs too")  # fmt: skip
    parser.add_argument("-F", "--filesyms", type=Path, metavar="FILE", help="the kernel's System.map")
    parser.add_argument("-P", "--symbol-prefix", type=_character, metavar="CHARACTER",
                        help="what the architecture puts before symbols' names; it is left out")  # fmt: skip
    parser.add_argument("-n", "--dry-run", "--show", action="store_true", help="print the texts, write nothing")
    parser.add_argument("-v", "--verbose", action="store_true", help="print which module needs which, and why")
    parser.add_argument("-q", "--quiet", "-r", "--root", "-u", "--unresolved-error", action="store_true",
                        help="ignored, as by kmod")  # fmt: skip
    parser.add_argument("-w", "--warn", action="store_true", help="report aliases that are there twice")
    parser.add_argument("version", nargs="?", metavar="VERSION", help="default: the running kernel's")
    parser.add_argument("files", nargs="*", metavar="FILE", help="only these modules, by their absolute paths")


def run(args: argparse.Namespace) -> int:
    version = args.version or os.uname().release
    parents = PARENTS if args.moduledir is None else (args.moduledir.strip("/"),)
    prefix = args.symbol_prefix or ""
    kernel = None
    if args.symvers is not None:
        kernel = depmod.read_symvers(args.symvers, prefix)
    elif args.filesyms is not None:
        kernel = depmod.read_system_map(args.filesyms, prefix)
    elif args.errsyms:
        _warn("-e needs -E or -F")
    directory = module_directory(args.base.absolute(), version, parents)
    config = read_depmod_config(version, args.config)
    for warning in config.warnings:
        _warn(warning)
    only = bool(args.files) and not (args.all or args.quick)
    files = name_modules(directory, args.files) if only else find_modules(directory, config)
    target = directory if args.outdir is None else args.outdir / parents[0] / version
    cache = None
    if args.quick:
        from tinykmod.kmod.depmod_cache import DepmodCache, digests

        sources = digests(directory / name for name in depmod.FROM_BUILD)
        cache = DepmodCache(directory, target.absolute(), files, [prefix, *sources])
        reports = args.errsyms or args.verbose or args.warn or args.dry_run
        if not reports and cache.is_current():
            return 0
    reading = Reading(directory, files, cache.records() if cache else {}, counter("reading modules"))
    made = _make(args, reading, version, kernel if args.errsyms else None, prefix)
    for warning in made.warnings:
        _warn(warning)
    if args.dry_run:
        sys.stdout.flush()
        sys.stdout.buffer.write(b"".join(made.files[name] for name in depmod.TEXTS))
        return 0
    if args.outdir is not None:
        target.mkdir(parents=True, exist_ok=True)
    replace_all(target, made.files)
    if cache is not None:
        try:
            cache.write([reading.record(number) for number in range(len(files))], made.files)
        except OSError as error:
            # The next -A reads everything again; what was asked for is done.
            _warn(f"{error.filename}: {error.strerror}, so nothing is remembered")
    return 0


def _make(
    args: argparse.Namespace, reading: Reading, version: str, kernel: depmod.KernelSymbols | None, prefix: str
) -> depmod.Made:
    """The files, and what was asked to be told about the modules."""
    if not (prefix or args.verbose or args.warn):
        made = reading.make(kernel)
        if made is not None:
            return depmod.make(tree_of(reading.directory, version, [], b""), made)
    tree = tree_of(reading.directory, version, reading.modules(), b"")
    if prefix:
        tree = depmod.without_prefix(tree, prefix)
    if kernel is not None:
        for fault in depmod.symbol_faults(tree, kernel):
            _warn(fault)
    if args.verbose:
        for line in depmod.needs(tree):
            print(line)
    if args.warn:
        for duplicate in depmod.duplicates(tree):
            _warn(duplicate)
    return depmod.make(tree)


def _character(word: str) -> str:
    if len(word) != 1:
        raise argparse.ArgumentTypeError("takes a single character")
    return word


def _warn(text: str) -> None:
    """As depmod words it."""
    print(f"depmod: WARNING: {text}", file=sys.stderr)
