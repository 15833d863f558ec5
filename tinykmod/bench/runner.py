"""Does a suite's boots: in rounds, in each of which every contender has its turn on every machine."""

from __future__ import annotations

import multiprocessing
import multiprocessing.pool
import multiprocessing.queues
import signal
import statistics
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tinykmod.bench import tied
from tinykmod.bench.engines import engine, has_boards
from tinykmod.bench.machines import Machine
from tinykmod.bench.marks import LOGIN, measured
from tinykmod.bench.measured import Measured
from tinykmod.bench.prepare import STEADY, File, Prepared
from tinykmod.bench.results import RUNS, WARMUP, Key, Log
from tinykmod.bench.suite import Suite
from tinykmod.errors import TinykmodError

#: How a boot ended that could not be begun: the next time it is tried anew.
FAILED = "failed"


@dataclass(frozen=True)
class Boot:
    """One boot that is to be done. Of `warm` ones nothing counts."""

    key: Key
    warm: bool
    kernel: Path
    image: File
    machine: Machine
    disks: tuple[Path, ...]
    append: str
    timeout: float
    #: Regular expressions for the console's line that ends the boot, and for that by which the root's init runs.
    stop_on: str
    until: str


def rounds(suite: Suite, machines: Sequence[str]) -> Iterator[tuple[bool, Key]]:
    """Every boot of SUITE in its turn, warm-ups before the rest: (is a warm-up, key).

    In each round another contender comes first, so that none always runs in the same one's wake.
    """
    warm = {name: warmups(suite, name) for name in suite.engines}
    numbers = [(True, number) for number in range(1, max(warm.values()) + 1)]
    numbers += [(False, number) for number in range(1, suite.runs + 1)]
    names = [contender.name for contender in suite.contenders]
    for is_warm, number in numbers:
        first = (number - 1) % len(names)
        for name in suite.engines:
            if is_warm and number > warm[name]:
                continue
            for machine in machines:
                for contender in names[first:] + names[:first]:
                    yield is_warm, (contender, machine, name, number)


def warmups(suite: Suite, name: str) -> int:
    """Boots that go before those of engine NAME: only these may bring its files into the host's memory."""
    return (0 if name == STEADY else 1) if suite.warmup is None else suite.warmup


def run(
    prepared: Prepared,
    directory: Path,
    *,
    jobs: int = 1,
    show: Callable[[str], None],
    tell: Callable[[Measured, str], None],
) -> Sequence[Measured]:
    """Do the boots that DIRECTORY lacks, and return all that it then has.

    SHOW gets what is under way, TELL each boot that has ended, and how far that is. JOBS boots are done at the same
    time where the engine is STEADY, and one on each board of a lab. Raises TinykmodError, OSError; what was done by
    then is kept.
    """
    logs = {False: Log(directory / RUNS), True: Log(directory / WARMUP)}
    turns = rounds(prepared.suite, list(prepared.machines))
    every = [(warm, key) for warm, key in turns if key[:2] in prepared.images]
    pace = _Pace([*logs[True].runs.values(), *logs[False].runs.values()], jobs)
    missing = [_boot_of(prepared, warm, key) for warm, key in every
               if (kept := logs[warm].runs.get(key)) is None or kept.ended == FAILED]  # fmt: skip
    done = len(every) - len(missing)
    together = [boot for boot in missing if boot.key[2] == STEADY and jobs > 1]
    apart = [boot for boot in missing if has_boards(boot.key[2])]
    alone = [boot for boot in missing if boot not in together and boot not in apart]
    left = {(boot.warm, boot.key) for boot in missing}

    def status(boot: Boot | None = None) -> str:
        what = "" if boot is None else f": {_called(boot.key, boot.warm)}"
        return f"{done} of {len(every)}{what}{pace.left(key for _, key in left)}"

    def keep(boot: Boot, found: Measured) -> None:
        nonlocal done
        logs[boot.warm].add(found)
        left.discard((boot.warm, boot.key))
        done += 1
        pace.add(found)
        tell(found, status(boot))

    if together:
        with _pool(min(jobs, len(together))) as pool:
            show(status())
            for boot, found in pool.imap_unordered(_numbered, together):
                keep(boot, found)
                show(status())
    if apart:
        for boot, found in _on_boards(apart):
            keep(boot, found)
            show(status())
    for boot in alone:
        show(status(boot))
        keep(boot, do(boot))
    return list(logs[False].runs.values())


