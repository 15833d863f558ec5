"""The command table, the version, and how errors are told."""

from __future__ import annotations

import errno
import hashlib
import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from make_ko import make_ko

import tinykmod
from tinykmod import loaders
from tinykmod.cli import COMMANDS, Command, main
from tinykmod.errors import TinykmodError
from tinykmod.files import replace_all, replacing

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
    late = run_tinykmod("--", "loader")
    assert late.returncode == 2
    assert late.stderr.endswith("tinykmod: error: the command is the first word: tinykmod loader ...\n")


def test_kmods_tools_go_by_their_own_names(tmp_path: Path) -> None:
    link = tmp_path / "depmod"
    link.symlink_to(Path(tinykmod.__file__).with_name("__main__.py"))
    environment = {**os.environ, "PYTHONPATH": str(Path(tinykmod.__file__).parent.parent)}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, link, *words], capture_output=True, text=True, check=False, env=environment
        )

    assert run("-V").stdout.startswith(f"tinykmod {tinykmod.__version__} (")
    wrong = run("--no-such-option")
    assert wrong.returncode == 1, "as kmod's, whose callers know no 2"
    assert wrong.stderr == "tinykmod depmod: option --no-such-option not recognized; see tinykmod depmod --help\n"


@pytest.mark.parametrize("words", [("--help",), ("--version",), ("loader", "--help"), ("loader", "--list")], ids=str)
def test_output_that_nobody_takes(words: tuple[str, ...]) -> None:
    """A reader that has gone is no error; a full disk is one line."""
    command = [sys.executable, "-m", "tinykmod", *words]
    how = {"cwd": Path(tinykmod.__file__).parents[1], "stderr": subprocess.PIPE, "text": True,
           "env": {**os.environ, "PYTHONUNBUFFERED": ""}}  # fmt: skip
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, check=False, **how)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, check=False, **how)
    assert (done.returncode, done.stderr) == (1, "tinykmod: standard output: No space left on device\n")


def shell(script: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line for sh, in which $T is the command."""
    run = f"{sys.executable} -m tinykmod"
    return subprocess.run(
        ["sh", "-c", script.replace("$T", run)], capture_output=True, check=False,
        cwd=Path(tinykmod.__file__).parents[1], env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_descriptors_may_be_closed(tmp_path: Path, closed: str) -> None:
    """The kernel opens none for its helper; what a tool or its install command opens must not take their numbers."""
    (tmp_path / "lib/modules/r").mkdir(parents=True)
    (tmp_path / "modprobe.conf").write_text(f"install foo ls -l /proc/self/fd >{tmp_path}/seen\n")
    assert shell(f"$T depmod -b {tmp_path} r {closed}").returncode == 0
    done = shell(f"$T modprobe -C {tmp_path}/modprobe.conf -d {tmp_path} -S r foo {closed}")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert {line.split()[-3] for line in (tmp_path / "seen").read_text().splitlines()[1:]} >= {"0", "1", "2"}
    failed = shell(f"$T modprobe -C {tmp_path}/modprobe.conf -d {tmp_path} -S r absent {closed}")
    assert (failed.returncode, failed.stdout) == (1, b""), "an error is no output"


@pytest.mark.parametrize(
    "locale",
    [{"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}, {"PYTHONIOENCODING": "latin-1"}],
    ids=["C", "latin-1"],
)
def test_no_locale_changes_names_and_texts(tmp_path: Path, locale: dict[str, str]) -> None:
    ko = tmp_path / os.fsdecode(b"a\xff\xc3\xa9.ko")
    ko.write_bytes(make_ko([("author", "J\u00e4nner"), ("license", "\udcfe")]))
    done = shell("$T modinfo *.ko".replace("*.ko", f"{tmp_path}/*.ko"), **locale)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"filename:       " + os.fsencode(ko) + b"\n" in done.stdout
    assert b"author:         J\xc3\xa4nner\n" in done.stdout
    assert b"license:        \xfe\n" in done.stdout


def test_where_there_is_no_room_the_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "full")

    (tmp_path / "one").write_bytes(b"old")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=f"full: '{tmp_path}/one'"):
        replace_all(tmp_path, {"one": b"new", "two": b"new"})
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"one": b"old"}


def test_what_a_killed_process_left_is_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / f".one.{os.getpid()}").write_bytes(b"half")
    replace_all(tmp_path, {"one": b"new"})
    assert (tmp_path / "one").read_bytes() == b"new"


def test_a_command_that_is_ended_leaves_nothing(tmp_path: Path) -> None:
    """SIGTERM while a file is being written: what stood beside its place is gone."""
    script = f"""
import os, signal, sys
from pathlib import Path
from tinykmod import cli, files
from tinykmod.cli import loader
def run(args):
    with files.replacing(Path({str(tmp_path / "out")!r})) as out:
        out.write(b"half")
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
loader.run = run
sys.exit(cli.main(["loader"]))
"""
    done = subprocess.run([sys.executable, "-c", script], cwd=Path(tinykmod.__file__).parents[1],
                          capture_output=True, text=True, check=False)  # fmt: skip
    assert (done.returncode, done.stderr) == (130, "tinykmod: interrupted\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fails", ["write", "rename"])
def test_a_write_that_fails_names_the_file_that_was_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "full", *([] if fails == "write" else [str(next(tmp_path.iterdir()))]))

    monkeypatch.setattr(*((os, "fsync") if fails == "write" else (Path, "replace")), full)
    with pytest.raises(OSError, match=f"full: '{tmp_path}/out'"), replacing(tmp_path / "out") as out:
        out.write(b"x")
    assert list(tmp_path.iterdir()) == []


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


def test_further_loaders_are_in_a_directory_that_the_user_names(run_tinykmod: Run, tmp_path: Path) -> None:
    for arch in ("z80", platform.machine()):
        (tmp_path / f"tinykmod-{arch}").touch()
        done = run_tinykmod("loader", "--arch", arch, TINYKMOD_LOADERS=str(tmp_path))
        assert done.stdout == f"{tmp_path}/tinykmod-{arch}\n"
    assert run_tinykmod("loader", TINYKMOD_LOADERS="").stdout == f"{loaders.find()}\n"


def test_a_loader_that_was_not_built_is_one_line(run_tinykmod: Run) -> None:
    done = run_tinykmod("loader", "--arch", "z80")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("tinykmod: loader for z80: not built (there: ")
    assert done.stderr.endswith("; in the source tree run scripts/build_loader.py --arch z80\n")
    listed = run_tinykmod("loader", "--list", "--arch", "z80")
    assert (listed.returncode, listed.stdout, listed.stderr) == (1, "", done.stderr)


def test_no_loader_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(loaders, "__file__", str(tmp_path / "__init__.py"))
    assert loaders.at_hand() == {}
    with pytest.raises(TinykmodError, match="not built; in the source tree"):
        loaders.find()
