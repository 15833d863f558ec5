"""What goes wrong while an image is built: one line says what, and the image that was there before is there still."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from make_ko import make_ko
from test_check import NVME, machine

from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.archive import read_image
from tinykmod.image.request import Image

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Make = Callable[..., Image]

OLD = b"the old image"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    output = tmp_path / "out" / "image"
    output.parent.mkdir()
    output.write_bytes(OLD)
    return output


@pytest.fixture
def root(small: Path, tmp_path: Path) -> Path:
    """The small tree, to be damaged."""
    return Path(shutil.copytree(small, tmp_path / "root"))


@pytest.fixture
def tmpfs(tmp_path: Path) -> Iterator[Path]:
    """A disk of 100 kB, too small for any image, with an old image on it."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", place], check=True)
    (place / "image").write_bytes(OLD)
    yield place
    subprocess.run(["umount", place], check=True)


@pytest.fixture
def fails(run_tinykmod: Run, kernel: Kernel) -> Callable[..., str]:
    """fails(root, output, *words): what the command says; the old image must have stayed, with nothing beside it."""

    def fails(root: Path, output: Path, *words: str, release: str = kernel.release) -> str:
        done = run_tinykmod("initramfs", "-b", root, "-o", output, *words, release)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert output.read_bytes() == OLD
        assert list(output.parent.iterdir()) == [output]
        return done.stderr

    return fails


Fails = Callable[..., str]


def test_no_such_version(fails: Fails, root: Path, old: Path, kernel: Kernel) -> None:
    said = fails(root, old, release="5.0-none")
    assert said == f"tinykmod: {root}/lib/modules/5.0-none: no such directory; there is {kernel.release}\n"


def test_an_empty_tree(fails: Fails, tmp_path: Path, old: Path) -> None:
    (tmp_path / "lib/modules/6.1").mkdir(parents=True)
    assert fails(tmp_path, old, release="6.1") == f"tinykmod: {tmp_path}/lib/modules/6.1: holds no module\n"


@pytest.mark.parametrize("left", [0, 40, 3000, -700_000])
def test_a_module_that_is_cut_short(fails: Fails, root: Path, old: Path, left: int) -> None:
    ext4 = next(root.rglob("ext4.ko"))
    ext4.write_bytes(ext4.read_bytes()[:left])
    assert fails(root, old).startswith(f"tinykmod: {ext4}: ")


def test_firmware_that_is_missing(fails: Fails, root: Path, old: Path) -> None:
    ext4 = next(root.rglob("ext4.ko"))
    ext4.with_name("needy.ko").write_bytes(make_ko([("firmware", "needy/one.bin")]))
    said = fails(root, old, "--strict", "--add", "needy")
    assert said == "tinykmod: firmware: is missing; needy: firmware is missing: needy/one.bin\n"


def test_a_full_disk(fails: Fails, root: Path, tmpfs: Path) -> None:
    assert fails(root, tmpfs / "image") == f"tinykmod: {tmpfs}/image: No space left on device\n"


