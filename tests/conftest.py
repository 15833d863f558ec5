"""Fixtures for every room: a real Debian kernel, busybox, the command line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import faces
import faults
import pytest
from hypothesis import settings
from once import once

import tinykmod
from tinykmod.bench import debian
from tinykmod.index.compiler import compile_index
from tinykmod.kmod.config import Config
from tinykmod.modules.tree import read_tree
from tinykmod.modules.vmlinux import unpack_vmlinux

# pytest-xdist gives its workers one of 80, which is no tester's wish.
os.environ.pop("COLUMNS", None)

#: So that a child process imports the package that the tests import, wherever it runs.
_IMPORT_PATH = str(Path(tinykmod.__file__).parent.parent)


# The same examples every time, so that a suite that passes here passes elsewhere; TINYKMOD_FUZZ=1 looks for new ones.
settings.register_profile("suite", derandomize="TINYKMOD_FUZZ" not in os.environ, deadline=None)
settings.load_profile("suite")


@pytest.fixture(scope="session")
def cache() -> Path:
    """The user's cache directory: what is fetched stays there between sessions."""
    return debian.cache_dir()


@pytest.fixture(scope="session")
def kernel() -> debian.Kernel:
    """Debian's current amd64 kernel, unpacked: .release, .vmlinuz, .root."""
    return debian.fetch_kernel()


@pytest.fixture(scope="session")
def busybox() -> Path:
    """A static busybox for amd64."""
    return debian.fetch_busybox()


@pytest.fixture(scope="session")
def run_tinykmod() -> Callable[..., subprocess.CompletedProcess[str]]:
    """run_tinykmod(*words, **environment): the command as a user runs it, in text; its exit code is not checked."""

    def run(*words: str | os.PathLike[str], **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(filter(None, [_IMPORT_PATH, os.environ.get("PYTHONPATH")]))
        return subprocess.run(
            [sys.executable, "-m", "tinykmod", *map(os.fspath, words)],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path, **environment},
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def shared_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of this session that all of xdist's workers see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session", params=faces.FACES, ids=lambda face: face.name)
def face(request: pytest.FixtureRequest) -> faces.Face:
    """The twin, the extension and the loader program in turn."""
    return request.param()


@pytest.fixture(scope="session")
def depmod_root(kernel: debian.Kernel, shared_dir: Path) -> Path:
    """A root with a copy (hard links) of the kernel's modules that Debian's depmod was run on."""

    def make(root: Path) -> None:
        modules = Path("lib/modules", kernel.release)
        shutil.copytree(kernel.root / modules, root / modules, symlinks=True, copy_function=_link_or_copy)
        subprocess.run(["/sbin/depmod", "-b", root, kernel.release], check=True)

    return once(shared_dir / "depmod-root", make)


@pytest.fixture(scope="session")
def vmlinux(kernel: debian.Kernel, shared_dir: Path) -> Path:
    """The kernel uncompressed, which QEMU starts directly: under TCG a boot is a third shorter so."""
    return once(shared_dir / "vmlinux", lambda path: path.write_bytes(unpack_vmlinux(kernel.vmlinuz)))


@pytest.fixture(scope="session")
def kernel_index(kernel: debian.Kernel, shared_dir: Path) -> Path:
    """The boot index of every module of Debian's kernel, under an empty configuration."""
    return once(
        shared_dir / f"{kernel.release}.tki",
        lambda path: path.write_bytes(compile_index(read_tree(kernel.root, kernel.release), Config())),
    )


@pytest.fixture(scope="session")
def faulty_root(kernel: debian.Kernel, shared_dir: Path) -> Path:
    """A root with the kernel's modules and those of faults.FAULTS."""
    return once(shared_dir / "faulty-root", lambda root: faults.make_root(root, kernel))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
