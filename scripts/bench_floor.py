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
import statistics
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from tinykmod.trace.plan import format_plan, plan_of

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
#: The root is not mounted before all is loaded, or what is left would be dropped.
LATE_ROOT = "rootdelay=8"
#: QEMU's usual processor has no SSSE3.
QUICK = replace(REFERENCE, args=(*REFERENCE.args, "-cpu", "max"))

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
    parser.add_argument("--pairs", type=int, metavar="N",
                        help="instead: N rounds on two processors, by the clock of an idle host")  # fmt: skip
    parser.add_argument("--kernel", metavar="META", default="linux-image-amd64", help="default: %(default)s")
    args = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="tinykmod-bench-") as scratch:
            rig = make_rig(args.kernel, Path(scratch))
            if args.pairs:
                two_processors(rig, args.pairs)
            else:
                to_the_root(rig, args.machine or list(DRIVERS))
                to_the_end(rig, args.jobs or [4])
    except (TinykmodError, build_loader.BuildError) as error:
        print(f"bench_floor: {error}", file=sys.stderr)
        return 1
    return 0


def make_rig(meta: str, here: Path) -> Rig:
    kernel = fetch_kernel(meta)
    floor = build_loader.build(platform.machine(), here / "floor", source=ROOT / "cext" / "floor.pyx")
    init = REPORTING_INIT.replace("$bb sync\n", UEVENTS)
    root = str(uuid.uuid4())
    disk = make_root_disk(here / "root.img", busybox=fetch_busybox(), uuid=root, init_script=init)
    return Rig(kernel, here, floor, disk, f"root=UUID={root}")


def to_the_root(rig: Rig, machines: Sequence[str]) -> None:
    image = make_image(rig, "storage")
    release = rig.kernel.release
    print(f"Debian {release}, one virtual CPU, milliseconds of virtual time from /init to root mounted\n")
    print(f"{'machine':12} {'chain':>7} {'loader':>9} {'planned':>9} {'floor':>9} {'ratio':>6} {'planned':>7}")
    for name in machines:
        trace, uevents = rig.loader(image, MACHINES[name])
        planned, _ = rig.loader(make_image(rig, "storage", trace), MACHINES[name])
        mounted = next(event for event in trace if event["ev"] == "mounted")
        names = chain(image, release, name, mounted["type"], trace)
        bare, _ = rig.bare(image, MACHINES[name], mounted["device"], mounted["type"], names, "mounted")
        took, plan = root_time(trace), root_time(planned)
        print(f"{name:12} {len(names):7} {took / 1e6:9.1f} {plan / 1e6:9.1f} {bare / 1e6:9.1f} {took / bare:6.3f} "
              f"{plan / bare:7.3f}", flush=True)  # fmt: skip
    print(f"\nloader: {loaders.find().stat().st_size} bytes")
    print(f"user-space instructions of a coldplug of {name}: {instructions(image, uevents, rig.here)}")


def to_the_end(rig: Rig, jobs: Sequence[int]) -> None:
    image = make_image(rig, ALL_CLASSES)
    print("\nThe reference machine, every class in the image, until all that matches is loaded. Quick hash: on")
    print("a processor that has the instructions to check modules' signatures quicker (-cpu max).")
    print("The bound is the share of its time for which the bare program keeps the processor busy\n")
    print(f"{'jobs':5} {'what':16} {'modules':>7} {'loader':>9} {'floor':>9} {'ratio':>6} {'bound':>6}")
    for number in jobs:
        words = f"{LATE_ROOT} rd.tinykmod.jobs={number}"
        plain, _ = rig.loader(image, REFERENCE, words)
        quick, _ = rig.loader(image, QUICK, words)
        bare, bare_quick = (rig.bare_all(image, *what) for what in ((REFERENCE, plain), (QUICK, quick)))
        plain_plan, _ = rig.loader(make_image(rig, ALL_CLASSES, plain), REFERENCE, words)
        quick_plan, _ = rig.loader(make_image(rig, ALL_CLASSES, quick), QUICK, words)
        slow, _ = rig.loader(image, QUICK, f"{words} rd.tinykmod.hash=off")
        for label, trace, floor in (
            ("", plain, bare),
            ("a plan", plain_plan, bare),
            ("quick hash", quick, bare_quick),
            ("quick hash, plan", quick_plan, bare_quick),
            ("quick hash off", slow, rig.bare_all(image, QUICK, slow)),
        ):
            took, (alone, idle) = all_time(trace), floor
            print(f"{number:<5} {label:16} {len(names_by_ends(trace)):7} {took / 1e6:9.1f} {alone / 1e6:9.1f} "
                  f"{took / alone:6.3f} {1 - idle / alone:6.2f}", flush=True)  # fmt: skip


