"""Findings of check and lint, as text, JSON and SARIF, and the baseline of those that are known.

A baseline is a text file of one finding a line, `RULE WHERE: TEXT`, without line numbers, so that it survives edits
elsewhere; `#` begins a comment. It can be written by hand, compared and kept in a repository.
"""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from tinykmod import __version__
from tinykmod.errors import TinykmodError
from tinykmod.nearest import misspelled
from tinykmod.terminal import printable

SARIF_SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"
FINGERPRINT = "tinykmod/v1"


class Level(IntEnum):
    """How bad a finding is, as SARIF has it: an error keeps something from working, a warning does not do what it
    seems to, a note is worth knowing."""

    NOTE = 1
    WARNING = 2
    ERROR = 3

    def __str__(self) -> str:
        return self.name.lower()


class Rule(NamedTuple):
    """What is looked for."""

    name: str  # `unknown-symbol`
    level: Level
    what: str  # one line
    why: str  # what it costs
    mend: str  # how to mend it
    source: str  # where the rule comes from


class Finding(NamedTuple):
    """One thing that a rule found."""

    rule: Rule
    where: str  # a file, below the tree or the root where it can be
    text: str  # one line, without WHERE
    line: int | None = None  # in the file, from 1

    @property
    def known_as(self) -> str:
        """Its line in a baseline."""
        return f"{self.rule.name} {printable(f'{self.where}: {self.text}')}"


def is_wrong(findings: Iterable[Finding]) -> bool:
    """Whether any is more than a note."""
    return any(finding.rule.level > Level.NOTE for finding in findings)


def rule_named(name: str, rules: Sequence[Rule]) -> Rule:
    """The rule of a name. Raises TinykmodError with the nearest names."""
    for rule in rules:
        if rule.name == name:
            return rule
    near = misspelled(name, [rule.name for rule in rules])
    raise TinykmodError(name, f"no such rule{near or '; --rules lists them'}")


def explained(rule: Rule, width: int) -> str:
    """All that there is to say of a rule."""
    parts = (("why", rule.why), ("mend", rule.mend), ("from", rule.source))
    lines = [f"{rule.name} ({rule.level}): {rule.what}"]
    lines += [
        textwrap.fill(text, width, initial_indent=f"  {label:<6}", subsequent_indent=" " * 8) for label, text in parts
    ]
    return "\n".join(lines)


def as_text(findings: Sequence[Finding], *, notes: bool, width: int, colour: bool) -> Iterator[str]:
    """A line for each finding, `WHERE:LINE: LEVEL: TEXT [RULE]`, and below the first of each rule how to mend it.

    Without NOTES those are left out. WIDTH columns are what `mend` is wrapped to; findings are never wrapped. What
    would act on a terminal, as a name in a damaged file may, stands as `?`.
    """
    paint = {Level.ERROR: "31", Level.WARNING: "33", Level.NOTE: "36"} if colour else {}
    told: set[str] = set()
    for finding in findings:
        rule = finding.rule
        if rule.level == Level.NOTE and not notes:
            continue
        level = f"\033[{paint[rule.level]}m{rule.level}\033[0m" if paint else str(rule.level)
        line = "" if finding.line is None else f":{finding.line}"
        yield f"{printable(finding.where)}{line}: {level}: {printable(finding.text)} [{rule.name}]"
        if rule.name not in told:
            told.add(rule.name)
            yield textwrap.fill(rule.mend, width, initial_indent="    mend: ", subsequent_indent=" " * 10)


def summary(findings: Sequence[Finding]) -> str:
    """`2 errors, 1 warning, 30 notes`; `nothing found` for none."""
    count = Counter(finding.rule.level for finding in findings)
    parts = [f"{count[level]} {level}{'s' * (count[level] != 1)}" for level in reversed(Level) if count[level]]
    return ", ".join(parts) or "nothing found"


def as_json(findings: Sequence[Finding], about: dict[str, object]) -> str:
    """One object: ABOUT, `findings` and the `rules` that they name."""
    rules = {finding.rule.name: finding.rule for finding in findings}
    data = {
        "tinykmod": __version__,
        **about,
        "findings": [
            {
                "rule": finding.rule.name,
                "level": str(finding.rule.level),
                "where": finding.where,
                "line": finding.line,
                "text": finding.text,
            }
            for finding in findings
        ],
        "rules": {
            name: {"what": rule.what, "why": rule.why, "mend": rule.mend, "source": rule.source}
            for name, rule in sorted(rules.items())
        },
    }
    return _dumped(data)


def as_sarif(findings: Sequence[Finding], tool: str, rules: Sequence[Rule]) -> str:
    """A log of SARIF 2.1.0 (OASIS standard), with one run of `tinykmod TOOL`."""
    place = {rule.name: number for number, rule in enumerate(rules)}
    return _dumped(
        {
            "$schema": SARIF_SCHEMA,
            "version": "2.1.0",
            "runs": [
                {
                    "tool": {
                        "driver": {
                            "name": f"tinykmod {tool}",
                            "version": __version__,
                            "rules": [
                                {
                                    "id": rule.name,
                                    "shortDescription": {"text": rule.what},
                                    "fullDescription": {"text": rule.why},
                                    "help": {"text": f"{rule.mend} ({rule.source})"},
                                    "defaultConfiguration": {"level": str(rule.level)},
                                }
                                for rule in rules
                            ],
                        }
                    },
                    "results": [
                        {
                            "ruleId": finding.rule.name,
                            "ruleIndex": place[finding.rule.name],
                            "level": str(finding.rule.level),
                            "message": {"text": finding.text},
                            "locations": [{"physicalLocation": _location(finding)}],
                            "partialFingerprints": {FINGERPRINT: finding.known_as},
                        }
                        for finding in findings
                    ],
                }
            ],
        }
    )


def _location(finding: Finding) -> dict[str, object]:
    raw = finding.where.encode("utf-8", "surrogateescape")
    found: dict[str, object] = {"artifactLocation": {"uri": quote(raw)}}
    if finding.line is not None:
        found["region"] = {"startLine": finding.line}
    return found


def _dumped(data: object) -> str:
    # Bytes that are no UTF-8 stand in strings as lone surrogates, which json escapes.
    return json.dumps(data, indent=1)


def read_baseline(path: Path) -> list[str]:
    """The known findings' lines. Raises OSError."""
    text = path.read_bytes().decode(errors="surrogateescape")
    return [line.strip() for line in text.split("\n") if line.strip() and not line.startswith("#")]


def baseline_of(findings: Iterable[Finding]) -> bytes:
    """A baseline in which all these are known."""
    lines = sorted({finding.known_as.strip() for finding in findings})
    return "".join(f"{line}\n" for line in ["# Known findings of tinykmod: RULE WHERE: TEXT", *lines]).encode(
        errors="surrogateescape"
    )


def unknown(findings: Iterable[Finding], known: Sequence[str]) -> tuple[list[Finding], list[str]]:
    """The findings that a baseline does not know, and its lines that no finding is known by any more."""
    lines = set(known)
    new, met = [], set()
    for finding in findings:
        name = finding.known_as.strip()
        (met.add(name) if name in lines else new.append(finding))
    return new, [line for line in known if line not in met]