def test_a_target_that_is_read_only(fails: Fails, tmpfs: Path, tmp_path: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", tmpfs], check=True)
    # Told before the tree is looked at.
    assert fails(tmp_path / "no root", tmpfs / "image") == f"tinykmod: {tmpfs}/image: Read-only file system\n"


def test_two_builds_at_once(
    small: Path, kernel: Kernel, program: Path, make: Make, old: Path, tmp_path: Path
) -> None:
    """Each is held up in the middle until both are there; whichever ends last, the image is a whole one."""
    script = (
        "import sys, time; from pathlib import Path; from tinykmod.image import build as b\n"
        "from tinykmod.image.request import Request\n"
        "write = b.cpio.write\n"
        "def meet(*words):\n"
        "    Path(sys.argv[5]).touch()\n"
        "    while not all(Path(path).exists() for path in sys.argv[5:]): time.sleep(0.01)\n"
        "    write(*words)\n"
        "b.cpio.write = meet\n"
        "root, release, loader, output, mine, other = sys.argv[1:]\n"
        "b.build(Request(Path(root), release, Path(output), Path(loader), add=['cirrus'] * mine.endswith('1'),"
        " compress='none'))"
    )
    meeting = [str(tmp_path / "1"), str(tmp_path / "2")]
    words = [sys.executable, "-c", script, small, kernel.release, program, old]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    builds = [subprocess.Popen([*words, *order], env=environment) for order in (meeting, meeting[::-1])]
    assert [build.wait() for build in builds] == [0, 0]
    assert list(old.parent.iterdir()) == [old]
    whole = [make(add=add).path.read_bytes() for add in ([], ["cirrus"])]
    assert old.read_bytes() in whole


def test_a_kill_in_the_middle(
    small: Path, kernel: Kernel, program: Path, make: Make, old: Path, tmp_path: Path
) -> None:
    """What it leaves is cleared away by the next build, and by no build while it is being written."""
    script = (
        "import sys, time; from pathlib import Path; from tinykmod.image import build as b\n"
        "from tinykmod.image.request import Request\n"
        "real = b.cpio.regular\n"
        "def hanging(path, *words):\n"
        "    while path.endswith('/nvme.ko.tkp'): print(flush=True); time.sleep(1000)\n"
        "    return real(path, *words)\n"
        "b.cpio.regular = hanging\n"
        "root, release, loader, output = sys.argv[1:]\n"
        "b.build(Request(Path(root), release, Path(output), Path(loader)))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, small, kernel.release, program, old],
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as build:  # fmt: skip
        assert build.stdout
        build.stdout.readline()
        make(output=old)
        old.write_bytes(OLD)
        assert len(list(old.parent.iterdir())) == 2
        build.kill()
    assert build.returncode == -signal.SIGKILL
    assert old.read_bytes() == OLD
    assert len(list(old.parent.iterdir())) == 2
    make(output=old)
    assert list(old.parent.iterdir()) == [old]


class TestCheck:
    """What was written is read back before it takes the old image's place."""

    def check(self, make: Make, old: Path, monkeypatch: pytest.MonkeyPatch, why: str,
              damage: Callable[[list[cpio.Entry]], list[cpio.Entry]], **fields: object) -> None:  # fmt: skip
        write = cpio.write
        monkeypatch.setattr(cpio, "write", lambda out, entries, mtime: write(out, damage(list(entries)), mtime))
        with pytest.raises(TinykmodError, match=f"^{old}: {why}$"):
            make(output=old, **fields)
        assert old.read_bytes() == OLD
        assert list(old.parent.iterdir()) == [old]

    @pytest.mark.parametrize("compress", ["none", "zstd"])
    def test_of_the_files(self, make: Make, old: Path, monkeypatch: pytest.MonkeyPatch, compress: str) -> None:
        self.check(make, old, monkeypatch, r"/lib/modules/\S+/nvme\.ko was not written as it is", lambda entries: [
            entry for entry in entries if not entry.path.endswith("/nvme.ko")
        ], compress=compress)  # fmt: skip

    def test_of_their_number(self, make: Make, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.check(make, old, monkeypatch, r"\d+ files were written of \d+", lambda entries: entries[:-1])

    def test_of_the_index(self, make: Make, old: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def damage(entries: list[cpio.Entry]) -> list[cpio.Entry]:
            return [cpio.regular(entry.path, entry.data[:-1] + b"?") if entry.path.endswith(".tki") else entry
                    for entry in entries]  # fmt: skip

        self.check(make, old, monkeypatch, r"lib/modules/\S+\.tki: damaged: the checksum does not fit", damage)


def test_an_image_that_would_not_find_its_machines_root(
    make: Make, old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(TinykmodError, match=f"^{old}: would not find the root: the machine uses nvme, image lacks"):
        make(output=old, machine=machine(NVME), omit=["nvme"])
    assert old.read_bytes() == OLD
    make(output=old, machine=machine(NVME))
    assert any(path.endswith("/nvme.ko") for path in read_image(old).entries)
