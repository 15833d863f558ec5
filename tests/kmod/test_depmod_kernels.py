"""tinykmod depmod beside Debian's on real kernels: the same files, the same answers from modprobe."""

from __future__ import annotations

import contextlib
import os
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from once import once

import tinykmod
from tinykmod.bench.debian import fetch_kernel
from tinykmod.kmod.binindex import BinIndex
from tinykmod.kmod.depmod import FROM_BUILD

#: kmod 30 writes no modules.weakdep; kmod 34 does.
TEXTS = ("modules.dep", "modules.alias", "modules.softdep", "modules.symbols", "modules.devname")
INDEXES = tuple(f"modules.{name}.bin" for name in ("dep", "alias", "symbols", "builtin", "builtin.alias"))

ARM64 = ("linux-image-arm64", "arm64")


class Written(NamedTuple):
    """Roots with links to one kernel's modules, in which either depmod has written its files."""

    release: str
    debian: Path
    ours: Path

    def file(self, root: Path, name: str) -> bytes:
        """What was written there by that name."""
        return (root / "lib/modules" / self.release / name).read_bytes()


@pytest.fixture(
    scope="session",
    params=[("linux-image-amd64", "amd64"), ("linux-image-6.12-amd64", "amd64"), ARM64],
    ids=["plain-amd64", "xz-amd64", "plain-arm64"],
)
def written(
    request: pytest.FixtureRequest, run_tinykmod: Callable[..., subprocess.CompletedProcess[str]], shared_dir: Path
) -> Written:
    """Every kernel in turn."""
    kernel = fetch_kernel(*request.param)

    def write(roots: Path) -> None:
        for name in ("debian", "ours"):
            target = roots / name / "lib/modules" / kernel.release
            target.mkdir(parents=True)
            for there in ("kernel", *FROM_BUILD):
                (target / there).symlink_to(kernel.root / "lib/modules" / kernel.release / there)
        subprocess.run(["/sbin/depmod", "-b", roots / "debian", kernel.release], check=True)
        done = run_tinykmod("depmod", "-a", "-b", roots / "ours", kernel.release)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    roots = once(shared_dir / "written-{}-{}".format(*request.param), write)
    return Written(kernel.release, roots / "debian", roots / "ours")


@pytest.mark.parametrize("name", TEXTS)
def test_texts_are_the_same_bytes(written: Written, name: str) -> None:
    expected, found = (written.file(root, name) for root in (written.debian, written.ours))
    assert len(expected) > 400
    assert found == expected


@pytest.mark.parametrize("name", INDEXES)
def test_indexes_hold_the_same(written: Written, name: str) -> None:
    expected, found = (BinIndex(written.file(root, name), name).entries() for root in (written.debian, written.ours))
    assert len(expected) > 50
    assert found == expected


def modprobe(root: Path, release: str, *words: str) -> list[str]:
    """What Debian's modprobe prints, without the root."""
    done = subprocess.run(
        ["/sbin/modprobe", "-C", "/dev/null", "-d", root, "-S", release, "-a", *words],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    return (done.stdout + done.stderr).replace(str(root), "").splitlines()


def test_debians_modprobe_gives_the_same_answers(written: Written) -> None:
    names, aliases, symbols, builtin = (
        [entry.key for entry in BinIndex(written.file(written.debian, f"modules.{name}.bin"), name).entries()]
        for name in ("dep", "alias", "symbols", "builtin")
    )
    pick = random.Random(1).sample
    # A device's modalias out of a pattern: something for each wildcard.
    modaliases = [re.sub(r"\[(.).*?\]", r"\1", alias).replace("*", "0").replace("?", "1") for alias in aliases]
    for words in (
        ["-D", *pick(names, 400)],
        ["-R", *pick(modaliases, 400), *pick(symbols, 100), *builtin[:50], "no:such:alias"],
        ["-D", *pick(modaliases, 100)],
    ):
        expected = modprobe(written.debian, written.release, *words)
        assert len(expected) > len(words) // 2
        assert modprobe(written.ours, written.release, *words) == expected


@pytest.mark.parametrize("written", [ARM64], indirect=True, ids=["plain-arm64"])
def test_pure_python_writes_the_same_and_shows_how_far_it_is(written: Written, tmp_path: Path) -> None:
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "tinykmod", "depmod", "-b", written.ours, "-o", tmp_path, written.release],
        stderr=theirs, cwd=Path(tinykmod.__file__).parent.parent, env={**os.environ, "TINYKMOD_PURE": "1"},
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the other end was closed
        while more := os.read(ours, 1 << 16):
            shown += more
    os.close(ours)
    assert process.wait() == 0
    total = len(BinIndex(written.file(written.ours, "modules.dep.bin"), "modules.dep.bin").entries())
    # Each line takes the place of the last one, and nothing stays.
    assert re.fullmatch(rb"(\r\x1b\[Kreading modules: \d+ of %d)+\r\x1b\[K" % total, shown)
    made = {path.name: path.read_bytes() for path in (tmp_path / "lib/modules" / written.release).iterdir()}
    assert len(made) == len(TEXTS) + len(INDEXES) + 1
    assert made == {name: written.file(written.ours, name) for name in made}
