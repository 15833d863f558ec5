#!/usr/bin/env python3
"""Boot the parallel path again and again, with random numbers of workers and processors: every boot has to end with
the modules that a serial one ends with.

The machine has one of most kinds of device that QEMU knows, so that many modules are under way at once, in an order
that differs from boot to boot. The record tells each boot; a run that was interrupted goes on with it. Ends with 1
where a boot differed; its console is kept beside the record.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinykmod import loaders
from tinykmod.bench.debian import fetch_busybox, fetch_kernel
from tinykmod.bench.disk import REPORTING_INIT, make_root_disk
from tinykmod.bench.machines import MACHINES
from tinykmod.bench.qemu import BootResult, boot
from tinykmod.bench.soak import MODULE, Record, Setting, soak, summary
from tinykmod.cache import cache_dir
from tinykmod.errors import TinykmodError
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.vmlinux import unpack_vmlinux

ROOT = Path(__file__).resolve().parent.parent
UUID = "7b1c9e5e-0f4b-4d8e-9a41-3f2d8c6b1a02"
INIT = REPORTING_INIT.replace("$bb sync\n", f"$bb sed 's/ .*//; s/^/{MODULE}/' /proc/modules\n$bb sync\n")
#: Every class of drivers: whatever the machine has is loaded.
CLASSES = ",".join(kind.name.lower() for kind in DriverClass if kind.name and kind is not DriverClass.FILESYSTEM)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("-n", "--boots", type=int, default=200, help="default: %(default)s")
    parser.add_argument("-o", "--output", type=Path, metavar="FILE",
                        help="the record (default: in the cache, by kernel, machine and loader)")  # fmt: skip
    parser.add_argument("--seed", type=int, help="default: the record's, or a new one")
    parser.add_argument("--machine", choices=sorted(MACHINES), default="reference", help="default: %(default)s")
    parser.add_argument("--kernel", metavar="META", default="linux-image-amd64", help="default: %(default)s")
    help_delay = "rootdelay=, doubled where not all is loaded long before (default: %(default)s)"
    parser.add_argument("--delay", type=int, default=16, metavar="S", help=help_delay)
    args = parser.parse_args()
    try:
        return run(args)
    except TinykmodError as error:
        print(f"soak: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("soak: interrupted; the same command goes on with it", file=sys.stderr)
    return 1


def run(args: argparse.Namespace) -> int:
    kernel = fetch_kernel(args.kernel)
    loader = hashlib.sha256(loaders.find("x86_64").read_bytes()).hexdigest()[:12]
    path = args.output or cache_dir() / "soak" / f"{kernel.release}-{args.machine}-{loader}.jsonl"
    about = {"release": kernel.release, "machine": args.machine, "loader": loader, "seed": args.seed}
    record = Record(path, about)
    print(f"soak: {path}: {len(record.outcomes)} boots so far, seed {record.about['seed']}", flush=True)
    with tempfile.TemporaryDirectory(prefix="tinykmod-soak-") as scratch:
        image, vmlinux = Path(scratch, "initramfs.img"), Path(scratch, "vmlinux")
        command = ["-m", "tinykmod", "initramfs", "-b", str(kernel.root), "-o", str(image), "--arch", "x86_64",
                   "--class", CLASSES, "--compress", "none", "--no-firmware", kernel.release]  # fmt: skip
        subprocess.run([sys.executable, *command], check=True, stdout=sys.stderr, cwd=ROOT)
        vmlinux.write_bytes(unpack_vmlinux(kernel.vmlinuz))
        disk = make_root_disk(Path(scratch, "root.img"), busybox=fetch_busybox(), uuid=UUID, init_script=INIT)

        def start(setting: Setting, delay: int) -> BootResult:
            words = f"root=UUID={UUID} rd.tinykmod.jobs={setting.jobs} rootdelay={delay}"
            return boot(vmlinux, image, machine=MACHINES[args.machine], disks=[disk], append=words, smp=setting.smp,
                        timeout=180 + 2 * delay)  # fmt: skip

        soak(record, args.boots, start, delay=args.delay, say=lambda line: print(f"soak: {line}", flush=True))
    print("\n".join(summary(record)))
    return 1 if record.differences() else 0


if __name__ == "__main__":
    sys.exit(main())