def two_processors(rig: Rig, pairs: int) -> None:
    """All modules and the root on two processors, each round beside the bare program and the root on one."""
    image = make_image(rig, ALL_CLASSES)
    recorded, _ = rig.loader(image, REFERENCE, LATE_ROOT)
    planned = make_image(rig, ALL_CLASSES, recorded)
    print(f"Debian {rig.kernel.release}, the reference machine with two processors, every class in the image;")
    print("milliseconds of the clock until all that matches is loaded, and until the root could be mounted\n")
    print(f"{'round':>5} {'bare':>8} {'loader':>8} {'planned':>8} {'root':>8} {'planned':>8} {'one CPU':>8}")
    rows: list[tuple[float, ...]] = []
    for number in range(pairs):
        bare, _ = rig.bare_all(image, REFERENCE, recorded, smp=2)
        two, with_plan = (rig.loader(made, REFERENCE, LATE_ROOT, smp=2)[0] for made in (image, planned))
        one, _ = rig.loader(image, REFERENCE, LATE_ROOT, smp=1)
        times = (bare, all_time(two), all_time(with_plan), root_ready(two), root_ready(with_plan), root_ready(one))
        rows.append(tuple(time / 1e6 for time in times))
        print(f"{number + 1:>5} " + " ".join(f"{time:8.0f}" for time in rows[-1]), flush=True)
    for label, over, under in (
        ("all, to the bare program's", 1, 0),
        ("all with a plan, to the bare program's", 2, 0),
        ("root, to that on one processor", 3, 5),
        ("root with a plan, to that on one processor", 4, 5),
    ):
        print(f"median ratio, {label}: {statistics.median(row[over] / row[under] for row in rows):.2f}")


def make_image(rig: Rig, classes: str, trace: Sequence[Event] | None = None) -> Path:
    """An image of CLASSES, with the plan of TRACE where there is one."""
    image = rig.here / f"{'planned' if trace else 'plain'}.cpio"
    command = ["initramfs", "-b", str(rig.kernel.root), "--class", classes, "--compress", "none", "-o", str(image),
               "--no-firmware", rig.kernel.release]  # fmt: skip
    if trace:
        plan = rig.here / "plan"
        plan.write_text(format_plan(plan_of(trace, "trace"), rig.kernel.release))
        command += ["--plan", str(plan)]
    subprocess.run([sys.executable, "-m", "tinykmod", *command], check=True, stdout=sys.stderr, cwd=ROOT)
    return image


def root_time(trace: Sequence[Event]) -> int:
    """Nanoseconds from the loader's start to the root mounted."""
    return int(next(event["t"] for event in trace if event["ev"] == "mounted")) - started(trace)


def root_ready(trace: Sequence[Event]) -> int:
    """Nanoseconds from the loader's start until the root's device and its filesystem were there."""
    kind = next(event["type"] for event in trace if event["ev"] == "mounted")
    ends = [event["t"] + event["dur"] for event in trace if event["ev"] == "module" and event["name"] == kind]
    return int(max([*ends, next(event["t"] for event in trace if event["ev"] == "root")])) - started(trace)


def all_time(trace: Sequence[Event]) -> int:
    """Nanoseconds from the loader's start to the end of the last load."""
    return int(max(event["t"] + event["dur"] for event in loads(trace))) - started(trace)


def loads(trace: Sequence[Event]) -> list[Event]:
    return [event for event in trace if event["ev"] == "module" and event["result"] == 0]


def started(trace: Sequence[Event]) -> int:
    return int(next(event["t"] for event in trace if event["ev"] == "start"))


def names_by_ends(trace: Sequence[Event]) -> list[str]:
    """Names of the loaded modules: what a module's init had the kernel load ends before the module does."""
    ordered = sorted(loads(trace), key=lambda event: event["t"] + event["dur"])
    return list(dict.fromkeys(event["name"] for event in ordered))


def chain(image: Path, release: str, machine: str, kind: str, trace: Sequence[Event]) -> list[str]:
    """The modules that lead to MACHINE's root, in load order: its drivers and its filesystem with all they need.

    Those that it can do without (a checksum's implementation for another processor) are left out.
    """
    [data] = [entry.data for entry in cpio.read(image.read_bytes()) if entry.path.endswith(f"{release}/tinykmod.tki")]
    loaded = {event["name"] for event in loads(trace)}
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

    def loader(self, image: Path, machine: Machine, append: str = "", smp: int = 0) -> tuple[list[Event], list[str]]:
        """The loader's trace, and the `uevent` files of the machine's devices as `FILE LINE` lines.

        SMP processors run by the clock; without, one counts instructions.
        """
        done = boot(self.kernel.vmlinuz, image, machine=machine, disks=[self.disk], append=f"{self.root} {append}",
                    icount=not smp, smp=smp or 1, timeout=600)  # fmt: skip
        if done.trace is None or UEVENTS_END not in done.lines:
            raise TinykmodError(machine.name, f"the root's init did not run:\n{done.tail()}")
        return done.trace, done.lines[done.lines.index(UEVENTS_BEGIN) + 1 : done.lines.index(UEVENTS_END)]

    def bare_all(self, image: Path, machine: Machine, trace: Sequence[Event], smp: int = 0) -> tuple[int, int]:
        """Nanoseconds that the bare program takes for all modules of TRACE, and is idle for in that time."""
        return self.bare(image, machine, "/dev/vda", "ext4", names_by_ends(trace), "loaded", smp)

    def bare(
        self, image: Path, machine: Machine, device: str, kind: str, names: Sequence[str], until: str, smp: int = 0
    ) -> tuple[int, int]:
        """Nanoseconds that the bare program takes to load NAMES of IMAGE and, with UNTIL `mounted`, to mount.

        With them those for which it is idle until all are loaded.
        """
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
        done = boot(self.kernel.vmlinuz, image, machine=machine, disks=[self.disk], icount=not smp, smp=smp or 1,
                    timeout=600)  # fmt: skip
        found = re.search(rf"floor: {until} after ns (\d+)", done.console)
        if found is None:
            raise TinykmodError(machine.name, f"the bare program did not come to its end:\n{done.tail()}")
        idle = re.search(r"floor: idle for ns (\d+)", done.console)
        return int(found[1]), int(idle[1]) if idle else 0


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
