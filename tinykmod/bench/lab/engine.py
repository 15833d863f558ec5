"""The engine `labgrid:ENV` or `labgrid:ENV#TARGET`: a boot of a place of a lab."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinykmod.bench.console import Text
from tinykmod.bench.disk import DMESG_BEGIN, DMESG_END, TRACE_BEGIN, TRACE_END
from tinykmod.bench.machines import Machine
from tinykmod.bench.result import BootResult, Ended, of_console
from tinykmod.errors import TinykmodError

if TYPE_CHECKING:
    from tinykmod.bench.lab.strategy import TinykmodStrategy

_TRACE = "/run/tinykmod/trace.jsonl"
#: What a shell is to do.
_TELL = "; ".join([
    f"[ ! -e {_TRACE} ] || {{ echo '{TRACE_BEGIN}'; cat {_TRACE}; echo '{TRACE_END}'; }}",
    f"echo '{DMESG_BEGIN}'; dmesg; echo '{DMESG_END}'",
])  # fmt: skip
EXTRA = "labgrid is not installed: pip install 'tinykmod[lab]'"


class Lab:
    """An environment file and one of its targets: the one named, `main`, or the only one there is.

    What is booted with is the target's: of a boot's machine only the name is used, by those who keep results.
    """

    def __init__(self, argument: str) -> None:
        """Raises TinykmodError where labgrid is missing or the file, or its target, is not there or no such thing."""
        file, _, target = argument.partition("#")
        self.file = Path(file)
        self._environment = _environment(self.file, argument)
        self.target_name = _target(self._environment.config.get_targets(), target, argument)
        self.name = f"labgrid:{file}#{self.target_name}"

    def boot(
        self,
        kernel: Path,
        initrd: Path,
        machine: Machine,
        disks: Sequence[Path] = (),
        append: str = "",
        timeout: float = 180,
        on_line: Callable[[str], None] | None = None,
        stop_on: str | None = None,
    ) -> BootResult:
        """As Engine.boot(). The boot ends with what this project's reporting root prints last, with a panic, or with
        STOP_ON; then the board is switched off."""
        strategy = self._strategy()
        said = Text(on_line)
        try:
            strategy.files(kernel, initrd, disks, append)
            started = time.monotonic()
            strategy.begin(said)
        except subprocess.CalledProcessError as error:
            raise TinykmodError(self.name, f"stage_command: {_last(error.stderr)}") from error
        except _faults() as error:
            raise TinykmodError(self.name, f"the boot cannot be begun: {_line(error)}") from error
        from tinykmod.bench.lab.strategy import is_end

        try:
            # A pattern that nothing has: only the end or the time ends it.
            found = strategy.read_until(stop_on or r"(?!)", timeout, is_end)
            seconds = time.monotonic() - started
            if found == "found":
                self._fetch(strategy, timeout)
        except _faults() as error:
            raise TinykmodError(self.name, f"the console is lost: {_line(error)}") from error
        finally:
            try:
                strategy.transition("off")
            except _faults() as error:
                raise TinykmodError(self.name, f"is not switched off: {_line(error)}") from error
        ended: Ended = "stop_on" if found == "found" else "poweroff" if found == "end" else "timeout"
        return of_console(said.text, ended, seconds)

    def _strategy(self) -> TinykmodStrategy:
        """The target's, with its resources there. Raises TinykmodError."""
        try:
            target = self._environment.get_target(self.target_name)
            strategy: TinykmodStrategy = target.get_driver("TinykmodStrategy", activate=False)
        except _faults() as error:
            raise TinykmodError(self.name, _line(error)) from error
        return strategy

    def _fetch(self, strategy: TinykmodStrategy, timeout: float) -> None:
        """Have the trace and the kernel's log printed, where the target has a shell on its console (ShellDriver).

        That one logs in; what is printed is too much for its run(), which looks at all of it again for each new byte.
        """
        from labgrid.exceptions import NoDriverFoundError

        from tinykmod.bench.lab.strategy import is_end

        try:
            shell = strategy.target.get_driver("CommandProtocol")
        except NoDriverFoundError:
            return
        try:
            strategy.console.sendline(_TELL)
            strategy.read_until(r"(?!)", timeout, is_end)
        finally:
            strategy.target.deactivate(shell)


def targets(file: Path) -> list[str]:
    """The names of the targets of an environment FILE, one a board. Raises TinykmodError."""
    return sorted(_environment(file, str(file)).config.get_targets())


def _environment(file: Path, argument: str) -> Any:
    try:
        from labgrid import Environment
        from labgrid.exceptions import InvalidConfigError, NoConfigFoundError
    except ImportError as error:
        raise TinykmodError(f"labgrid:{argument}", EXTRA) from error
    if not argument:
        raise TinykmodError("labgrid", "needs labgrid's environment file: labgrid:FILE or labgrid:FILE#TARGET")
    import yaml

    import tinykmod.bench.lab.strategy  # noqa: F401  # known to labgrid from then on

    try:
        environment = Environment(str(file))
        environment.config.get_targets()
    except (InvalidConfigError, NoConfigFoundError, yaml.YAMLError, OSError, ImportError, KeyError) as error:
        raise TinykmodError(file, _line(error)) from error
    return environment


def _target(found: dict[str, Any], name: str, argument: str) -> str:
    if not name and ("main" in found or len(found) == 1):
        return "main" if "main" in found else next(iter(found))
    if name not in found:
        which = f"no target {name!r}" if name else "which target"
        raise TinykmodError(f"labgrid:{argument}", f"{which}? FILE#TARGET, with one of {', '.join(sorted(found))}")
    return name


def _faults() -> tuple[type[BaseException], ...]:
    """What labgrid and its drivers raise for a lab that is not as its file says."""
    import pexpect
    from labgrid import exceptions
    from labgrid.driver.exception import ExecutionError
    from labgrid.remote.client import Error
    from labgrid.strategy import StrategyError

    return (
        *(exceptions.NoDriverFoundError, exceptions.NoResourceFoundError, exceptions.NoSupplierFoundError),
        *(exceptions.InvalidConfigError, exceptions.RegistrationError),
        *(ExecutionError, StrategyError, Error, OSError, subprocess.SubprocessError, pexpect.TIMEOUT),
    )


def _line(error: BaseException) -> str:
    """What ERROR says, in one line."""
    text = str(getattr(error, "msg", None) or getattr(error, "value", None) or error)
    return " ".join(text.split())[:300] or type(error).__name__


def _last(text: str | None) -> str:
    return ((text or "").strip().splitlines() or ["failed"])[-1]
