"""What boots are done by: QEMU whose clock counts instructions, QEMU by the host's clock, or a lab's boards."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tinykmod.bench import qemu
from tinykmod.bench.machines import Machine
from tinykmod.bench.result import BootResult
from tinykmod.errors import TinykmodError

#: Kernels that are not told to leave the stamps out of their log, and nothing measures without them.
STAMPS = "printk.time=1"


class Engine(Protocol):
    """Boots one image at a time; `name` is what engine() finds it by."""

    @property
    def name(self) -> str: ...

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
        """Boot KERNEL with INITRD until it ends, says STOP_ON (a regular expression for one line of the console), or
        TIMEOUT seconds of the host's clock are over.

        APPEND are further words for the kernel. ON_LINE is called with each line of the console as it comes. Raises
        TinykmodError where the boot cannot be begun.
        """


@dataclass(frozen=True)
class Qemu:
    """QEMU here. With ICOUNT one guest instruction is one nanosecond, on one processor."""

    name: str
    icount: bool

    def check(self, machine: Machine) -> None:
        """Raises TinykmodError where MACHINE's emulator is not installed."""
        qemu.program(machine.emulator)

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
        return qemu.boot(kernel, initrd, machine=machine, disks=disks, append=f"{STAMPS} {append}".strip(),
                         timeout=timeout, stop_on=stop_on, icount=self.icount, smp=1 if self.icount else 2,
                         on_line=on_line)  # fmt: skip


def _lab(argument: str) -> Engine:
    from tinykmod.bench.lab.engine import Lab

    return Lab(argument)


#: By the part of its name before a colon; what is after it is the argument.
_ENGINES: dict[str, Callable[[str], Engine]] = {
    "qemu-icount": lambda _: Qemu("qemu-icount", icount=True),
    "qemu": lambda _: Qemu("qemu", icount=False),
    "labgrid": _lab,
}
DEFAULT = "qemu-icount"


def engine(name: str) -> Engine:
    """The engine of that NAME. Raises TinykmodError where there is none."""
    kind, _, argument = name.partition(":")
    if kind not in _ENGINES:
        near = difflib.get_close_matches(kind, _ENGINES, 1) or list(_ENGINES)
        raise TinykmodError(name, f"no engine of this name; there is {', '.join(near)}")
    return _ENGINES[kind](argument)


def places(name: str) -> list[str]:
    """The engines that the engine of that NAME stands for: of a lab's file each of its boards, else itself.

    Raises TinykmodError where there is none.
    """
    kind, _, argument = name.partition(":")
    if kind == "labgrid" and argument and "#" not in argument:
        from tinykmod.bench.lab.engine import targets

        return [f"{name}#{target}" for target in targets(Path(argument))]
    return [engine(name).name]


def has_boards(name: str) -> bool:
    """Whether the boots of the engine of that NAME are on hardware of its own, so that they keep no other up."""
    return name.partition(":")[0] == "labgrid"
