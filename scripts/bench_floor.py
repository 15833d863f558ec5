#!/usr/bin/env python3
"""Time from the loader's start to the root mounted, and to all modules loaded, beside a bare program's.

The bare program is PID 1 of the same image and loads files that a list names, one after the other: for the root no
more than leads to it, for all modules those that the loader loaded. It looks for nothing and decides nothing. Under
QEMU's -icount one guest instruction is one nanosecond, so the figures repeat within a percent whatever else the host
does. Also told: the loader's size, and (where valgrind is installed) the instructions that it spends in user space on
the coldplug of the same machine.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import build_loader

from tinykmod import loaders
from tinykmod.bench.debian import Kernel, fetch_busybox, fetch_kernel
from tinykmod.bench.disk import REPORTING_INIT, make_root_disk
from tinykmod.bench.machines import MACHINES, REFERENCE, Machine
from tinykmod.bench.qemu import boot
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.index.reader import Index
from tinykmod.kmod.names import module_name
from tinykmod.modules.driver_class import DriverClass
from tinykmod.trace.events import Event

ROOT = Path(__file__).resolve().parent.parent

#: What drives the root's disk of each machine, from the bus on.
DRIVERS = {
    "virtio-blk": ("virtio_pci", "virtio_blk"),
    "nvme": ("nvme",),
    "ahci": ("ahci", "sd_mod"),
    "reference": ("virtio_pci", "virtio_blk"),
}
#: Every class whose drivers devices ask for.
ALL_CLASSES = ",".join(member.name.lower() for member in DriverClass
                       if member.name and member is not DriverClass.FILESYSTEM)  # fmt: skip

#: Printed by the root's init: every device's uevent file, so that the machine's /sys can be built anew.
UEVENTS_BEGIN, UEVENTS_END = "--- uevents ---", "--- end of uevents ---"
UEVENTS = f"""\
echo '{UEVENTS_BEGIN}'
cd /sys/bus && for file in */devices/*/uevent; do
    $bb sed "s|^|$file |" $file
done
echo '{UEVENTS_END}'
$bb sync
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", action="append", choices=sorted(DRIVERS),
                        help="default: all of them")  # fmt: skip
    parser.add_argument("--jobs", action="append", type=int, help="also at the same time; default: 4")
    parser.add_argument("--kernel", metavar="META", default="linux-image-amd64", help="default: %(default)s")
    args = parser.parse_args()
    try:
        bench(args.kernel, args.machine or list(DRIVERS), args.jobs or [4])
    except (TinykmodError, build_loader.BuildError) as error:
        print(f"bench_floor: {error}", file=sys.stderr)
        return 1
    return 0


def bench(meta: str, machines: Sequence[str], jobs: Sequence[int]) -> None:
    kernel = fetch_kernel(meta)
    with tempfile.TemporaryDirectory(prefix="tinykmod-bench-") as scratch:
        here = Path(scratch)
        floor = build_loader.build(platform.machine(), here / "floor", source=ROOT / "cext" / "floor.pyx")
        init = REPORTING_INIT.replace("$bb sync\n", UEVENTS)
        root = str(uuid.uuid4())
        disk = make_root_disk(here / "root.img", busybox=fetch_busybox(), uuid=root, init_script=init)
        rig = Rig(kernel, here, floor, disk, f"root=UUID={root}")
        image = make_image(kernel, here / "storage.cpio", "storage")
        print(f"Debian {kernel.release}, one virtual CPU, milliseconds of virtual time from /init to root mounted\n")
        print(f"{'machine':12} {'chain':>7} {'loader':>9} {'floor':>9} {'ratio':>6}")
        for name in machines:
            trace, uevents = rig.loader(image, MACHINES[name])
            mounted = next(event for event in trace if event["ev"] == "mounted")
            names = chain(image, kernel.release, name, mounted["type"], trace)
            bare = rig.bare(image, MACHINES[name], mounted["device"], mounted["type"], names, "mounted")
            took = mounted["t"] - started(trace)
            print(f"{name:12} {len(names):7} {took / 1e6:9.1f} {bare / 1e6:9.1f} {took / bare:6.3f}", flush=True)
        print(f"\nloader: {loaders.find().stat().st_size} bytes")
        print(f"user-space instructions of a coldplug of {name}: {instructions(image, uevents, here)}")
        image = make_image(kernel, here / "all.cpio", ALL_CLASSES)
        print("\nThe reference machine, every class in the image, until all that matches is loaded\n")
        print(f"{'jobs':12} {'modules':>7} {'loader':>9} {'floor':>9} {'ratio':>6}")
        for number in jobs:
            # The root is not mounted before all is loaded, or what is left would be dropped.
            trace, _ = rig.loader(image, REFERENCE, f"rd.tinykmod.jobs={number} rootdelay=8")
            loads = [event for event in trace if event["ev"] == "module" and event["result"] == 0]
            names = in_order(loads)
            bare = rig.bare(image, REFERENCE, "/dev/vda", "ext4", names, "loaded")
            took = max(event["t"] + event["dur"] for event in loads) - started(trace)
            print(f"{number:<12} {len(names):7} {took / 1e6:9.1f} {bare / 1e6:9.1f} {took / bare:6.3f}", flush=True)


def make_image(kernel: Kernel, image: Path, classes: str) -> Path:
    command = ["initramfs", "-b", str(kernel.root), "--class", classes, "--compress", "none", "-o", str(image),
               kernel.release]  # fmt: skip
    subprocess.run([sys.executable, "-m", "tinykmod", *command], check=True, stdout=sys.stderr, cwd=ROOT)
    return image


def started(trace: Sequence[Event]) -> int:
    return int(next(event["t"] for event in trace if event["ev"] == "start"))


def in_order(loads: Sequence[Event]) -> list[str]:
    """Names of modules by their ends: what a module's init had the kernel load ends before the module does."""
    return list(dict.fromkeys(event["name"] for event in sorted(loads, key=lambda event: event["t"] + event["dur"])))


def chain(image: Path, release: str, machine: str, kind: str, trace: Sequence[Event]) -> list[str]:
    """The modules that lead to MACHINE's root, in load order: its drivers and its filesystem with all they need.

    Those that it can do without (a checksum's implementation for another processor) are left out.
    """
    [data] = [entry.data for entry in cpio.read(image.read_bytes()) if entry.path.endswith(f"{release}/tinykmod.tki")]
    loaded = {event["name"] for event in trace if event["ev"] == "module" and event["result"] == 0}
    steps = Index(data).plan([*DRIVERS[machine], f"fs-{kind}"])
    return [step.module for step in steps if step.module in loaded]


@dataclass(frozen=True)
class Rig:
    """What all the boots have in common."""

    kernel: Kernel
    here: Path
    floor: Path
    disk: Path
    root: str

    def loader(self, image: Path, machine: Machine, append: str = "") -> tuple[list[Event], list[str]]:
        """The loader's trace, and the `uevent` files of the machine's devices as `FILE LINE` lines."""
        done = boot(self.kernel.vmlinuz, image, machine=machine, disks=[self.disk], append=f"{self.root} {append}",
                    icount=True, timeout=600)  # fmt: skip
        if done.trace is None or UEVENTS_END not in done.lines:
            raise TinykmodError(machine.name, f"the root's init did not run:\n{done.tail()}")
        return done.trace, done.lines[done.lines.index(UEVENTS_BEGIN) + 1 : done.lines.index(UEVENTS_END)]

    def bare(self, image: Path, machine: Machine, device: str, kind: str, names: Sequence[str], until: str) -> int:
        """Nanoseconds that the bare program takes to load NAMES of IMAGE and, with UNTIL `mounted`, to mount."""
        entries = list(cpio.read(image.read_bytes()))
        paths = {module_name(entry.path): f"/{entry.path}" for entry in entries if ".ko" in entry.path}
        lines = [device, kind, *(paths[name] for name in names)]
        # Nor is there a modprobe: the links to /init would make the kernel's helper one more of the bare program.
        entries = [entry for entry in entries if entry.path != "init" and not entry.path.startswith("sbin/")]
        entries.append(cpio.regular("init", self.floor.read_bytes(), 0o755))
        entries.append(cpio.regular("floor", "".join(f"{line}\n" for line in lines).encode()))
        image = self.here / "floor.cpio"
        with image.open("wb") as out:
            cpio.write(out, entries)
        done = boot(self.kernel.vmlinuz, image, machine=machine, disks=[self.disk], icount=True, timeout=600)
        found = re.search(rf"floor: {until} after ns (\d+)", done.console)
        if found is None:
            raise TinykmodError(machine.name, f"the bare program did not come to its end:\n{done.tail()}")
        return int(found[1])


def instructions(image: Path, uevents: Sequence[str], here: Path) -> str:
    """What valgrind counts of a dry coldplug over a copy of the machine's /sys; why not, where it cannot."""
    if shutil.which("valgrind") is None:
        return "not counted (valgrind is not installed)"
    sysroot = here / "sysroot"
    for line in uevents:
        file, _, text = line.partition(" ")
        path = sysroot / "sys/bus" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as out:
            out.write(f"{text}\n")
    root = here / "modules"
    for entry in cpio.read(image.read_bytes()):
        if entry.path.startswith("lib/modules/") and entry.data:
            (root / entry.path).parent.mkdir(parents=True, exist_ok=True)
            (root / entry.path).write_bytes(entry.data)
    release = next((root / "lib/modules").iterdir()).name
    fake = build_loader.build(platform.machine(), here / "loader-fake", source=ROOT / "cext" / "loader_fake.pyx")
    counts = here / "callgrind"
    command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={counts}", fake, "coldplug", "-d", root, "-S",
               release, "--sysroot", sysroot]  # fmt: skip
    environment = {**os.environ, "TINYKMOD_FAKE": ""}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if found is None:
        return f"not counted (valgrind: {done.stderr.strip().splitlines()[-1]})"
    return f"{int(found[1]):,} for {done.stdout.count('finit_module')} modules"


if __name__ == "__main__":
    sys.exit(main())
