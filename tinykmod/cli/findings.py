"""How check and lint tell what they found: options, output, exit code."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from tinykmod import terminal
from tinykmod.files import replacing
from tinykmod.inspect import report as reports
from tinykmod.inspect.report import Finding, Level, Rule


def add_report(parser: argparse.ArgumentParser, rules: Sequence[Rule]) -> None:
    """--json, --sarif, --notes, --baseline, --write-baseline, --rules and --explain."""
    kinds = parser.add_mutually_exclusive_group()
    kinds.add_argument("--json", action="store_true", help="print all findings, notes too, as JSON")
    kinds.add_argument("--sarif", action="store_true", help="print them as SARIF 2.1.0, as code hosts take it")
    parser.add_argument("--notes", action="store_true", help="print notes as well: what is worth knowing, not wrong")
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="leave out the findings that FILE lists")
    parser.add_argument("--write-baseline", type=Path, metavar="FILE",
                        help="write what is found to FILE, for --baseline, and exit 0")  # fmt: skip
    parser.add_argument("--rules", action="store_true", help=f"list the {len(rules)} rules and exit")
    parser.add_argument("--explain", metavar="RULE", help="say why a rule is there and how to mend it, and exit")


def report(
    args: argparse.Namespace,
    tool: str,
    rules: Sequence[Rule],
    work: Callable[[], tuple[list[Finding], dict[str, object]]],
) -> int:
    """Do the work, tell its findings as was asked for; 1 where any is more than a note. Work also gives what JSON
    says of it beside the findings."""
    width = terminal.columns()
    if args.rules:
        longest = max(len(rule.name) for rule in rules)
        for rule in rules:
            print(f"{rule.name:<{longest}}  {rule.level!s:<7}  {rule.what}")
        return 0
    if args.explain is not None:
        print(reports.explained(reports.rule_named(args.explain, rules), width))
        return 0
    known = reports.read_baseline(args.baseline) if args.baseline is not None else []
    findings, about = work()
    if args.write_baseline is not None:
        with replacing(args.write_baseline) as out:
            out.write(reports.baseline_of(findings))
        print(f"{args.write_baseline}: {reports.summary(findings)}", file=sys.stderr)
        return 0
    findings, gone = reports.unknown(findings, known)
    if args.json:
        print(reports.as_json(findings, about))
    elif args.sarif:
        print(reports.as_sarif(findings, tool, rules))
    else:
        for line in reports.as_text(findings, notes=args.notes, width=width, colour=terminal.coloured()):
            print(line)
        notes = any(finding.rule.level == Level.NOTE for finding in findings)
        hint = "; --notes shows the notes" if notes and not args.notes else ""
        left = f"; {len(known) - len(gone)} known" if known else ""
        number = about["modules"]
        subject = about.get("tree", f"{number} module{'s' * (number != 1)}")
        lines = f"{len(gone)} line{'s fit' if len(gone) > 1 else ' fits'}"
        outdated = f"; {lines} nothing any more in {args.baseline}" if gone else ""
        print(f"{subject}: {reports.summary(findings)}{left}{outdated}{hint}")
    return 1 if reports.is_wrong(findings) else 0