def do(boot: Boot) -> Measured:
    """The boot as it is kept; whatever goes wrong with it is a result as well."""
    contender, machine, name, number = boot.key
    try:
        if not boot.image.is_the_same():
            raise TinykmodError(boot.image.path, "has changed since the bench began")
        result = engine(name).boot(boot.kernel, boot.image.path, boot.machine, boot.disks, boot.append, boot.timeout,
                                   stop_on=boot.stop_on or None)  # fmt: skip
        found = measured(result, contender=contender, machine=machine, engine=name, run=number,
                         image_bytes=boot.image.size, until=boot.until or None)  # fmt: skip
        return replace(found, error=result.damage) if result.damage and not found.error else found
    except (TinykmodError, OSError) as error:
        return Measured(contender, machine, name, number, FAILED, image_bytes=boot.image.size, error=str(error))


def _boot_of(prepared: Prepared, warm: bool, key: Key) -> Boot:
    suite = prepared.suite
    own = next(contender.append for contender in suite.contenders if contender.name == key[0])
    return Boot(key, warm, prepared.kernel, prepared.images[key[:2]], prepared.machines[key[1]], prepared.disks,
                f"{prepared.append} {own}".strip(), suite.timeout,
                suite.until or (LOGIN if suite.disks else ""), suite.until)  # fmt: skip


def _called(key: Key, warm: bool) -> str:
    contender, machine, name, number = key
    return f"{contender} on {machine}, {name}, {'warm-up' if warm else 'round'} {number}"


def _numbered(boot: Boot) -> tuple[Boot, Measured]:
    return boot, do(boot)


def _on_boards(boots: Sequence[Boot]) -> Iterator[tuple[Boot, Measured]]:
    """BOOTS as they end: all boards at once, each its own in turn. Boards that have yet to end are switched off when
    the iterator is closed."""
    # A process for each: labgrid has one session with the coordinator in a process, and it is of one thread.
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.queues.Queue[tuple[Boot, Measured] | None] = context.Queue()
    processes = [
        context.Process(target=_on_board, args=([boot for boot in boots if boot.key[2] == name], results))
        for name in dict.fromkeys(boot.key[2] for boot in boots)
    ]
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


def _on_board(boots: Sequence[Boot], results: multiprocessing.queues.Queue[tuple[Boot, Measured] | None]) -> None:
    _begin_worker()
    try:
        for boot in boots:
            results.put((boot, do(boot)))
    finally:
        results.put(None)


@contextmanager
def _pool(jobs: int) -> Iterator[multiprocessing.pool.Pool]:
    """Processes that boot. Whatever ends this one ends them, and they the machines that run in them."""
    with multiprocessing.get_context("fork").Pool(jobs, _begin_worker) as pool:
        yield pool


def _begin_worker() -> None:
    # The terminal's Ctrl-C is the main process's, which then ends the others.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # Whoever is killed ends nobody: so that its machines and boards are switched off all the same.
    parent = multiprocessing.parent_process()
    assert parent is not None and parent.pid is not None
    tied.tie(parent.pid, signal.SIGTERM)


class _Pace:
    """How long boots take by the host's clock."""

    def __init__(self, runs: Iterable[Measured], jobs: int) -> None:
        self._seconds: dict[tuple[str, ...], list[float]] = {}
        self._jobs = jobs
        for run in runs:
            self.add(run)

    def add(self, run: Measured) -> None:
        if run.ended != FAILED:
            self._seconds.setdefault((run.contender, run.machine, run.engine), []).append(run.host_seconds)

    def left(self, keys: Iterable[Key]) -> str:
        """`, about TIME left` for the boots of KEYS; empty where none was timed yet."""
        if not self._seconds:
            return ""
        known = {place: statistics.median(times) for place, times in self._seconds.items()}
        usual = statistics.median(known.values())
        places = [key[:3] for key in keys]
        seconds = sum(known.get(place, usual) / (self._jobs if place[2] == STEADY else 1) for place in places)
        return f"; {_duration(seconds)} left" if places else ""


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
