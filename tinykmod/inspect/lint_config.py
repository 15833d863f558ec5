"""Which rules count, and how much: a text file of one statement a line, and `--only` and `--off`.

    off RULE [PATTERN ...]                     nothing of this rule
    error|warning|note RULE [PATTERN ...]      findings of this rule are of this level
    only RULE ...                              no other rules

A PATTERN is the shell's, of modules' names; without one a line is for all modules. RULE `*` is every rule. The last
line that fits counts. `#` begins a comment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from tinykmod.errors import TinykmodError
from tinykmod.inspect.report import Finding, Level, Rule, rule_named
from tinykmod.kmod.names import module_name

_LEVELS = {str(level): level for level in Level}


class Statement(NamedTuple):
    """One line."""

    level: Level | None  # None: off
    rule: str  # `*` is every one
    patterns: tuple[str, ...] = ()  # none: every module


class LintConfig:
    """What counts. Without a statement everything does, at the rules' own levels."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.statements: list[Statement] = []
        self._rules = rules

    def only(self, names: Iterable[str]) -> None:
        """No rules but these. Raises TinykmodError for one that there is not."""
        self.statements.append(Statement(None, "*"))
        for name in names:
            rule = rule_named(name, self._rules)
            self.statements.append(Statement(rule.level, rule.name))

    def off(self, names: Iterable[str]) -> None:
        """None of these rules. Raises TinykmodError for one that there is not."""
        self.statements += [Statement(None, rule_named(name, self._rules).name) for name in names]

    def read(self, path: Path) -> None:
        """Add a file's statements. Raises OSError, TinykmodError with file and line for one that means nothing."""
        for number, line in enumerate(path.read_bytes().decode(errors="surrogateescape").split("\n"), 1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                self._add(*words)
            except TinykmodError as error:
                raise TinykmodError(f"{path}:{number}", str(error)) from None

    def _add(self, word: str, *rest: str) -> None:
        if word not in ("off", "only", *_LEVELS):
            raise TinykmodError(word, f"is none of off, only, {', '.join(_LEVELS)}")
        if not rest:
            raise TinykmodError(word, "names no rule")
        if word == "only":
            self.only(rest)
            return
        rule, *patterns = rest
        name = rule if rule == "*" else rule_named(rule, self._rules).name
        self.statements.append(Statement(_LEVELS.get(word), name, tuple(map(module_name, patterns))))

    def applied(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings that count, at the levels that were given."""
        kept = []
        for finding in findings:
            level: Level | None = finding.rule.level
            name = module_name(finding.where)
            for statement in self.statements:
                fits = not statement.patterns or any(fnmatchcase(name, pattern) for pattern in statement.patterns)
                if statement.rule in ("*", finding.rule.name) and fits:
                    level = statement.level
            if level is not None:
                kept.append(finding._replace(rule=finding.rule._replace(level=level)))
        return kept
