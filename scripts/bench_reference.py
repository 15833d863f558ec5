#!/usr/bin/env python3
"""Run the reference suite of `tinykmod bench`, and put its table and pictures into docs/benchmarks.md.

Results are kept by the revision of the source; what was interrupted goes on.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import DOCUMENT, update

from tinykmod.bench import figures, results
from tinykmod.bench.pictures import contenders
from tinykmod.bench.prepare import revision
from tinykmod.cli import main as tinykmod
from tinykmod.errors import TinykmodError
from tinykmod.files import replace_all

ROOT = Path(__file__).resolve().parent.parent
PICTURES = DOCUMENT.parent / "pictures"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("-j", "--jobs", default="2", metavar="N", help="boots at once (default: %(default)s)")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", help="default: build/bench/REVISION")
    parser.add_argument("--update", action="store_true", help=f"put them into {DOCUMENT.relative_to(ROOT)}")
    args = parser.parse_args()
    directory = args.output or ROOT / "build/bench" / (revision(ROOT) or "unknown")
    directory.parent.mkdir(parents=True, exist_ok=True)
    code = tinykmod(["bench", "reference", "-j", args.jobs, "-o", str(directory)])
    if args.update and (directory / results.RUNS).exists():
        try:
            update("make bench", report(directory))
            draw(directory)
        except TinykmodError as error:
            print(f"bench_reference: {error}", file=sys.stderr)
            return 1
    return code


def report(directory: Path) -> str:
    """How it was measured, and a table with a row for each contender and machine, in Markdown."""
    about = results.read_about(directory)
    baseline = about["suite"]["baseline"]
    engines = ", ".join(f"{name} ({version})" for name, version in about["engines"].items())
    how = (
        f"Kernel {about['kernel']['release']}, {engines}, {about['suite']['runs']} rounds, begun {about['begun']}. "
        f"Milliseconds of the guest's clock: median ±half of the range, x ratio to {baseline} round by round. "
        "unpacking: the kernel unpacks the image; T_root: from its init to the root mounted; T_gpu: to the first "
        "display; T_all: to the end of the last module's init; total: from the kernel's start to the root's init."
    )
    rows = figures.rows(results.read_runs(directory), baseline)
    shown = "\n".join(f"![T_root on {name}]({PICTURES.name}/T_root-{name}.svg)" for name in machines(rows))
    return f"{textwrap.fill(how, 118)}\n\n{shown}\n\n{figures.markdown(rows, baseline)}\n"


def draw(directory: Path) -> None:
    """The time to the root of each machine's contenders, as a picture."""
    baseline = results.read_about(directory)["suite"]["baseline"]
    rows = figures.rows(results.read_runs(directory), baseline)
    pictures = {name: contenders.draw([row for row in rows if row.machine == name], "T_root", name)
                for name in machines(rows)}  # fmt: skip
    PICTURES.mkdir(exist_ok=True)
    replace_all(PICTURES, {f"T_root-{name}.svg": picture.svg().encode() for name, picture in pictures.items()})


def machines(rows: list[figures.Row]) -> list[str]:
    """Those on which a root was mounted."""
    return list(dict.fromkeys(row.machine for row in rows if "T_root" in row.metrics))


if __name__ == "__main__":
    sys.exit(main())
