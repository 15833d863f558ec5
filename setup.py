"""Builds the extension and this machine's static loader. The rest of the metadata is in pyproject.toml.

Neither is needed for the package to work: without a compiler or Python's headers the pure-Python twin is
installed alone, and a line says so. TINYKMOD_REQUIRE_NATIVE=1 turns that into an error; with TINYKMOD_SKIP_NATIVE=1
neither is built, as in the Makefile, which builds both in a step of its own.
"""

import os
import platform
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "scripts"))

import build_loader  # noqa: E402

REQUIRED = os.environ.get("TINYKMOD_REQUIRE_NATIVE") == "1"


class BuildNative(build_ext):
    """build_ext, then the loader; each is optional unless TINYKMOD_REQUIRE_NATIVE=1."""

    def run(self) -> None:
        if os.environ.get("TINYKMOD_SKIP_NATIVE") == "1":
            return
        if shutil.which(os.environ.get("CC", "cc").split()[0]) is None:
            # A machine without a C compiler has one all the same: ziglang is a build requirement.
            zig = f"{sys.executable} -m ziglang cc"
            os.environ.update(CC=zig, LDSHARED=f"{zig} -shared")
        try:
            super().run()
        except Exception as error:
            self._missing("the extension", error)
        arch = platform.machine()
        base = HERE if self.inplace else Path(self.build_lib)
        try:
            target = base / "tinykmod" / "loaders" / f"tinykmod-{arch}"
            build_loader.build(arch, target, cc=os.environ.get("TINYKMOD_LOADER_CC"))
        except build_loader.BuildError as error:
            self._missing("the loader", error)

    def _missing(self, what: str, error: Exception) -> None:
        if REQUIRED:
            raise SystemExit(f"setup.py: {what} was not built: {error}") from error
        print(f"setup.py: {what} was not built, the package works without it: {error}", file=sys.stderr)


setup(
    ext_modules=[
        Extension(
            "tinykmod._core",
            ["cext/_core.pyx"],
            depends=[str(path.relative_to(HERE)) for path in sorted(HERE.glob("cext/**/*.p[xy]*"))],
            include_dirs=["cext"],
            extra_compile_args=["-O2", "-g0", "-Wno-unused-function"],
            optional=not REQUIRED,
        ),
    ],
    cmdclass={"build_ext": BuildNative},
)
