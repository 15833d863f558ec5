"""The completion scripts, run by the shells that they are for."""

from __future__ import annotations

import argparse
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tinykmod.cli import COMMANDS, completion, main, parser_of
from tinykmod.errors import TinykmodError

#: A module's name is spelled as its file's, whatever the compression; the last is of a module outside the tree.
MODULES_DEP = "kernel/x/snd-one.ko.xz: kernel/b.ko\nkernel/b.ko:\n/opt/outside.ko.zst:\n"

#: A line -> its last word as the one completion has it; {} is the root.
CASES = {
    "tinykmod modi": "modinfo",
    "tinykmod modinfo --par": "--parameters",
    "tinykmod static-nodes -f tm": "tmpfiles",
    "tinykmod index bui": "build",
    "tinykmod insmod {}/lib/modules/1/modules.d": "{}/lib/modules/1/modules.dep",
    "tinykmod modinfo {}/lib/modules/1/modules.d": "{}/lib/modules/1/modules.dep",
    "tinykmod depmod -F {}/lib/modules/1/modules.d": "{}/lib/modules/1/modules.dep",
    "tinykmod modinfo -b {} -k 1 sn": "snd-one",
    "tinykmod modinfo -k 1 --basedir {} -n b ou": "outside",
    "tinykmod modprobe -d {} -S 1 sn": "snd-one",
    "tinykmod completion fi": "fish",
    # By its own name, since that is a link to tinykmod; rmmod is kmod's.
    "modinfo --par": "--parameters",
    "modinfo -b {} -k 1 sn": "snd-one",
}
NOT_OURS = "rmmod --wa"

Complete = Callable[[Path, list[str]], list[list[str]]]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module tree; bin/ has tinykmod, which prints its words, a link to it and another program."""
    root = tmp_path_factory.mktemp("root")
    (root / "lib/modules/1").mkdir(parents=True)
    (root / "lib/modules/1/modules.dep").write_text(MODULES_DEP)
    (root / "bin").mkdir()
    for name in ("tinykmod", "rmmod"):
        (root / "bin" / name).write_text('#!/bin/sh\necho "WORDS<$*>"\n')
        (root / "bin" / name).chmod(0o755)
    (root / "bin/modinfo").symlink_to("tinykmod")
    for shell in completion.SHELLS:
        (root / shell).write_text(completion.script(shell))
    return root


def environment(root: Path) -> dict[str, str]:
    return {**os.environ, "PATH": f"{root}/bin:/usr/bin:/bin", "HOME": str(root), "TERM": "dumb"}


def output(root: Path, *command: str) -> list[str]:
    done = subprocess.run(command, env=environment(root), capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def bash(root: Path, lines: list[str]) -> list[list[str]]:
    """The candidates for each line, as readline would ask for them."""
    ask = """
    source "$0"
    for line; do
      COMP_WORDS=($line); [[ $line == *" " ]] && COMP_WORDS+=("")
      COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMPREPLY=()
      read -r _ _ _ _ function _ < <(complete -p "${COMP_WORDS[0]}" 2>/dev/null)
      [[ $function ]] && $function 2>/dev/null
      echo "${COMPREPLY[*]}"
    done
    """
    return [line.split() for line in output(root, "bash", "--norc", "-c", ask, str(root / "bash"), *lines)]


def fish(root: Path, lines: list[str]) -> list[list[str]]:
    """The candidates for each line."""
    ask = "source $argv[1]; for line in $argv[2..]; echo LINE; complete -C $line; end"
    told = "\n".join(output(root, "fish", "--no-config", "-c", ask, str(root / "fish"), *lines))
    return [[row.split("\t")[0] for row in part.split("\n") if row] for part in told.split("LINE")[1:]]


def zsh(root: Path, lines: list[str]) -> list[list[str]]:
    """The last word of each line after a tab, at a terminal; none where the tab did nothing."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-f", "-i"], environment(root))

    def until(end: str) -> str:
        told, patience = b"", time.monotonic() + 20
        while end.encode() not in told:
            assert time.monotonic() < patience, told
            if select.select([terminal], [], [], 1)[0]:
                told += os.read(terminal, 4096)
        return told.decode()

    try:
        start = f'PS1=; autoload -U compinit; compinit -u -D; eval "$(<{root}/zsh)"; print READ""Y\n'
        os.write(terminal, start.encode())
        until("READY")
        found = []
        for line in lines:
            os.write(terminal, f"{line}\t\n".encode())
            word = until(">").split("WORDS<")[1].split(">")[0].split()[-1]
            found.append([word] if word != line.split()[-1] else [])
        return found
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)


@pytest.mark.parametrize("complete", [bash, zsh, fish], ids=lambda function: function.__name__)
def test_completions(root: Path, complete: Complete) -> None:
    lines = [line.format(root) for line in CASES]
    expected = [[word.format(root)] for word in CASES.values()]
    assert complete(root, [*lines, NOT_OURS]) == [*expected, []]


@pytest.mark.parametrize("complete", [bash, fish], ids=lambda function: function.__name__)
def test_every_command_and_option(root: Path, complete: Complete) -> None:
    commands, *options = complete(root, ["tinykmod ", *(f"tinykmod {command.name} --" for command in COMMANDS)])
    assert sorted(commands) == sorted(command.name for command in COMMANDS)
    for command, found in zip(COMMANDS, options, strict=True):
        parser = parser_of(command)
        long = {word for action in parser._actions for word in action.option_strings if word.startswith("--")}
        assert set(found) == long


def test_values_are_completed_by_what_they_are(root: Path) -> None:
    modules = ["snd-one", "b", "outside"]
    loaded = Path("/proc/modules")
    names = [line.split()[0] for line in loaded.read_text().splitlines()] if loaded.exists() else []
    here = Path("/lib/modules")
    releases = [path.name for path in here.iterdir()] if here.exists() else []
    found = bash(root, [f"tinykmod modinfo -b {root} -k 1 ", "tinykmod rmmod ", "tinykmod depmod ",
                        f"tinykmod depmod -b {root}/b"])  # fmt: skip
    assert sorted(found[0]) == sorted(modules)
    assert sorted(found[1]) == sorted(names)
    assert sorted(found[2]) == sorted(releases)
    assert found[3] == [f"{root}/bin"], "a directory, not the file bash"


def test_nothing_of_kmod_is_completed_without_links(root: Path, tmp_path: Path) -> None:
    (tmp_path / "tinykmod").write_bytes((root / "bin/tinykmod").read_bytes())
    (tmp_path / "tinykmod").chmod(0o755)
    path = f"PATH={tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"
    tools = [command.name for command in COMMANDS if command.kmod]
    told = output(root, "env", path, "bash", "--norc", "-c", 'source "$0"; complete -p', str(root / "bash"))
    assert [line for line in told if line.split()[-1] in tools] == []
    assert any(line.endswith(" tinykmod") for line in told)


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_command(root: Path, capsys: pytest.CaptureFixture[str], shell: str) -> None:
    assert main(["completion", shell]) == 0
    assert capsys.readouterr().out == (root / shell).read_text()
    assert output(root, shell, "-n", str(root / shell)) == []


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(TinykmodError, match="completion: takes the Python package shtab, which is not installed"):
        completion.run(argparse.Namespace(shell="bash"))
