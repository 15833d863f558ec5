"""Many boots in a row, each of which has to end with the same modules: what is recorded of them, and what it means.

The record is a file of JSON lines: what was booted, then a line a boot. A run that was interrupted goes on with the
boots that are missing; a boot's settings follow from the seed and its number alone.
"""

from __future__ import annotations

import json
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tinykmod.bench.result import BootResult
from tinykmod.errors import TinykmodError

#: Printed by the root's init, a line a module that is there at the end.
MODULE = "soak module "


@dataclass(frozen=True)
class Setting:
    """What differs between boots: `rd.tinykmod.jobs=` and the processors. Boot 0 is serial, the others' measure."""

    boot: int
    jobs: int
    smp: int

    @classmethod
    def of(cls, seed: int, boot: int) -> Setting:
        chance = random.Random(f"{seed} {boot}")
        return cls(boot, chance.randint(2, 16), chance.randint(1, 2)) if boot else cls(0, 1, 1)


@dataclass(frozen=True)
class Outcome:
    """What became of a boot. Times are milliseconds from the loader's start; `delay` is its rootdelay= in seconds."""

    boot: int
    jobs: int
    smp: int
    delay: int
    ended: str
    modules: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)  # loads
    dropped: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    loaded: float = 0  # the end of the last load
    seconds: float = 0  # of the whole boot, as the host's clock has it

    def differs(self, first: Outcome) -> list[str]:
        """How this boot's end is not that of FIRST, a line each."""
        lines = [] if self.ended == "poweroff" else [f"ended with: {self.ended}"]
        lines += [f"without {name}" for name in sorted(set(first.modules) - set(self.modules))]
        lines += [f"also {name}" for name in sorted(set(self.modules) - set(first.modules))]
        lines += [f"failed: {name}" for name in self.failed if name not in first.failed]
        lines += [f"dropped: {name}" for name in self.dropped]
        lines += [f"still in its init: {name}" for name in self.left]
        if len(self.modules) != len(set(self.modules)):
            lines.append("a module is there twice")
        return lines


def outcome(setting: Setting, delay: int, result: BootResult) -> Outcome:
    """What RESULT, of a root whose init prints MODULE lines, tells."""
    trace = result.trace or []

    def names(event: str) -> list[str]:
        return [str(found["name"]) for found in trace if found["ev"] == event]

    loads = [event for event in trace if event["ev"] == "module"]
    begun = next((event["t"] for event in trace if event["ev"] == "start"), 0)
    # With one job the root's filesystem is loaded when the delay is over: nothing that the delay was too short for.
    early = [event for event in loads if event["t"] - begun < delay * 1e9]
    ended = result.ended if result.ended != "poweroff" or trace else "poweroff without a trace"
    return Outcome(
        **asdict(setting), delay=delay, ended=ended,
        modules=sorted(line.removeprefix(MODULE) for line in result.lines if line.startswith(MODULE)),
        failed=sorted(str(event["name"]) for event in loads if event["result"]),
        dropped=names("dropped"), left=names("left"),
        loaded=max((event["t"] + event["dur"] - begun for event in early), default=0) / 1e6,
        seconds=round(result.seconds, 1),
    )  # fmt: skip


