"""What a killed process leaves running: nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tinykmod.bench import tied


def test_a_program_ends_with_whoever_started_it() -> None:
    script = f"""
import subprocess, sys
sys.path.insert(0, {str(Path(tied.__file__).parent)!r})
import tied
subprocess.run(tied.command("/bin/sh", "-c", "echo $$; exec sleep 1000"))
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert Path("/proc", starter.stdout.readline().strip()).exists()
        starter.kill()
        assert starter.stdout.read() == "", "the pipe ends with the last that has it"


def test_a_program_whose_starter_is_gone_already_does_not_begin() -> None:
    *words, _ = tied.command("/bin/echo", "begun")
    words[words.index(str(os.getpid()))] = "1"
    done = subprocess.run([*words, "begun"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize(("program", "code"), [("/bin/true", 0), ("/bin/false", 1)])
def test_a_programs_exit_code_is_its_own(program: str, code: int) -> None:
    assert subprocess.run(tied.command(program), check=False).returncode == code
