"""The loader over the seam that only tells what it was asked, and made trees of modules and devices."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from once import once

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import build_loader  # noqa: E402


@pytest.fixture(scope="session")
def fake_loader(shared_dir: Path) -> Path:
    """cext/loader_fake.pyx as a program: its system calls are lines on standard output."""
    source = ROOT / "cext" / "loader_fake.pyx"
    return once(shared_dir / "loader-fake", lambda path: build_loader.build(platform.machine(), path, source=source))


@pytest.fixture
def run_fake(fake_loader: Path, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_fake(applet, *words, fail={"name": errno, "name.wait": milliseconds}): the loader by an applet's name."""

    def run(
        applet: str, *words: str | Path, fail: Mapping[str, int] | None = None
    ) -> subprocess.CompletedProcess[str]:
        link = tmp_path / applet
        if not link.exists():
            link.symlink_to(fake_loader)
        answers = " ".join(f"{name}={number}" for name, number in (fail or {}).items())
        environment = {**os.environ, "TINYKMOD_FAKE": answers}
        return subprocess.run([link, *words], capture_output=True, text=True, check=False, env=environment)

    return run
