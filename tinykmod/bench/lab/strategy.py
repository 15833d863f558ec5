"""labgrid's strategy for a measured boot, over any power and any console: off, booting, root_found, handed_over.

To be named in an environment file's `imports` (tinykmod.bench.lab.strategy) and among a target's drivers.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import ClassVar

import attr
import pexpect
from labgrid.factory import target_factory
from labgrid.strategy import Strategy, StrategyError

from tinykmod.bench.console import Text
from tinykmod.bench.disk import DMESG_END, SENTINEL
from tinykmod.files import replacing

STATES = ("off", "booting", "root_found", "handed_over")


@target_factory.reg_driver
@attr.s(eq=False)
class TinykmodStrategy(Strategy):
    """Args:
    stage (str): the directory from which the board's bootloader takes vmlinuz, initrd, cmdline and disk0, disk1 ...
    stage_command (str): run by a shell when they are there, to bring them elsewhere
    cmdline (str): words for the kernel ahead of those of the boot
    root_found (str), handed_over (str): regular expressions for a console's line by which these states are known
    timeout (float): seconds that a transition may take
    """

    bindings: ClassVar[dict[str, str]] = {"power": "PowerProtocol", "console": "ConsoleProtocol"}

    stage: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    stage_command: str = attr.ib(default="", validator=attr.validators.instance_of(str))
    cmdline: str = attr.ib(default="quiet panic=-1", validator=attr.validators.instance_of(str))
    root_found: str = attr.ib(default=r"tinykmod: loaded \d+ modules|mounted filesystem",
                              validator=attr.validators.instance_of(str))  # fmt: skip
    handed_over: str = attr.ib(default=re.escape(SENTINEL), validator=attr.validators.instance_of(str))
    timeout: float = attr.ib(default=180.0, converter=float)

    def __attrs_post_init__(self) -> None:
        super().__attrs_post_init__()
        self.status = "unknown"
        self.said = Text()

    def files(self, kernel: Path, initrd: Path, disks: Sequence[Path], append: str) -> None:
        """Put what is to be booted where the board takes it from. Raises OSError, CalledProcessError.

        Without `stage` and `stage_command` nothing is put anywhere: the board boots what it has.
        """
        words = f"{self.cmdline} {append}".strip()
        given = {"vmlinuz": kernel, "initrd": initrd, **{f"disk{n}": disk for n, disk in enumerate(disks)}}
        if self.stage:
            stage = Path(self.target.env.config.resolve_path(self.stage))
            for name, source in given.items():
                with replacing(stage / name) as out, source.open("rb") as data:
                    shutil.copyfileobj(data, out)
            with replacing(stage / "cmdline") as out:
                out.write(f"{words}\n".encode())
        if self.stage_command:
            environment = {name.upper(): str(source) for name, source in given.items()}
            subprocess.run(self.stage_command, shell=True, check=True, capture_output=True, text=True,
                           env={**os.environ, **environment, "CMDLINE": words})  # fmt: skip

    def transition(self, status: str) -> None:
        """Bring the board to STATUS. Raises StrategyError where it does not come there in `timeout` seconds."""
        if status not in STATES:
            raise StrategyError(f"no state {status!r}; there is {', '.join(STATES)}")
        if status == "off":
            self.target.activate(self.power)
            self.power.off()
            self.target.deactivate(self.console)
        elif status == "booting":
            self.begin(Text())
        elif status != self.status:
            # There is no way back but a new boot.
            if self.status not in STATES[1 : STATES.index(status)]:
                self.transition("booting")
            # What comes later shows that the earlier state is over as well.
            later = [self.handed_over] if status == "handed_over" else [self.root_found, self.handed_over]
            if self.read_until("|".join(f"(?:{pattern})" for pattern in later), self.timeout) != "found":
                raise StrategyError(f"{self.target.name} did not come to {status} in {self.timeout:g} s")
        self.status = status

    def begin(self, said: Text) -> None:
        """Switch the board off and on. What it says from then on is added to SAID."""
        self.said = said
        self.target.activate(self.power)
        self.power.off()
        self.target.deactivate(self.console)
        self.target.activate(self.console)
        self._drain()
        self.power.on()
        self.status = "booting"

    def read_until(self, pattern: str, timeout: float, ends: Callable[[str], bool] = lambda line: False) -> str:
        """`found` when a line of the console, from now on or of those so far, has PATTERN; `end` for one that ENDS
        the boot; `timeout`."""
        wanted = re.compile(pattern)
        deadline = time.monotonic() + timeout
        lines = [*self.said.lines, self.said.rest]
        while True:
            for line in lines:
                if wanted.search(line):
                    return "found"
                if ends(line):
                    return "end"
            left = deadline - time.monotonic()
            if left <= 0:
                return "timeout"
            lines = self.said.take(self._read(min(left, 1.0)))

    def _read(self, timeout: float) -> bytes:
        try:
            data: bytes = self.console.read(size=1, timeout=timeout)
        except pexpect.TIMEOUT:
            return b""
        return data

    def _drain(self) -> None:
        """Take what the console still has of the boot before."""
        while self._read(0.1):
            pass


def is_end(line: str) -> bool:
    """Whether LINE ends a boot: the root's init has told all that it has to tell, or the kernel has panicked."""
    return line == DMESG_END or "Kernel panic - not syncing" in line
