#!/usr/bin/env python3
"""Wall and processor time of building a kernel's image: `tinykmod initramfs`, and what else is installed for it.

Each run is a whole process on files in the page cache; they take turns, so that what else the host does meets all.
mkinitramfs and dracut build for the modules below /, which must have the kernel then: run this in a chroot with them.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tinykmod.errors import TinykmodError
from tinykmod.modules.directory import module_directory

ROOT = Path(__file__).resolve().parent.parent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-b", "--root", type=Path, default=Path("/"), help="of tinykmod's kernel (default: /)")
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="default: %(default)s")
    parser.add_argument("--class", dest="classes", default="storage,gpu", help="default: %(default)s")
    parser.add_argument("release", metavar="VERSION")
    args = parser.parse_args()
    try:
        module_directory(args.root, args.release)
        report(args.root, args.release, args.classes, args.rounds)
    except TinykmodError as error:
        print(f"bench_image: {error}", file=sys.stderr)
        return 1
    return 0


def report(root: Path, release: str, classes: str, rounds: int) -> None:
    """Print a line for each generator: medians, and the size of its image.

    Raises TinykmodError where one of them fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        image = Path(directory, "image")
        commands = {
            f"tinykmod --class {classes}": [
                sys.executable, "-m", "tinykmod", "initramfs", "-b", str(root), "--class", classes, "-o", str(image),
                release,
            ],
            "mkinitramfs": ["mkinitramfs", "-o", str(image), release],
            "dracut --no-hostonly": ["dracut", "--force", "--no-hostonly", str(image), release],
        }  # fmt: skip
        there = {name: words for name, words in commands.items() if shutil.which(words[0])}
        taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in there}
        for number in range(rounds + 1):
            for name, words in there.items():
                run = (*timed(name, words), image.stat().st_size)
                if number:  # the first fills the page cache
                    taken[name].append(run)
    for name, runs in taken.items():
        wall, used, size = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:<30} {wall:6.2f} s, {used:6.2f} s of processor time, {size / 2**20:6.1f} MiB")


def timed(name: str, words: list[str]) -> tuple[float, float]:
    """Seconds of one run: on the clock, and of processors. Raises TinykmodError with its last line where it fails."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path})
    wall, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise TinykmodError(name, (done.stderr.splitlines() or [f"exit code {done.returncode}"])[-1])
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    sys.exit(main())
