"""`tinykmod boot` as a user runs it, with real kernels."""

from __future__ import annotations

import errno
import json
import re

import pytest

from tinykmod.bench.measured import measured_of
from tinykmod.image import cpio
from tinykmod.index.reader import Index

pytestmark = pytest.mark.vm

QEMU = ("--engine", "qemu")
#: A root that knows nothing of this project.
BOARD = "#!/bin/busybox sh\necho 'board ready'\n/bin/busybox sleep 1000\n"


def rows(stdout):
    """The table's rows: what each is about -> milliseconds of its beginning."""
    table = stdout.split("\n\n")[1].splitlines()[1:]
    found = (re.match(r" *([\d.]+) +(?:[\d.]+ )? *(-- .*|\S+)", line) for line in table)
    return {row[2]: float(row[1]) for row in found if row}


def in_order(times):
    return times == sorted(times)


@pytest.fixture(scope="module")
def foreign(kernel, kernel_index, busybox, tmp_path_factory):
    """foreign(script): an image of no generator, with virtio-blk's modules and ext4's; SCRIPT ends its /init."""
    steps = Index(kernel_index.read_bytes()).plan(["virtio_pci", "virtio_blk", "fs-ext4"])
    files = {path.name.partition(".")[0].replace("-", "_"): path for path in kernel.root.rglob("*.ko")}

    def make(script):
        entries = [
            *(cpio.directory(name) for name in ("dev", "bin", "root")),
            cpio.character_device("dev/console", 5, 1, 0o600),
            cpio.regular("bin/busybox", busybox.read_bytes(), 0o755),
            *(cpio.regular(f"{step.module}.ko", files[step.module].read_bytes()) for step in steps),
        ]
        load = "".join(f"$bb insmod /{step.module}.ko\n" for step in steps)
        init = f"#!/bin/busybox sh\nbb=/bin/busybox\n$bb mount -t devtmpfs dev /dev\n{load}{script}"
        path = tmp_path_factory.mktemp("foreign") / "foreign.img"
        with path.open("wb") as out:
            cpio.write(out, [*entries, cpio.regular("init", init.encode(), 0o755)])
        return path

    return make


def test_what_is_not_given_is_made(run_tinykmod, tmp_path):
    files = [tmp_path / name for name in ("boot.json", "trace.jsonl", "console")]
    done = run_tinykmod("boot", *QEMU, "-o", files[0], "--trace", files[1], "--console", files[2])
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.startswith("image built here, ")
    found = rows(done.stdout)
    assert in_order([found[name] for name in (
        "-- the kernel, until it starts the image's init", "-- the image's init, until the root is mounted",
        "virtio_blk", "-- the root's disk is there", "-- the root is mounted", "-- the root's init runs",
    )])  # fmt: skip
    boot = measured_of(json.loads(files[0].read_text()), "boot.json")
    assert (boot.ended, boot.machine, boot.engine, boot.error) == ("root", "virtio-blk", "qemu", "")
    # Where crc32c_intel's load comes to its end before the root is there, QEMU's processor has no use for it.
    assert boot.loads and all(load.worker and load.why and load.result in (0, -errno.ENODEV) for load in boot.loads)
    marks = boot.marks
    assert in_order([marks[name] for name in ("unpack", "unpacked", "init", "disk", "mounted", "root_init")])
    # The trace's clock and the log's are one here.
    [ext4] = [load for load in boot.loads if load.name == "ext4"]
    assert marks["disk"] < ext4.begin + ext4.seconds < marks["mounted"] + 0.1
    shown = run_tinykmod("trace", "show", files[1])
    assert shown.returncode == 0 and "root mounted: /dev/vda" in shown.stdout
    assert "root init is running" in files[2].read_text()


def test_image_of_another_has_its_modules_by_the_kernels_log(run_tinykmod, vmlinux, disk, foreign, tmp_path):
    image = foreign("$bb mount -t ext4 -o ro /dev/vda /root\nexec $bb switch_root /root /sbin/init\n")
    trace = tmp_path / "trace"
    done = run_tinykmod("boot", *QEMU, "--kernel", vmlinux, "--initrd", image, "--disk", disk(), "--trace", trace)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done.stdout)
    assert {"virtio_pci", "virtio_blk", "jbd2", "ext4"} <= found.keys()
    assert in_order([found[name] for name in (
        "virtio_blk", "-- the root's disk is there", "ext4", "-- the root is mounted", "-- the root's init runs",
    )])  # fmt: skip
    # It is told what is not known, and no empty file pretends otherwise.
    assert not trace.exists()
    notes = done.stderr.splitlines()
    assert [note.split(": ")[1] for note in notes] == [str(trace), "no trace was printed"]


def test_root_of_a_users_own(run_tinykmod, vmlinux, image, disk):
    root = disk(init_script=BOARD)
    words = ("--kernel", vmlinux, "--initrd", image, "--disk", root, "--machine", "usb", "--until", "^board ready")
    done = run_tinykmod("boot", *QEMU, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done.stdout)
    # What nobody printed at the end is known by the console.
    names = ("usb_storage", "-- the root's disk is there", "-- the root is mounted")
    assert in_order([found[name] for name in names])
    assert "tells when the root's init runs" in done.stderr


def test_an_image_that_hangs(run_tinykmod, vmlinux, disk, foreign):
    words = ("--kernel", vmlinux, "--initrd", foreign("$bb sleep 1000\n"), "--disk", disk())
    done = run_tinykmod("boot", *QEMU, *words, "--append", "printk.time=0", "--timeout", "6")
    assert done.returncode == 1
    assert "nothing could be measured" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert re.match(r"tinykmod: root's init: did not run: not there after \d+ s; the console's last line: \S", last)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--machine", "refrence"], "refrence: no machine of this name; there is reference"),
        (["--machine", "./none.toml"], "none.toml: No such file"),
        (["--engine", "qemu-icont"], "qemu-icont: no engine of this name; there is qemu-icount"),
        (["--kernel", "/none"], "/none: No such file"),
        (["--kernel", __file__], f"{__file__}: is no kernel for x86_64"),
        (["--initrd", "/none"], "/none: No such file"),
        (["--disk", __file__], f"{__file__}: no filesystem with a UUID is on it: give --append root=..."),
        (["-o", "/none/x"], "/none/x: No such file"),
    ],
)
def test_bad_input_is_one_line(run_tinykmod, words, said):
    done = run_tinykmod("boot", *words)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"tinykmod: {said}")
    assert done.stderr.count("\n") == 1


def test_no_qemu_and_no_modules_are_told_before_anything_is_fetched(run_tinykmod, kernel, tmp_path):
    done = run_tinykmod("boot", PATH=str(tmp_path), XDG_CACHE_HOME=str(tmp_path))
    assert (done.returncode, done.stderr) == (
        1, "tinykmod: qemu-system-x86_64: not installed (Debian: apt-get install qemu-system-x86)\n"
    )  # fmt: skip
    copied = tmp_path / "copy"
    copied.write_bytes(kernel.vmlinuz.read_bytes())
    done = run_tinykmod("boot", "--kernel", copied)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"no lib/modules/{kernel.release} beside its directory or in /: give --initrd" in done.stderr
