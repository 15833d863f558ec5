#!/usr/bin/env python3
"""Boot a real Debian kernel in QEMU with tinykmod as its /init, and show what it loaded, when and why.

Ends with 0 only if the init on the root disk ran.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinykmod import loaders
from tinykmod.bench.debian import fetch_busybox, fetch_kernel
from tinykmod.bench.disk import SENTINEL, make_root_disk
from tinykmod.bench.machines import MACHINES
from tinykmod.bench.qemu import boot
from tinykmod.bench.report import timeline
from tinykmod.errors import TinykmodError


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--machine", choices=sorted(MACHINES), default="virtio-blk", help="default: %(default)s")
    parser.add_argument("--kernel", metavar="META", default="linux-image-amd64",
                        help="Debian's meta-package of the kernel (default: %(default)s)")  # fmt: skip
    parser.add_argument("--icount", action="store_true",
                        help="one guest instruction is one nanosecond: slower, but the figures repeat")  # fmt: skip
    parser.add_argument("--timeout", type=float, default=180, metavar="SECONDS", help="default: %(default)s")
    args = parser.parse_args()
    try:
        return run(args)
    except TinykmodError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1


def run(args: argparse.Namespace) -> int:
    loader = loaders.find("x86_64")
    say(f"fetching {args.kernel} and busybox (kept in the cache for the next time)")
    kernel, busybox = fetch_kernel(args.kernel), fetch_busybox()
    with tempfile.TemporaryDirectory(prefix="tinykmod-demo-") as scratch:
        image = Path(scratch, "initramfs.img")
        command = ["-m", "tinykmod", "initramfs", "-b", str(kernel.root), "-o", str(image), "--arch", "x86_64",
                   "--no-firmware", kernel.release]  # fmt: skip
        say(f"python3 {shlex.join(command)}")
        if subprocess.run([sys.executable, *command], check=False).returncode:
            return 1
        root = str(uuid.uuid4())
        disk = make_root_disk(Path(scratch, "root.img"), busybox=busybox, uuid=root)
        say(f"booting {kernel.release} on {args.machine} with root=UUID={root} (some 10 s without KVM)")
        result = boot(kernel.vmlinuz, image, machine=MACHINES[args.machine], disks=[disk], append=f"root=UUID={root}",
                      timeout=args.timeout, icount=args.icount)  # fmt: skip
        if SENTINEL not in result.console:
            print(result.tail(40), file=sys.stderr)
            raise TinykmodError("root's init", f"did not run; the boot ended with: {result.ended}")
        print(f"\n{timeline(result, image=image, loader=loader)}\nThe root's init said: {SENTINEL}")
    return 0


def say(text: str) -> None:
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
