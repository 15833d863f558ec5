"""The same boots on every place of a lab at once, and what they left in one list.

Each place is a board of its own, so each makes all of the boots: a Measured tells by its `engine` whose it is.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from pathlib import Path

from tinykmod.bench.lab.engine import Lab, targets
from tinykmod.bench.machines import Machine
from tinykmod.bench.marks import measured
from tinykmod.bench.measured import Measured
from tinykmod.errors import TinykmodError


@dataclass(frozen=True)
class Boot:
    """What engines' boot() takes, and what the boot is called in its results."""

    contender: str
    run: int
    kernel: Path
    initrd: Path
    machine: Machine
    disks: tuple[Path, ...] = ()
    append: str = ""
    timeout: float = 180


def boot_all(file: Path, boots: Sequence[Boot], names: Sequence[str] = ()) -> Iterator[Measured]:
    """BOOTS on each target of the environment FILE (or those of NAMES), as they end; those of one place in order.

    A boot that could not be begun is a Measured as well, with `ended` as `failed`. Raises TinykmodError for a file
    that is none. Places that have yet to end are left, and switched off, when the iterator is closed.
    """
    found = list(names) or targets(file)
    # A process for each: labgrid has one session with the coordinator in a process, and it is of one thread.
    context = multiprocessing.get_context("spawn")
    results: Queue[Measured | None] = context.Queue()
    processes = [context.Process(target=_place, args=(f"{file}#{name}", boots, results)) for name in found]
    for process in processes:
        process.start()
    try:
        running = len(processes)
        while running:
            result = results.get()
            if result is None:
                running -= 1
            else:
                yield result
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _place(argument: str, boots: Sequence[Boot], results: Queue[Measured | None]) -> None:
    """A place's process: a Measured for each of BOOTS, then None."""
    try:
        for boot in boots:
            results.put(_measure(argument, boot))
    finally:
        results.put(None)


def _measure(argument: str, boot: Boot) -> Measured:
    name = f"labgrid:{argument}"
    try:
        result = Lab(argument).boot(boot.kernel, boot.initrd, boot.machine, boot.disks, boot.append, boot.timeout)
    except TinykmodError as error:
        return Measured(boot.contender, boot.machine.name, name, boot.run, "failed", error=str(error))
    return measured(result, contender=boot.contender, machine=boot.machine.name, engine=name, run=boot.run,
                    image_bytes=boot.initrd.stat().st_size)  # fmt: skip
