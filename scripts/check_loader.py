#!/usr/bin/env python3
"""Static gates on the loader: it is built anew from the sources and looked into; each fault is one line.

The program must be static and hold no interpreter symbol, its object no module-level Cython variable (the
module's init, which would give it its value, never runs in a program without an interpreter), and its size
stays within BUDGET. The loader in the package must be the one that the sources give.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from elftools.elf.constants import SH_FLAGS
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

sys.path.insert(0, str(Path(__file__).resolve().parent))

import build_loader

#: Bytes the stripped loader may take. Raised only in a commit of its own, which says what the bytes buy.
BUDGET = {**dict.fromkeys(build_loader.TARGETS, 131072), "ppc64le": 163840}

INTERPRETER = re.compile(r"_?_?Py[A-Z_]")
# A function has its parameters after its name; `(*` begins a variable that holds a function's address.
PUBLIC = re.compile(r"^\s*cdef\s+public\b(?!\s+(enum|struct|union|packed)\b)(?![^(=]*\w\((?!\*))")


def symbols(elf: ELFFile) -> Iterator[tuple[str, int | str]]:
    """Each symbol's name and section: its number, or SHN_UNDEF and the like."""
    for section in elf.iter_sections():
        if isinstance(section, SymbolTableSection):
            for symbol in section.iter_symbols():
                yield symbol.name, symbol["st_shndx"]


def program_faults(path: Path) -> Iterator[str]:
    """What makes PATH, a program linked with its symbols kept, other than static and free of the interpreter."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        for segment in elf.iter_segments():
            if segment["p_type"] == "PT_INTERP":
                yield f"{path.name}: not static: asks for {segment.get_interp_name()}"
            if segment["p_type"] == "PT_DYNAMIC":
                yield from (f"{path.name}: not static: needs {tag.needed}" for tag in segment.iter_tags("DT_NEEDED"))
        names = [name for name, _ in symbols(elf)]
        if not names:
            yield f"{path.name}: stripped, so its symbols cannot be checked"
        yield from (f"{path.name}: interpreter symbol {name}" for name in names if INTERPRETER.match(name))


def object_faults(path: Path) -> Iterator[str]:
    """Module-level Cython variables in an object file: zero for ever where no module init runs."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        for name, section in symbols(elf):
            if not re.match(r"__pyx_[vf]_", name) or not isinstance(section, int):
                continue
            if elf.get_section(section)["sh_flags"] & SH_FLAGS.SHF_WRITE:
                yield f"{path.name}: module-level variable {name}"


def source_faults(paths: Iterable[Path]) -> Iterator[str]:
    """`cdef public` variables, which carry no __pyx_ prefix and so escape object_faults()."""
    for path in paths:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if PUBLIC.search(line):
                yield f"{path.name}:{number}: cdef public variable: {line.strip()}"


def size_faults(path: Path, budget: int) -> Iterator[str]:
    """A program over its budget."""
    if (size := path.stat().st_size) > budget:
        yield f"{path.name}: {size} bytes, {size - budget} over the budget of {budget}"


def sources(directory: Path) -> list[Path]:
    """Every Cython source under DIRECTORY."""
    return sorted(path for path in directory.rglob("*") if path.suffix in {".pyx", ".pxd", ".pxi"})


def faults(source: Path, arch: str, scratch: Path, cc: str | None = None) -> Iterator[str]:
    """Build SOURCE for ARCH in SCRATCH and pass it through every gate.

    Raises build_loader.BuildError where it does not compile, or does not link for want of the interpreter.
    """
    program = build_loader.build(arch, scratch / f"tinykmod-{arch}", source=source, cc=cc, objects=scratch)
    yield from source_faults(sources(source.parent))
    yield from object_faults(scratch / f"{source.stem}-{arch}.o")
    yield from program_faults(scratch / f"{source.stem}-{arch}.symbols")
    yield from size_faults(program, BUDGET[arch])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--arch", default=platform.machine(), choices=build_loader.TARGETS)
    parser.add_argument("--cc", default=os.environ.get("TINYKMOD_LOADER_CC"),
                        help="a compiler to use instead of ziglang (default: $TINYKMOD_LOADER_CC)")  # fmt: skip
    parser.add_argument("--source", type=Path, default=build_loader.CEXT / "loader.pyx", help=argparse.SUPPRESS)
    args = parser.parse_args()
    installed = build_loader.LOADERS / f"tinykmod-{args.arch}"
    with tempfile.TemporaryDirectory(prefix="tinykmod-check-") as directory:
        scratch = Path(directory)
        try:
            found = list(faults(args.source, args.arch, scratch, args.cc))
        except build_loader.BuildError as error:
            found = [str(error)]
        else:
            built = (scratch / installed.name).read_bytes()
            if installed.exists() and installed.read_bytes() != built:
                found.append(f"{installed}: not what the sources give; run make build")
            print(f"{installed.name}: {len(built)} bytes of {BUDGET[args.arch]}")
    for fault in found:
        print(f"check_loader: {fault}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
