"""Reports: what is not plain text in them, in narrow terminals and in colours; the manual pages name each rule."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from make_ko import make_ko

from tinykmod.inspect import check_rules, lint_rules
from tinykmod.inspect.report import (
    Finding,
    Level,
    Rule,
    as_json,
    as_sarif,
    as_text,
    baseline_of,
    explained,
    read_baseline,
    summary,
    unknown,
)
from tinykmod.terminal import UNLIMITED, Page, columns

RULE = Rule("a-rule", Level.WARNING, "what", "why it is " + "long " * 20, "mend it " + "so " * 30, "a document")
ODD = "kernel/b\udcffd name.ko"


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    findings = [Finding(RULE, ODD, "text \udcfe", 3)]
    [result] = json.loads(as_sarif(findings, "check", [RULE]))["runs"][0]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "kernel/b%FFd%20name.ko"
    assert json.loads(as_json(findings, {}))["findings"][0]["where"] == ODD
    known = tmp_path / "known"
    known.write_bytes(b"# ours\n" + baseline_of(findings) + b"a-rule gone: text\n")
    assert unknown([findings[0]._replace(line=9)], read_baseline(known)) == ([], ["a-rule gone: text"])


def test_texts() -> None:
    findings = [Finding(RULE, f"{number}.ko", "wrong") for number in range(2)]
    findings.append(Finding(RULE._replace(level=Level.NOTE, name="b-rule"), "2.ko", "known"))
    lines = list(as_text(findings, notes=False, width=40, colour=False))
    assert lines[0] == "0.ko: warning: wrong [a-rule]"
    assert lines[-1] == "1.ko: warning: wrong [a-rule]"
    assert all(len(line) <= 40 for text in lines for line in text.split("\n"))
    assert "\033[33mwarning\033[0m" in next(as_text(findings, notes=True, width=40, colour=True))
    assert summary(findings) == "2 warnings, 1 note"
    assert summary([]) == "nothing found"
    assert all(len(line) <= 50 for line in explained(RULE, 50).split("\n"))


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colours_are_for_terminals(tmp_path: Path, no_color: str, coloured: bool) -> None:
    path = tmp_path / "forged.ko"
    path.write_bytes(make_ko())
    master, slave = pty.openpty()
    words = [sys.executable, "-m", "tinykmod", "lint", path]
    environment = {**os.environ, "NO_COLOR": no_color, "COLUMNS": "60", "TERM": "xterm"}
    subprocess.run(words, stdout=slave, check=False, env=environment)
    os.close(slave)
    assert (b"\033[31merror" in os.read(master, 1 << 16)) == coloured
    os.close(master)


@pytest.mark.parametrize(("said", "terminal", "pages", "findings"), [
    ("", 0, 80, UNLIMITED), ("", 120, 100, 120), ("", 60, 60, 60), ("", 20, 40, 40),
    ("72", 0, 72, 72), ("140", 0, 140, 140), ("140", 120, 140, 140), ("none", 0, 80, UNLIMITED), ("0", 60, 60, 60),
])  # fmt: skip
def test_one_rule_for_the_width(
    said: str, terminal: int, pages: int, findings: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """$COLUMNS, else the terminal's columns (0: a pipe), else what suits."""
    monkeypatch.setenv("COLUMNS", said)
    monkeypatch.setattr("sys.stdout.isatty", lambda: terminal > 0)
    monkeypatch.setattr("shutil.get_terminal_size", lambda _: os.terminal_size((terminal, 24)))
    assert Page().columns == pages
    assert columns() == findings


@pytest.mark.parametrize(("name", "rules"), [("check", check_rules.RULES), ("lint", lint_rules.RULES)])
def test_manual_pages_name_the_rules(name: str, rules: tuple[Rule, ...]) -> None:
    text = (Path(__file__).parents[2] / "docs" / "man" / f"tinykmod-{name}.1").read_text()
    for rule in rules:
        assert f'.BR {rule.name} " ({rule.level})"'.replace("-", "\\-") in text
