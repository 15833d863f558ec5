"""A real boot with modules that the kernel refuses, one for each cause: the loader's line, the trace, the report, and
what `tinykmod why` makes of them afterwards."""

from __future__ import annotations

import errno
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import faults
import pytest
from once import once

from tinykmod.bench import debian
from tinykmod.bench.marks import measured
from tinykmod.bench.result import BootResult
from tinykmod.bench.timeline import timeline
from tinykmod.inspect.kernel import Kernel
from tinykmod.inspect.kernel_log import read_file
from tinykmod.inspect.why import Place, why
from tinykmod.kmod.config import read_config
from tinykmod.trace.timeline import summary

pytestmark = pytest.mark.vm

#: What the loader loads as PID 1, one after the other -> the kernel's answer, and what the loader's line has.
BOOTED = {
    "crc8": (0, ""),
    "i6300esb": (0, ""),
    "fsymb": (errno.ENOENT, "kernel: Unknown symbol strscpz (err -2)"),
    "fgplx": (errno.ENOENT, "kernel: Unknown symbol "),
    "fcrcx": (errno.EINVAL, "kernel: disagrees about version of symbol strscpy"),
    "flayt": (errno.ENOEXEC, "kernel: disagrees about version of symbol module_layout"),
    "fmagi": (errno.ENOEXEC, "kernel: version magic '"),
    "farch": (errno.ENOEXEC, "not a module for this kernel (other version or architecture, or damaged)"),
    "fparm": (errno.EINVAL, "kernel: `many' invalid for parameter `numdummies'"),
    "fsign": (errno.EKEYREJECTED, "its signature is missing, not of this file, or by a key"),
    "fnsp": (errno.EINVAL, "kernel: module uses symbol "),
    "fdup": (errno.ENOEXEC, "kernel: exports duplicate symbol crc8"),
    "fkernl": (errno.ENOEXEC, "kernel: exports duplicate symbol __bitmap_clear (owned by kernel)"),
    "fbusy300": (errno.EBUSY, "Resource busy"),
    "crc32c_intel": (errno.ENODEV, "No such device"),
    "fbtfx": (0, ""),
    "fnver": (0, ""),
}
#: What `tinykmod why` says of each then.
CAUSES = {
    "fsymb": "unknown symbol strscpz: no module of this tree exports it, nor does the kernel",
    "fgplx": "to GPL modules only, and this one's license is 'BSD'",
    "fcrcx": "another version of strscpy: CRC 0x00001234, but the kernel exports 0x",
    "flayt": "another version of module_layout",
    "fmagi": "version magic: the kernel has 'SMP', the module not; the module has 'UPX', the kernel not",
    "farch": "it is for aarch64 (64 bits, little endian), the kernel for x86_64",
    "fparm": "parameter numdummies=many: it takes an int, and 'many' is none",
    "fsign": "is not of this file: it was changed after it was signed",
    "fnsp": "in the namespace CRYPTO_INTERNAL, which the module does not import",
    "fdup": "it exports crc8",
    "fkernl": "it exports __bitmap_clear, which the kernel exports itself: this module is refused",
    "fbusy300": "a driver named i6300ESB timer is registered already",
    "crc32c_intel": "its init found no device that it can drive",
}
#: Files that are no module for an index, and errnos that take a second load: words for insmod -> what it says.
TOOLS = {
    "/faults/fcut.ko": "not a module for this kernel",
    "/faults/ftext.ko": "not a module for this kernel",
    "/faults/crc8.ko": "File exists",
    "/faults/dummy.ko.gz": "compressed, and this kernel does not decompress modules",
    "/faults/fnsig.ko": "its signature is missing",  # enforced from here on
    "/faults/fkeyx.ko": "its signature is missing, not of this file, or by a key",
}
#: A disk of two tebibytes of memory.
TOO_LARGE = "scsi_debug dev_size_mb=2097152"
SHELL = f"""\
#!/bin/busybox sh
bb=/bin/busybox
$bb dmesg -n 1
for file in {' '.join(TOOLS)}; do
    [ $file = /faults/fnsig.ko ] && echo 1 > /sys/module/module/parameters/sig_enforce
    /init insmod $file 2> /said
    echo "insmod $file $? $($bb cat /said)"
done
/init modprobe {TOO_LARGE} 2> /said
echo "modprobe $? $($bb cat /said)"
echo "report $($bb cat /run/tinykmod/report.json)"
/init modprobe virtio_blk
"""


class Refused(NamedTuple):
    """The boot, and its trace and log as files."""

    result: BootResult
    trace: Path
    log: Path


