"""The manual pages: groff has nothing to say of them, man shows them, and they name every option."""

from __future__ import annotations

import argparse
import os
import subprocess
from pathlib import Path

import pytest

from tinykmod.cli import COMMANDS, parser_of

PAGES = sorted((Path(__file__).parents[2] / "docs/man").glob("*.1"))


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_manual_page(path: Path) -> None:
    checked = subprocess.run(
        ["groff", "-man", "-Tutf8", "-ww", "-rLL=80n", path], capture_output=True, text=True, check=True
    )
    assert checked.stderr == ""
    command = next(each for each in COMMANDS if f"tinykmod-{each.name}" == path.stem)
    words = ["man", "-l", path]
    environment = {**os.environ, "MANWIDTH": "80", "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    text = subprocess.run(words, capture_output=True, text=True, check=True, env=environment).stdout
    assert text.startswith(f"TINYKMOD-{command.name.upper()}(1)")
    assert all(len(line) <= 80 for line in text.splitlines())
    for action in parser_of(command)._actions:
        if not isinstance(action, argparse._HelpAction):
            assert all(option in text for option in action.option_strings), action.option_strings
