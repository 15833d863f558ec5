#!/usr/bin/env python3
"""Build the static loader: Cython to C, C to one program with no interpreter in it.

The compiler is PyPI's ziglang, which carries musl for every architecture; `--cc musl-gcc` names another (for
the host's architecture only). setup.py builds the host's loader through build(); run this file to build others.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CEXT = ROOT / "cext"
LOADERS = ROOT / "tinykmod" / "loaders"

#: uname -m -> zig's target triple.
TARGETS = {
    "x86_64": "x86_64-linux-musl",
    "aarch64": "aarch64-linux-musl",
    "armv7l": "arm-linux-musleabihf",
    "riscv64": "riscv64-linux-musl",
    "ppc64le": "powerpc64le-linux-musl",
    "i686": "x86-linux-musl",
}

# -fno-sanitize: zig's cc traps undefined behaviour by default, which would put a trap into PID 1.
# -fno-stack-protector, -fno-unwind-tables: nothing reads them in a program without libc's crash handlers.
COMPILE_FLAGS = [
    "-Os",
    "-std=c11",
    "-D_GNU_SOURCE",
    "-DNDEBUG",
    "-D_FILE_OFFSET_BITS=64",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-sanitize=undefined",
    "-fno-stack-protector",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fomit-frame-pointer",
    "-fno-strict-aliasing",
    "-Wall",
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-unknown-warning-option",
]
# -fno-sanitize: or zig first compiles a runtime for what is trapped, a minute an architecture, and links none of it.
LINK_FLAGS = ["-static", "-Wl,--gc-sections", "-fno-sanitize=undefined"]


class BuildError(Exception):
    """The compiler is missing or refused; the text is its own last word."""


def compiler(arch: str, cc: str | None = None) -> list[str]:
    """The command that compiles for ARCH: CC where named (host architecture only), else ziglang."""
    if cc:
        if arch != platform.machine():
            raise BuildError(f"{cc}: builds for {platform.machine()} only, {arch} was asked for")
        if shutil.which(cc.split()[0]) is None:
            raise BuildError(f"{cc}: no such compiler")
        return cc.split()
    if arch not in TARGETS:
        raise BuildError(f"{arch}: unknown architecture (known: {', '.join(TARGETS)})")
    if importlib.util.find_spec("ziglang") is None:
        raise BuildError("ziglang is not installed (pip install ziglang), and no other compiler was named with --cc")
    # Its -Os inlines what is called from many places all the same: 12 of 90 KB, for 6 % fewer instructions.
    return [sys.executable, "-m", "ziglang", "cc", "-target", TARGETS[arch], "-finline-hint-functions"]


def version() -> str:
    """The package's version, read as text: the package may not be importable yet."""
    text = (ROOT / "tinykmod" / "__init__.py").read_text()
    return text.partition('__version__ = "')[2].partition('"')[0]


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    undefined = re.findall(r"undefined (?:symbol:|reference to) [`']?([\w.]+)", done.stderr)
    if done.returncode and undefined:
        # The interpreter's functions, as a rule: `noexcept`, `nogil` or cdivision is missing somewhere.
        raise BuildError(f"does not link: undefined {', '.join(dict.fromkeys(undefined))}")
    sys.stderr.write(done.stderr)
    if done.returncode:
        raise BuildError(f"{command[0]} ended with exit code {done.returncode}: {' '.join(command[-3:])}")


def generate_c(source: Path, directory: Path) -> Path:
    """Translate a .pyx; the C file is the same for every architecture."""
    target = directory / f"{source.stem}.c"
    _run([sys.executable, "-m", "cython", "-3", "-I", str(CEXT), str(source), "-o", str(target)])
    return target


def python_headers(include: Path, directory: Path) -> Path:
    """Python's headers with our pyconfig.h among them, as links in DIRECTORY.

    Python.h includes "pyconfig.h" from where it lies itself, so no order of -I puts another one first; and Debian's
    leads on to a header of the host's architecture, whose directory another libc's compiler does not search.
    """
    headers = directory / "python"
    headers.mkdir()
    for entry in include.iterdir():
        if entry.name != "pyconfig.h":
            (headers / entry.name).symlink_to(entry)
    (headers / "pyconfig.h").symlink_to(CEXT / "pyconfig.h")
    return headers


def build(
    arch: str,
    output: Path,
    *,
    source: Path = CEXT / "loader.pyx",
    cc: str | None = None,
    objects: Path | None = None,
    c_file: Path | None = None,
) -> Path:
    """Build SOURCE for ARCH as the static program OUTPUT, written beside and renamed.

    C_FILE is what generate_c() has made of SOURCE, where that has been done.
    For the gates of scripts/check_loader.py the object file and a program with its symbols are kept in OBJECTS
    where given: STEM-ARCH.o and STEM-ARCH.symbols. Raises BuildError.
    """
    command = compiler(arch, cc)
    include = sysconfig.get_path("include")
    if not Path(include, "Python.h").exists():
        raise BuildError(f"{include}/Python.h: not there; install Python's headers (Debian: python3-dev)")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="tinykmod-build-") as scratch:
        c_file = c_file or generate_c(source, Path(scratch))
        kept = objects or Path(scratch)
        kept.mkdir(parents=True, exist_ok=True)
        object_file = kept / f"{source.stem}-{arch}.o"
        said = [f'-DTINYKMOD_VERSION="{version()}"', "-I", str(python_headers(Path(include), Path(scratch)))]
        _run([*command, *COMPILE_FLAGS, *said, "-c", str(c_file), "-o", str(object_file)])
        if objects:
            _run([*command, *LINK_FLAGS, str(object_file), "-o", str(object_file.with_suffix(".symbols"))])
        beside = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            _run([*command, *LINK_FLAGS, "-Wl,-s", str(object_file), "-o", str(beside)])
            beside.replace(output)
        finally:
            beside.unlink(missing_ok=True)
    return output


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--arch", action="append", choices=[*TARGETS, "all"], help="default: this machine's")
    parser.add_argument("--cc", help="a compiler to use instead of ziglang, e.g. musl-gcc")
    parser.add_argument("-o", "--output", type=Path, help="default: tinykmod/loaders/tinykmod-ARCH")
    parser.add_argument("--objects", type=Path, help="keep the object files here")
    parser.add_argument("--c-file", type=Path, help="what cython has made of cext/loader.pyx (default: it is run)")
    args = parser.parse_args()
    wanted = args.arch or [platform.machine()]
    with tempfile.TemporaryDirectory(prefix="tinykmod-c-") as scratch:
        try:
            c_file = args.c_file or generate_c(CEXT / "loader.pyx", Path(scratch))
            for arch in TARGETS if "all" in wanted else wanted:
                output = args.output or LOADERS / f"tinykmod-{arch}"
                build(arch, output, cc=args.cc, objects=args.objects, c_file=c_file)
                data = output.read_bytes()
                print(f"{output}: {len(data)} bytes, sha256 {hashlib.sha256(data).hexdigest()}")
        except BuildError as error:
            print(f"build_loader: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