class Record:
    """The file: `about` says what is booted, `outcomes` what became of the boots so far, by their numbers."""

    def __init__(self, path: Path, about: dict[str, Any]) -> None:
        """Take up what PATH has, or begin it. Raises TinykmodError where it is of something else than ABOUT.

        A seed that ABOUT does not give (None) is the file's, or a new one.
        """
        self.path = path
        self.outcomes: dict[int, Outcome] = {}
        lines = path.read_text().split("\n") if path.exists() else []
        # Whoever was interrupted may have left half a line.
        whole = lines[:-1]
        if whole:
            self.about = self._parsed(whole[0])
            self._compare(about)
            for line in whole[1:]:
                found = self._outcome(line)
                self.outcomes[found.boot] = found
            if lines[-1]:
                path.write_text("".join(f"{line}\n" for line in whole))
        else:
            seed = random.randrange(1 << 32) if about["seed"] is None else about["seed"]
            self.about = {**about, "seed": seed}
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{json.dumps(self.about)}\n")

    def _parsed(self, line: str) -> dict[str, Any]:
        try:
            found = json.loads(line)
        except ValueError:
            found = None
        if not isinstance(found, dict):
            raise TinykmodError(self.path, "is no record of a soak")
        return found

    def _outcome(self, line: str) -> Outcome:
        try:
            return Outcome(**self._parsed(line))
        except TypeError:
            raise TinykmodError(self.path, "is no record of a soak") from None

    def _compare(self, about: dict[str, Any]) -> None:
        for key, value in about.items():
            if value is not None and self.about.get(key) != value:
                why = f"is of another {key}: {self.about.get(key)}, not {value}; remove it, or name another file"
                raise TinykmodError(self.path, why)

    def add(self, found: Outcome) -> None:
        self.outcomes[found.boot] = found
        with self.path.open("a") as file:
            file.write(f"{json.dumps(asdict(found))}\n")

    def missing(self, boots: int) -> Iterator[Setting]:
        """The boots of BOOTS that are yet to be done, the serial one first."""
        for number in range(boots):
            if number not in self.outcomes:
                yield Setting.of(self.about["seed"], number)

    def differences(self) -> dict[int, list[str]]:
        """By number, what of each boot is not as boot 0 had it."""
        first = self.outcomes.get(0)
        if first is None:
            return {}
        found = {number: outcome.differs(first) for number, outcome in sorted(self.outcomes.items())}
        return {number: lines for number, lines in found.items() if lines}


def soak(
    record: Record,
    boots: int,
    boot: Callable[[Setting, int], BootResult],
    *,
    delay: int,
    say: Callable[[str], None] = print,
) -> None:
    """Do the boots that RECORD lacks: boot(setting, rootdelay= in seconds). The console of one that differs is kept.

    The root is mounted so late that all is loaded by then. Where modules still came in the second half of the delay,
    others may have been yet to come: that boot is done again with twice the delay, up to 16 times DELAY.
    """
    for setting in record.missing(boots):
        seconds = delay
        while True:
            result = boot(setting, seconds)
            found = outcome(setting, seconds, result)
            if (not found.dropped and found.loaded < seconds * 1000 / 2) or seconds >= 16 * delay:
                break
            seconds *= 2
        record.add(found)
        why = found.differs(record.outcomes[0])
        if why:
            kept = record.path.with_name(f"{record.path.stem}-boot-{setting.boot}.log")
            kept.write_text(result.console)
            why.append(f"see {kept}")
        say(f"{setting.boot + 1}/{boots} jobs={setting.jobs} smp={setting.smp}: {len(found.modules)} modules, "
            f"{found.loaded:.0f} ms{''.join(f'; {line}' for line in why)}")  # fmt: skip


def summary(record: Record) -> list[str]:
    """For people: how many boots, which differ and how, and how long loading took."""
    found = list(record.outcomes.values())
    differences = record.differences()
    booted = f"{record.about['release']} on {record.about['machine']}, seed {record.about['seed']}"
    lines = [f"{len(found)} boots of {booted}: {len(differences)} differ from the serial one"]
    lines += [f"  boot {number}: {line}" for number, why in differences.items() for line in why]
    for smp in (1, 2):
        times = sorted(outcome.loaded for outcome in found if outcome.smp == smp and outcome.boot)
        if times:
            lines.append(f"  all loaded on {smp} processor{'s' * (smp > 1)} ({len(times)} boots): {_spread(times)}")
    return lines


def _spread(times: Sequence[float]) -> str:
    """Of TIMES, which are sorted."""
    most = times[min(len(times) - 1, len(times) * 9 // 10)]
    return (
        f"{times[0]:.0f} to {times[-1]:.0f} ms, median {statistics.median(times):.0f}, nine of ten below {most:.0f}"
    )
