#!/usr/bin/env python3
"""Build the core under gcc's AddressSanitizer and UBSan, and run a command with what it needs.

`build_sanitized.py COMMAND...` builds where the sources have changed, then runs COMMAND, whose Python imports
tests/sanitizer/sanitized.py for the sanitized core to take the other's place.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

import build_loader
from build_loader import CEXT, ROOT, BuildError

TESTS = ROOT / "tests" / "sanitizer"
#: The extension, and the loader over its fake seam: a library here, whose main() is called in one process again and
#: again.
SOURCES = [CEXT / "_core.pyx", CEXT / "loader_fake.pyx"]
FLAGS = [
    "-O1",
    "-g",
    "-shared",
    "-fPIC",
    "-D_GNU_SOURCE",
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-Wno-unused-function",
    "-include",
    str(TESTS / "exact_mmap.h"),
]
#: Where no fault is, memory may run out, and Python leaves some of its own to the end of the process.
ASAN = "detect_leaks=0:abort_on_error=1:allocator_may_return_null=1:detect_stack_use_after_return=1"
ASAN += ":strict_string_checks=1:quarantine_size_mb=8"
UBSAN = "print_stacktrace=1:abort_on_error=1"


def runtime() -> str:
    """The path of gcc's libasan. Raises BuildError that tells what to install."""
    if shutil.which("gcc") is None:
        raise BuildError("gcc: no such compiler; its sanitizers are needed (Debian: gcc)")
    asked = ["gcc", "-print-file-name=libasan.so"]
    found = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_absolute():
        raise BuildError("gcc has no libasan.so; install its sanitizers (Debian: gcc, Fedora: libasan and libubsan)")
    return found


def place() -> Path:
    """The directory of what these sources give with this compiler and this Python."""
    digest = hashlib.sha256()
    for path in sorted([*CEXT.rglob("*.p[xy]*"), *CEXT.glob("*.h"), TESTS / "exact_mmap.h", Path(__file__)]):
        digest.update(f"{path.name}\n".encode() + path.read_bytes())
    with Path(runtime()).open("rb") as library:
        digest.update(hashlib.file_digest(library, "sha256").digest() if sys.version_info >= (3, 11) else b"")
    digest.update(f"{sys.version} {version('cython')}".encode())
    return ROOT / "build" / "sanitized" / digest.hexdigest()[:16]


def build_one(source: Path, directory: Path) -> Path:
    """DIRECTORY/STEM.so from a .pyx. Raises BuildError."""
    c_file = build_loader.generate_c(source, directory)
    library = directory / f"{source.stem}.so"
    said = [f'-DTINYKMOD_VERSION="{build_loader.version()}"', "-I", sysconfig.get_path("include"), "-I", str(CEXT)]
    build_loader._run(["gcc", *FLAGS, *said, str(c_file), "-o", str(library)])
    return library


def build(directory: Path) -> None:
    """All SOURCES into a new DIRECTORY. Raises BuildError."""
    runtime()
    directory.mkdir(parents=True)
    for source in SOURCES:
        build_one(source, directory)


def environment(directory: Path) -> dict[str, str]:
    """The environment for a Python that loads what was built into DIRECTORY.

    Every object is an allocation of its own, so that a read beyond its end is seen.
    """
    ours = [ROOT, TESTS, TESTS.parent, TESTS.parent / "boot"]
    path = os.pathsep.join(filter(None, [*map(str, ours), os.environ.get("PYTHONPATH")]))
    return {
        **os.environ,
        "LD_PRELOAD": runtime(),
        "ASAN_OPTIONS": ASAN,
        "UBSAN_OPTIONS": UBSAN,
        "PYTHONMALLOC": "malloc",
        "PYTHONPATH": path,
        "TINYKMOD_SANITIZED": str(directory),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("command", nargs=argparse.REMAINDER, help="default: only build")
    args = parser.parse_args()
    try:
        directory = place()
        if not directory.exists():
            beside = directory.with_name(f".{directory.name}.{os.getpid()}")
            build(beside)
            beside.rename(directory)
    except BuildError as error:
        print(f"build_sanitized: {error}", file=sys.stderr)
        return 1
    if args.command:
        os.execvpe(args.command[0], args.command, environment(directory))
    print(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main())
