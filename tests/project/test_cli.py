"""The command table, the version, and how errors are told."""

from __future__ import annotations

import hashlib
import platform
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import tinykmod
from tinykmod import loaders
from tinykmod.cli import COMMANDS, Command, main
from tinykmod.errors import TinykmodError

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def test_help_prints_the_table(run_tinykmod: Run) -> None:
    done = run_tinykmod("--help")
    assert (done.returncode, done.stderr) == (0, "")
    for command in COMMANDS:
        assert re.search(rf"^  {command.name} +{re.escape(command.help)}$", done.stdout, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_has_help(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main([command.name, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: tinykmod {command.name} ")
    assert command.help in text


@pytest.mark.parametrize(("pure", "core"), [("0", "extension"), ("1", "pure Python")])
def test_the_version_tells_the_core(run_tinykmod: Run, pure: str, core: str) -> None:
    done = run_tinykmod("--version", TINYKMOD_PURE=pure)
    assert (done.returncode, done.stdout) == (0, f"tinykmod {tinykmod.__version__} ({core})\n")


def test_wrong_usage_is_exit_code_2(run_tinykmod: Run) -> None:
    assert run_tinykmod().returncode == 2
    done = run_tinykmod("no-such-command")
    assert done.returncode == 2
    assert "invalid choice: 'no-such-command'" in done.stderr
    assert run_tinykmod("loader", "--no-such-option").returncode == 2


def test_loader_prints_the_path_of_a_program(run_tinykmod: Run) -> None:
    done = run_tinykmod("loader")
    path = Path(done.stdout.removesuffix("\n"))
    assert path.name == f"tinykmod-{platform.machine()}"
    assert path.read_bytes()[:4] == b"\x7fELF"
    assert run_tinykmod("loader", "--arch", platform.machine()).stdout == done.stdout


def test_loader_list_tells_size_and_digest(run_tinykmod: Run) -> None:
    rows = {row.split()[0]: row.split()[1:] for row in run_tinykmod("loader", "--list").stdout.splitlines()}
    assert set(rows) == set(loaders.at_hand())
    data = loaders.find().read_bytes()
    assert rows[platform.machine()] == [str(len(data)), hashlib.sha256(data).hexdigest(), str(loaders.find())]


def test_a_loader_that_was_not_built_is_one_line(run_tinykmod: Run) -> None:
    done = run_tinykmod("loader", "--arch", "z80")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tinykmod: loader for z80: not built (there: ")
    assert done.stderr.endswith("; in the source tree run scripts/build_loader.py --arch z80\n")


def test_no_loader_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loaders, "__file__", str(tmp_path / "__init__.py"))
    assert loaders.at_hand() == {}
    with pytest.raises(TinykmodError, match="not built; in the source tree"):
        loaders.find()
