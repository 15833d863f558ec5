#!/usr/bin/env python3
"""Wall time and peak memory of `tinykmod depmod` beside those of kmod's depmod, on a plain and on an .xz tree.

Each run is a whole process on files in the page cache. The two take turns, so that what else the host does meets
both, and the ratio is the median over the pairs.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import DOCUMENT, update

from tinykmod import core
from tinykmod.bench.debian import cache_dir, fetch_kernel
from tinykmod.bench.prepare import processor
from tinykmod.errors import TinykmodError
from tinykmod.kmod.depmod import FROM_BUILD
from tinykmod.modules.files import find_modules

ROOT = Path(__file__).resolve().parent.parent
METAS = ("linux-image-amd64", "linux-image-6.12-amd64")


class Run(NamedTuple):
    """One process."""

    seconds: float
    peak: float  # MiB


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kernel", action="append", metavar="META", help=f"default: {' and '.join(METAS)}")
    parser.add_argument("--pairs", type=int, default=7, metavar="N", help="default: %(default)s")
    parser.add_argument("--update", action="store_true", help=f"put the table into {DOCUMENT.relative_to(ROOT)}")
    args = parser.parse_args()
    try:
        text = report(args.kernel or METAS, args.pairs)
        print(text, end="")
        if args.update:
            update("make bench-depmod", text)
    except TinykmodError as error:
        print(f"bench_depmod: {error}", file=sys.stderr)
        return 1
    return 0


def report(metas: Sequence[str], pairs: int) -> str:
    """How it was measured, and a table with a row for each kernel, in Markdown."""
    theirs = shutil.which("depmod", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
    if theirs is None:
        raise TinykmodError("depmod", "not installed; it is in Debian's package kmod")
    kmod = subprocess.run([theirs, "--version"], check=True, capture_output=True, text=True).stdout.split("\n")[0]
    how = (
        f"{kmod}; tinykmod with its {core.NAME} core on Python {platform.python_version()}; {os.cpu_count()} "
        f"processors ({processor()}). Whole processes, files in the page cache, each depmod writing into a directory "
        f"of its own with links to the same modules; medians of {pairs} rounds in which they took turns. The ratio "
        "is the median of the rounds' ratios of wall time, the peak that of resident memory."
    )
    lines = [
        textwrap.fill(how, 118),
        "",
        "| tree | modules | kmod | tinykmod | ratio | kmod's peak | tinykmod's peak | -A, nothing changed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for meta in metas:
        kernel = fetch_kernel(meta)
        source = kernel.root / "lib/modules" / kernel.release
        files = find_modules(source)
        # On the filesystem that the modules are on.
        with tempfile.TemporaryDirectory(prefix="bench-", dir=cache_dir()) as scratch:
            commands = []
            ours = [sys.executable, "-m", "tinykmod", "depmod"]
            for name, command in ("kmod", [theirs, "-a"]), ("tinykmod", [*ours, "-a"]), ("again", [*ours, "-A"]):
                base = Path(scratch, name)
                link_tree(source, base / "lib/modules" / kernel.release)
                commands.append([*command, "-b", str(base), kernel.release])
            taken = measure(commands, pairs)
        kmods, whole, again = zip(*taken, strict=True)
        lines.append(
            f"| {kernel.release}, {files[0].path[files[0].path.index('.ko'):]} | {len(files)} "
            f"| {median(kmods).seconds:.2f} s | {median(whole).seconds:.2f} s "
            f"| {statistics.median(our.seconds / kmod.seconds for kmod, our, _ in taken):.2f} "
            f"| {median(kmods).peak:.0f} MiB | {median(whole).peak:.0f} MiB "
            f"| {median(again).seconds:.2f} s |"
        )  # fmt: skip
    return "".join(f"{line}\n" for line in lines)


def link_tree(source: Path, target: Path) -> None:
    """A tree for depmod to write into, with links to another's modules and to what the kernel's build left there."""
    target.mkdir(parents=True)
    for name in ("kernel", *FROM_BUILD):
        (target / name).symlink_to(source / name)


def measure(commands: Sequence[Sequence[str]], rounds: int) -> list[list[Run]]:
    """The commands' runs, each round of them; one more before that warms the cache."""
    return [[timed(command) for command in commands] for _ in range(rounds + 1)][1:]


def timed(command: Sequence[str]) -> Run:
    """Raises TinykmodError where the command fails."""
    start = time.perf_counter()
    # Not to a terminal: it would see a progress bar.
    # With byte code, as an installed package has it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    with subprocess.Popen(command, stderr=subprocess.PIPE, cwd=ROOT, text=True, env=environment) as process:
        complaints = process.stderr.read() if process.stderr else ""
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode or complaints:
        raise TinykmodError(command[0], f"exit code {process.returncode}: {complaints}")
    return Run(time.perf_counter() - start, usage.ru_maxrss / 1024)


def median(runs: Sequence[Run]) -> Run:
    return Run(*(statistics.median(values) for values in zip(*runs, strict=True)))


if __name__ == "__main__":
    sys.exit(main())
