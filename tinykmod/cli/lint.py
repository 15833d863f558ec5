"""`tinykmod lint`: what a module's author should mend."""

from __future__ import annotations

import argparse
from pathlib import Path

from tinykmod.cli.config import there
from tinykmod.cli.findings import add_report, report
from tinykmod.cli.progress import counter
from tinykmod.errors import TinykmodError
from tinykmod.inspect.lint import lint
from tinykmod.inspect.lint_config import LintConfig
from tinykmod.inspect.lint_rules import RULES
from tinykmod.inspect.report import Finding
from tinykmod.modules.files import find_modules


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=there, metavar="FILE",
                        help="lines `off|LEVEL RULE [PATTERN ...]` and `only RULE ...`")  # fmt: skip
    parser.add_argument("--only", metavar="RULE,...", help="no rules but these")
    parser.add_argument("--off", metavar="RULE,...", help="none of these rules")
    add_report(parser, RULES)
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE|DIR", help="modules, and directories of modules")


def run(args: argparse.Namespace) -> int:
    return report(args, "lint", RULES, lambda: _lint(args))


def _lint(args: argparse.Namespace) -> tuple[list[Finding], dict[str, object]]:
    if not args.files:
        raise TinykmodError("lint", "names no module and no directory")
    config = LintConfig(RULES)
    if args.config is not None:
        config.read(args.config)
    if args.only is not None:
        config.only(args.only.split(","))
    if args.off is not None:
        config.off(args.off.split(","))
    paths: list[Path] = []
    for path in args.files:
        if path.is_file() or not path.exists():
            paths.append(path)
        elif not path.is_dir():
            # A pipe or a device may have no end.
            raise TinykmodError(path, "is neither a file nor a directory")
        elif inside := find_modules(path):
            paths += sorted(path / file.path for file in inside)
        else:
            raise TinykmodError(path, "holds no module")
    findings = lint(paths, progress=counter("reading modules"))
    return config.applied(findings), {"modules": len(paths)}
