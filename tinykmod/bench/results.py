"""A directory with what was measured: `bench.json` says of what, `runs.jsonl` has a line a boot.

Whoever is killed loses the boot that was under way and no other: a line is one write at the file's end, and on the
disk before the next boot begins. `warmup.jsonl` has the boots that count for nothing.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from tinykmod.bench.measured import Measured, measured_of
from tinykmod.errors import TinykmodError
from tinykmod.files import replacing

ABOUT, RUNS, WARMUP = "bench.json", "runs.jsonl", "warmup.jsonl"
#: What is in `bench.json` under "format".
FORMAT = "tinykmod-bench 1"

#: (contender, machine, engine, number of the run).
Key = tuple[str, str, str, int]


def key_of(run: Measured) -> Key:
    return (run.contender, run.machine, run.engine, run.run)


class Log:
    """A file of boots, by their keys."""

    def __init__(self, path: Path) -> None:
        """Take up what PATH has, or begin it. Raises TinykmodError where a line of it is something else, OSError."""
        self.path = path
        with path.open("ab") as file:
            # Half a line is what a killed process has left.
            file.truncate(_whole(path))
            self._sync(file)
        self.runs = {key_of(run): run for run in read_runs(path)}

    def add(self, run: Measured) -> None:
        """Keep RUN, on the disk when this returns. Raises OSError; nothing of RUN is in the file then."""
        with self.path.open("ab") as file:
            end = file.tell()
            try:
                file.write(f"{json.dumps(run.to_json())}\n".encode())
                self._sync(file)
            except OSError:
                os.truncate(self.path, end)
                raise
        self.runs[key_of(run)] = run

    def _sync(self, file: BinaryIO) -> None:
        try:
            file.flush()
            os.fsync(file.fileno())
        except OSError as error:
            error.filename = os.fspath(self.path)
            raise


def read_runs(path: Path) -> list[Measured]:
    """The boots of a `runs.jsonl`, or of the directory that has it.

    Of two with one key it is the later, for which the other was tried anew; half a line at the end is no boot yet.
    Raises TinykmodError for a line that is no boot, OSError.
    """
    path = path / RUNS if path.is_dir() else path
    lines = path.read_bytes()[: _whole(path)].split(b"\n")[:-1]
    found = [_run(line, f"{path}: line {number}") for number, line in enumerate(lines, 1)]
    return list({key_of(run): run for run in found}.values())


def read_about(directory: Path) -> dict[str, Any]:
    """`bench.json` of a directory; empty where there is none. Raises TinykmodError where it is something else."""
    path = directory / ABOUT
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        found = None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise TinykmodError(path, "is not what `tinykmod bench` of this version writes")
    return found


def write_about(directory: Path, about: Mapping[str, Any]) -> None:
    with replacing(directory / ABOUT) as out:
        out.write(f"{json.dumps(about, indent=1)}\n".encode())


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """DIRECTORY, made where it is missing, for this process alone. Raises TinykmodError where another has it."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TinykmodError(directory, "another bench writes its results there") from None
        yield
    finally:
        os.close(descriptor)


def _whole(path: Path) -> int:
    """Bytes of PATH's whole lines."""
    return path.read_bytes().rfind(b"\n") + 1


def _run(line: bytes, which: str) -> Measured:
    try:
        found = json.loads(line)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise TinykmodError(which, "is no measured boot")
    return measured_of(found, which)
