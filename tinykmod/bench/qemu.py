"""Boots a kernel with an initramfs in QEMU (TCG: no KVM is needed) and gathers what its serial console says."""

from __future__ import annotations

import os
import re
import selectors
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Literal

from tinykmod.bench import tied
from tinykmod.bench.console import Text
from tinykmod.bench.machines import VIRTIO_BLK, Emulator, Machine
from tinykmod.bench.result import BootResult, Ended, of_console
from tinykmod.errors import TinykmodError

__all__ = ["APPEND", "BootResult", "boot", "program"]

#: panic=-1 with -no-reboot: a kernel that panics ends QEMU at once.
APPEND = "quiet panic=-1"


def program(emulator: Emulator) -> str:
    """Where EMULATOR's program is. Raises TinykmodError where it is not installed."""
    found = shutil.which(emulator.program)
    if found is None:
        raise TinykmodError(emulator.program, f"not installed (Debian: apt-get install {emulator.package})")
    return found


def boot(
    kernel: Path,
    initrd: Path,
    *,
    machine: Machine = VIRTIO_BLK,
    disks: Sequence[Path] = (),
    append: str = "",
    timeout: float = 120,
    stop_on: str | None = None,
    linger: float = 0,
    icount: bool = False,
    smp: int = 1,
    on_line: Callable[[str], None] | None = None,
) -> BootResult:
    """Boot KERNEL with INITRD on MACHINE until it powers off, panics, says STOP_ON, or TIMEOUT seconds are over.

    DISKS are only read: what the guest writes is thrown away, so that boots at the same time can share them. APPEND
    comes after the console and APPEND of this module on the kernel's command line. STOP_ON is a regular expression
    for one line of the console; LINGER seconds are waited after it (a guest that ends meanwhile has ended by itself).
    ICOUNT makes one guest instruction one nanosecond, on one CPU. ON_LINE is called with each line of the console as
    it comes. QEMU is always ended, by the kernel where this process is killed. Raises TinykmodError when it is
    missing or refuses its arguments.
    """
    emulator = machine.emulator
    command = tied.command(
        *(program(emulator), "-display", "none", "-vga", "none", "-nic", "none", "-no-reboot", "-monitor", "none"),
        *("-serial", "stdio", "-kernel", str(kernel), "-initrd", str(initrd)),
        *("-append", f"console={emulator.console} {APPEND} {append}".strip()),
        *machine.args,
    )
    if icount:
        command += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=on", "-smp", "1"]
    else:
        command += ["-accel", "tcg", "-smp", str(smp)]
    for number, disk in enumerate(disks):
        drive = f"disk{number}"
        command += ["-drive", f"if=none,format=raw,snapshot=on,id={drive},file={str(disk).replace(',', ',,')}"]
        command += ["-device", machine.disk.replace("{id}", drive)]
    started = time.monotonic()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors)
        assert process.stdout is not None
        said = Text(on_line)
        try:
            found = _read_until(process.stdout, said, started + timeout, re.compile(stop_on) if stop_on else None)
            if found == "stop_on" and linger:
                ended_too = _read_until(process.stdout, said, time.monotonic() + linger, None) == "end"
                found = "end" if ended_too else "stop_on"
            if found == "end":
                process.wait(10)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
        seconds = time.monotonic() - started
        if found == "end" and process.returncode:
            errors.seek(0)
            words = errors.read().decode(errors="replace").strip().splitlines() or [f"exit code {process.returncode}"]
            raise TinykmodError(emulator.program, words[-1].removeprefix(f"{emulator.program}: "))
    ended: Ended = "poweroff" if found == "end" else found
    return of_console(said.text, ended, seconds)


def _read_until(
    stream: IO[bytes], said: Text, deadline: float, stop_on: re.Pattern[str] | None
) -> Literal["stop_on", "end", "timeout"]:
    """Add to SAID what STREAM has until DEADLINE (of time.monotonic()), its end, or a line with STOP_ON."""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            data = os.read(stream.fileno(), 65536)
            if not data:
                return "end"
            lines = said.take(data)
            if stop_on and any(map(stop_on.search, lines)):
                return "stop_on"
    return "timeout"
