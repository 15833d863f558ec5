"""The package as it is installed: a wheel, unpacked."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def unpack_wheel(site: Path, scratch: Path) -> None:
    """Make the wheel from a copy of the source tree below SCRATCH, without what compiles, and unpack it into SITE."""
    copy = scratch / "copy"
    left = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__", "tests", "*.so")
    shutil.copytree(ROOT, copy, ignore=left, symlinks=True)
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "bdist_wheel", "-d", scratch],
        cwd=copy, env={**os.environ, "TINYKMOD_SKIP_NATIVE": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    [wheel] = scratch.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
