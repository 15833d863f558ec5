"""`tinykmod index build|dump|match`."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from enum import IntFlag
from pathlib import Path

from tinykmod.cli.config import add_config, add_plan
from tinykmod.cli.progress import counter, warn
from tinykmod.errors import TinykmodError
from tinykmod.files import check_place, replacing
from tinykmod.index.compiler import compile_index, install_notes
from tinykmod.index.opening import open_index
from tinykmod.index.reader import Index
from tinykmod.index.schema import Root
from tinykmod.kmod.config import read_config
from tinykmod.modules.tree import read_tree
from tinykmod.trace.plan import plan_notes, read_plan


def configure(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|dump|match")
    build = actions.add_parser("build", help="make the boot index of a kernel's modules")
    build.add_argument("-b", dest="root", type=Path, default=Path("/"), metavar="ROOT", help="default: /")
    add_config(build)
    add_plan(build)
    build.add_argument("-o", dest="output", type=Path, metavar="FILE", help="default: VERSION.tki")
    build.add_argument("version", metavar="VERSION", help="the kernel release, as in /lib/modules/VERSION")
    dump = actions.add_parser("dump", help="print what an index holds")
    dump.add_argument("--json", action="store_true")
    dump.add_argument("file", type=Path, metavar="FILE")
    match = actions.add_parser("match", help="print the modules that a modalias (or a name) leads to")
    match.add_argument("--plan", action="store_true", help="print the load order instead")
    match.add_argument("file", type=Path, metavar="FILE")
    match.add_argument("modalias", nargs="+", metavar="MODALIAS")


def run(args: argparse.Namespace) -> int:
    return {"build": _build, "dump": _dump, "match": _match}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    output = Path(f"{args.version}.tki") if args.output is None else args.output
    check_place(output)
    plan = read_plan(args.plan) if args.plan else None
    tree = read_tree(args.root, args.version, progress=counter("reading modules"))
    config = read_config(args.root, paths=args.config)
    warn([*config.warnings, *install_notes(config), *plan_notes(plan, tree.by_name)])
    data = compile_index(tree, config, plan=plan)
    with replacing(output) as out:
        out.write(data)
    print(f"{output}: {len(data)} bytes, {len(tree.modules)} modules")
    return 0


def _dump(args: argparse.Namespace) -> int:
    index = Index(args.file.read_bytes(), str(args.file))
    modules = [index.module(name) for name in index.names]
    aliases: dict[str, list[str]] = {}
    for pattern, name in index.aliases():
        aliases.setdefault(name, []).append(pattern)
    others = {root.name.lower(): sorted(index.aliases(root)) for root in (Root.CONFIG, Root.BUILTIN)}
    if args.json:
        out = {
            "release": index.release,
            "byteorder": index.byteorder,
            "bytes": len(index.data),
            "digest": index.digest.hex(),
            "classes": _bits(index.classes),
            "builtin": index.builtin,
            **{f"{label}_aliases": pairs for label, pairs in others.items()},
            "configuration": [
                {"kind": item.kind.name.lower(), "name": item.name, "text": item.text, "where": item.where}
                for item in index.statements
            ],
            "plan": [{**item._asdict(), "flags": _bits(item.flags)} for item in index.planned],
            "modules": [
                {
                    **asdict(module),
                    "classes": _bits(module.classes),
                    "flags": _bits(module.flags),
                    "aliases": sorted(aliases.get(module.name, [])),
                }
                for module in modules
            ],
        }
        json.dump(out, sys.stdout, indent=1)
        print()
        return 0
    print(f"kernel {index.release}, {index.byteorder}-endian, {len(index.data)} bytes")
    print(f"made from {index.digest.hex()}")
    print(f"{len(modules)} modules, {sum(map(len, aliases.values()))} aliases, {len(index.builtin)} builtin modules")
    for module in modules:
        print(f"\n{module.name}  {module.path}  {' '.join(_bits(module.classes))}")
        lists = {"needs": module.deps, "pre": module.pre, "post": module.post, "weak": module.weak}
        for label, names in lists.items():
            if names:
                print(f"  {label}: {' '.join(names)}")
        if module.options:
            print(f"  options: {module.options}")
        if module.flags:
            print(f"  flags: {' '.join(_bits(module.flags))}")
        for pattern in sorted(aliases.get(module.name, [])):
            print(f"  alias: {pattern}")
    for label, pairs in others.items():
        if pairs:
            print(f"\naliases, {label}:")
        for pattern, name in pairs:
            print(f"  {pattern}  {name or 'off'}")
    if index.planned:
        print("\nplan (milliseconds to the end of what waits for it):")
    for item in index.planned:
        print(f"  {item.length / 1000:9.3f}  {' '.join([item.module, *_bits(item.flags)])}")
    if index.statements:
        print("\nconfiguration:")
    for statement in index.statements:
        print(f"  {statement.where}: {statement}")
    return 0


def _bits(flags: IntFlag) -> list[str]:
    """The names of the bits that are set, in lower case."""
    return [str(member.name).lower() for member in type(flags) if member & flags]


def _match(args: argparse.Namespace) -> int:
    index = open_index(args.file.read_bytes(), str(args.file))
    found = {modalias: index.lookup(modalias) for modalias in args.modalias}
    for step in index.plan(args.modalias) if args.plan else ():
        options = index.options(step.module)
        print(f"{step.module}  {step.why}: {step.by}" + (f"  [{options}]" if options else ""))
    for modalias, matches in found.items() if not args.plan else ():
        loaded = {step.module for step in index.plan([modalias])}
        for match in matches:
            # Where nothing else needs it, only the blacklist keeps a module out of its own plan.
            note = " (builtin)" if match.builtin else " (blacklisted)" if match.module not in loaded else ""
            print(f"{modalias + ': ' if len(found) > 1 else ''}{match.module}{note}  {match.pattern or 'by name'}")
    if missing := [modalias for modalias, matches in found.items() if not matches]:
        raise TinykmodError(", ".join(missing), f"no module in {args.file} matches")
    return 0
