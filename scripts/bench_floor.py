#!/usr/bin/env python3
"""Time from the loader's start to the root mounted, beside that of a program that only loads the same files.

Both run as PID 1 of the same image, under QEMU's -icount: one guest instruction is one nanosecond, so the figures
repeat within a few tenths of a percent whatever else the host does. Also told: the loader's size, and (where valgrind
is installed) the instructions that it spends in user space on the coldplug of the same machine.
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import build_loader

from tinykmod import loaders
from tinykmod.bench.debian import Kernel, fetch_busybox, fetch_kernel
from tinykmod.bench.disk import REPORTING_INIT, make_root_disk
from tinykmod.bench.machines import MACHINES, Machine
from tinykmod.bench.qemu import boot
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.trace.events import Event

ROOT = Path(__file__).resolve().parent.parent

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
    parser.add_argument("--machine", action="append", choices=sorted(MACHINES),
                        help="default: virtio-blk, nvme, ahci and reference")  # fmt: skip
    parser.add_argument("--kernel", metavar="META", default="linux-image-amd64", help="default: %(default)s")
    args = parser.parse_args()
    try:
        bench(args.kernel, args.machine or ["virtio-blk", "nvme", "ahci", "reference"])
    except (TinykmodError, build_loader.BuildError) as error:
        print(f"bench_floor: {error}", file=sys.stderr)
        return 1
    return 0


def bench(meta: str, machines: Sequence[str]) -> None:
    kernel = fetch_kernel(meta)
    with tempfile.TemporaryDirectory(prefix="tinykmod-bench-") as scratch:
        here = Path(scratch)
        floor = build_loader.build(platform.machine(), here / "floor", source=ROOT / "cext" / "floor.pyx")
        image = here / "image.cpio"
        command = ["initramfs", "-b", str(kernel.root), "--compress", "none", "-o", str(image), kernel.release]
        subprocess.run([sys.executable, "-m", "tinykmod", *command], check=True, stdout=sys.stderr, cwd=ROOT)
        init = REPORTING_INIT.replace("$bb sync\n", UEVENTS)
        root = str(uuid.uuid4())
        disk = make_root_disk(here / "root.img", busybox=fetch_busybox(), uuid=root, init_script=init)
        print(f"Debian {kernel.release}, one virtual CPU, milliseconds of virtual time from /init to root mounted\n")
        print(f"{'machine':12} {'modules':>7} {'loader':>9} {'floor':>9} {'ratio':>6}")
        for name in machines:
            trace, uevents = boot_loader(kernel, image, MACHINES[name], disk, root)
            device, kind, files, took = chain(trace)
            bare = boot_floor(kernel, image, here, floor, MACHINES[name], disk, [device, kind, *files])
            print(f"{name:12} {len(files):7} {took / 1e6:9.1f} {bare / 1e6:9.1f} {took / bare:6.3f}", flush=True)
        print(f"\nloader: {loaders.find().stat().st_size} bytes")
        print(f"user-space instructions of a coldplug of {name}: {instructions(image, uevents, here)}")


def boot_loader(
    kernel: Kernel, image: Path, machine: Machine, disk: Path, root: str
) -> tuple[list[Event], list[str]]:
    """The loader's trace, and the `uevent` files of the machine's devices as `FILE LINE` lines."""
    done = boot(kernel.vmlinuz, image, machine=machine, disks=[disk], append=f"root=UUID={root}", icount=True,
                timeout=600)  # fmt: skip
    if done.trace is None or UEVENTS_END not in done.lines:
        raise TinykmodError(machine.name, f"the root's init did not run:\n{done.tail()}")
    return done.trace, done.lines[done.lines.index(UEVENTS_BEGIN) + 1 : done.lines.index(UEVENTS_END)]


def chain(trace: Sequence[Event]) -> tuple[str, str, list[str], int]:
    """The root's device and type, the names of the modules that were loaded until it was mounted, and how long
    that took in nanoseconds."""
    start = next(event["t"] for event in trace if event["ev"] == "start")
    mounted = next(event for event in trace if event["ev"] == "mounted")
    loads = [event for event in trace if event["ev"] == "module" and event["t"] < mounted["t"]]
    # By their ends: what a module's init had the kernel load ends before the module does.
    names = [event["name"] for event in sorted(loads, key=lambda event: event["t"] + event["dur"])]
    return mounted["device"], mounted["type"], list(dict.fromkeys(names)), mounted["t"] - start


def boot_floor(
    kernel: Kernel, image: Path, here: Path, floor: Path, machine: Machine, disk: Path, lines: Sequence[str]
) -> int:
    """Nanoseconds that the bare program takes in the same image: /init is it, and /floor says what to load."""
    entries = list(cpio.read(image.read_bytes()))
    paths = {Path(entry.path).name.partition(".")[0].replace("-", "_"): f"/{entry.path}" for entry in entries
             if ".ko" in entry.path}  # fmt: skip
    listed = [*lines[:2], *(paths[name] for name in lines[2:])]
    # Nor is there a modprobe: the links to /init would make the kernel's helper one more of the bare program.
    entries = [entry for entry in entries if entry.path != "init" and not entry.path.startswith("sbin/")]
    entries.append(cpio.regular("init", floor.read_bytes(), 0o755))
    entries.append(cpio.regular("floor", "".join(f"{line}\n" for line in listed).encode()))
    bare = here / "floor.cpio"
    with bare.open("wb") as out:
        cpio.write(out, entries)
    done = boot(kernel.vmlinuz, bare, machine=machine, disks=[disk], icount=True, timeout=600)
    found = re.search(r"floor: mounted after ns (\d+)", done.console)
    if found is None:
        raise TinykmodError(machine.name, f"the bare program did not mount the root:\n{done.tail()}")
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
