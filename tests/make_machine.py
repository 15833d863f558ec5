"""A copy of a machine's /sys and /proc that a snapshot can be taken of."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


class Machine:
    """Below BASE. Devices are said by their paths below /sys/devices."""

    def __init__(self, base: Path, *, mounts: str = "", cmdline: str = "quiet", modules: Iterable[str] = ()) -> None:
        self.base = base
        for place in ("sys/bus", "sys/devices", "proc/self", "proc/sys/kernel"):
            (base / place).mkdir(parents=True)
        for place, text in {
            "self/mountinfo": mounts,
            "cmdline": cmdline + "\n",
            "modules": "".join(f"{name} 16384 0 - Live 0x0\n" for name in modules),
            "sys/kernel/osrelease": "6.1.0-test\n",
            "sys/kernel/arch": "riscv64\n",
        }.items():
            (base / "proc" / place).write_text(text)

    def device(self, path: str, bus: str, modalias: str = "", driver: str = "", module: str = "") -> Path:
        here = self._made(f"sys/devices/{path}")
        event = f"DRIVER={driver}\n" + (f"MODALIAS={modalias}\n" if modalias else "")
        (here / "uevent").write_bytes(os.fsencode(event))
        self.link(f"sys/bus/{bus}/devices/{here.name}", f"sys/devices/{path}")
        if driver:
            self._made(f"sys/bus/{bus}/drivers/{driver}")
            self.link(f"sys/devices/{path}/driver", f"sys/bus/{bus}/drivers/{driver}")
        if module:
            self._made(f"sys/module/{module}")
            self.link(f"sys/bus/{bus}/drivers/{driver}/module", f"sys/module/{module}")
        return here

    def supplies(self, supplier: str, consumer: str) -> None:
        """As fw_devlink links them: through a device of its own."""
        between = self._made(f"sys/devices/virtual/devlink/{Path(supplier).name}--{Path(consumer).name}")
        self.link(str(between.relative_to(self.base) / "supplier"), f"sys/devices/{supplier}")
        self.link(f"sys/devices/{consumer}/supplier:x:{Path(supplier).name}", str(between.relative_to(self.base)))

    def block(self, path: str, number: str, *, slaves: Iterable[str] = (), partition: bool = False) -> None:
        here = self._made(f"sys/devices/{path}")
        (here / "uevent").write_text("PARTUUID=1a2b3c4d-01\n" if partition else "")
        (here / "dev").write_text(f"{number}\n")
        if partition:
            (here / "partition").write_text("1\n")
        self.link(f"sys/dev/block/{number}", f"sys/devices/{path}")
        self.link(f"sys/class/block/{here.name}", f"sys/devices/{path}")
        for slave in slaves:
            self.link(f"sys/devices/{path}/slaves/{slave}", f"sys/class/block/{slave}")

    def link(self, place: str, target: str) -> None:
        link = self.base / place
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(Path(*([".."] * (len(Path(place).parts) - 1))) / target)

    def _made(self, place: str) -> Path:
        (self.base / place).mkdir(parents=True, exist_ok=True)
        return self.base / place