@pytest.fixture(scope="module")
def refused(start: Callable, disk, kernel, busybox, run_tinykmod, shared_dir: Path, tmp_path_factory) -> Refused:
    scratch = tmp_path_factory.mktemp("refused")

    def boot(path: Path) -> None:
        image = _image(scratch, kernel, busybox, run_tinykmod)
        # The root is kept away until the shell has told what there is.
        append = "root=LABEL=tinykmod-root rd.tinykmod.timeout=1 rd.tinykmod.jobs=1 modprobe.blacklist=virtio_blk"
        path.write_bytes(pickle.dumps(start(f"{append} rd.driver.pre={','.join(BOOTED)}", disk(), initrd=image)))

    result = pickle.loads(once(shared_dir / "refused.pickle", boot).read_bytes())
    assert result.ended == "poweroff", result.tail(60)
    (scratch / "trace.jsonl").write_text("".join(f"{json.dumps(event)}\n" for event in result.trace or ()))
    (scratch / "dmesg").write_text("".join(f"[{time:12.6f}] {text}\n" for time, text in result.dmesg))
    return Refused(result, scratch / "trace.jsonl", scratch / "dmesg")


def _image(scratch: Path, kernel: debian.Kernel, busybox: Path, run_tinykmod: Callable) -> Path:
    root = faults.make_root(scratch / "root", kernel)
    updates = root / "lib/modules" / kernel.release / "updates"
    (scratch / "sh").write_text(SHELL)
    (scratch / "sh").chmod(0o755)
    words = ["--file", f"{scratch / 'sh'}:/bin/sh", "--file", f"{busybox}:/bin/busybox"]
    [crc8] = root.glob("lib/modules/*/kernel/lib/crc8.ko")
    shutil.copy(crc8, scratch)
    (scratch / "dummy.ko.gz").write_bytes(b"\x1f\x8b" + bytes(100))
    for name in faults.UNREADABLE:
        (updates / f"{name}.ko").rename(scratch / f"{name}.ko")
    for name in "fnsig", "fkeyx":
        shutil.copy(updates / f"{name}.ko", scratch)
    for path in TOOLS:
        words += ["--file", f"{scratch / Path(path).name}:{path}"]
    for name in (*BOOTED, TOO_LARGE.partition(" ")[0]):
        words += ["--add", name]
    image = scratch / "refused.img"
    done = run_tinykmod("initramfs", "-b", root, "--for", "virtual", "--strict", "--no-firmware", "-o", image, *words,
                        kernel.release)  # fmt: skip
    assert done.returncode == 0, done.stderr
    return image


def test_the_loader_ends_a_refusal_with_its_cause(refused: Refused) -> None:
    loads = {event["name"]: event for event in refused.result.trace or () if event["ev"] == "module"}
    assert {name: -loads[name]["result"] for name in BOOTED} == {name: number for name, (number, _) in BOOTED.items()}
    said = {text.removeprefix("tinykmod: module ").partition(":")[0]: text for _, text in refused.result.dmesg
            if text.startswith("tinykmod: module ")}  # fmt: skip
    for name, (number, words) in BOOTED.items():
        if number:
            assert words in said[name]
            assert words in loads[name]["error"]


def test_insmod_tells_the_cause(refused: Refused) -> None:
    for path, words in TOOLS.items():
        [line] = [line for line in refused.result.lines if line.startswith(f"insmod {path} ")]
        assert line.startswith(f"insmod {path} 1 tinykmod: module {path}: {words}"), line
    [line] = [line for line in refused.result.lines if line.startswith("modprobe ")]
    assert line == "modprobe 1 tinykmod: module scsi_debug: Out of memory"


def test_the_report_the_timeline_and_trace_show_have_the_causes(refused: Refused) -> None:
    [line] = [line for line in refused.result.lines if line.startswith("report ")]
    report = json.loads(line.removeprefix("report "))
    failed = {each["module"]: each["why"] for each in report["failed"]}
    lines = summary(refused.result.trace)
    told = timeline(measured(refused.result), width=100).splitlines()
    for name, (number, words) in BOOTED.items():
        if number:
            assert words in failed[name]
        if number not in (0, errno.ENODEV):
            [line] = [line for line in lines if line.startswith(f"failed   {name}: {errno.errorcode[number]}: ")]
            assert words in line
            assert line in told


def test_why_translates_what_happened(refused: Refused, faulty_root: Path, kernel, run_tinykmod: Callable) -> None:
    """From the trace and the log of the boot, with the tree at hand; from the errno alone, where that will do."""
    place = Place(Kernel(faulty_root, kernel.release), read_config(faulty_root), trace=list(refused.result.trace))
    for log in read_file(refused.log), []:
        place.log = log
        for name, words in CAUSES.items():
            if log or name != "fbusy300":
                [verdict] = why(place, name)
                assert (verdict.text, verdict.good) == ("was not loaded", False)
                assert words in verdict.lines[0].text, verdict
    done = run_tinykmod("why", "--sysroot", faulty_root, "--trace", refused.trace, "--log", refused.log, "fsymb")
    assert (done.returncode, done.stderr) == (1, "")
    assert CAUSES["fsymb"] in done.stdout.splitlines()[1]
    done = run_tinykmod("why", "--sysroot", faulty_root, "--trace", refused.trace, "--log", refused.log, "fbtfx")
    assert done.returncode == 0
    assert ": was loaded" in done.stdout
    assert "its BTF does not fit this kernel's" in done.stdout
