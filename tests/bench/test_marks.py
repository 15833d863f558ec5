from __future__ import annotations

import re

import pytest

from tinykmod.bench.disk import DMESG_BEGIN, DMESG_END, SENTINEL, TRACE_BEGIN, TRACE_END
from tinykmod.bench.marks import GAVE_UP, measured
from tinykmod.bench.measured import MARKS, METRICS, measured_of
from tinykmod.bench.result import of_console
from tinykmod.bench.timeline import missing, timeline

#: Lines as Linux 6.1 and 6.12 say them, of a boot without a trace.
LOG = """\
[    0.000000] Linux version 6.1.0-56-amd64 (debian-kernel@lists.debian.org)
[    0.571000] Trying to unpack rootfs image as initramfs...
[    0.655000] Freeing initrd memory: 29712K
[    1.740000] Run /init as init process
[    1.760000] initcall crct10dif_init+0x0/0x1000 [crct10dif] returned 0 after 2000 usecs
[    1.785000] virtio_blk virtio2: [vdb] 32768 512-byte logical blocks (16.8 MB/16.0 MiB)
[    1.790000] virtio_blk virtio1: [vda] 32768 512-byte logical blocks (16.8 MB/16.0 MiB)
[    1.792000] initcall virtio_blk_init+0x0/0x1000 [virtio_blk] returned 0 after 4000 usecs
[    1.793000] initcall psmouse_init+0x0/0x1000 [psmouse] returned -19 after 40000 usecs
[    1.795000] initcall pci_quirks_init+0x0/0x100 returned 0 after 10 usecs
[    1.900000] EXT4-fs (vdb): mounted filesystem with ordered data mode. Quota mode: none.
[    1.950000] EXT4-fs (vda1): mounted filesystem with ordered data mode. Quota mode: none.
[    2.100000] [drm] Initialized vgem 1.0.0 20120112 for vgem on minor 0
[    2.200000] [drm] Initialized virtio_gpu 0.1.0 0 for 0000:00:04.0 on minor 0
"""
RAN = f"[    2.300000] {SENTINEL}\n"
TRACE = """\
{"t":1500000000,"ev":"start","version":"0.1.0","release":"6.1.0-56-amd64"}
{"t":1510000000,"ev":"module","name":"virtio","why":"dependency","by":"virtio_blk","worker":2,"dur":20000000,"result":0}
{"t":1600000000,"ev":"root","device":"/dev/vda1","spec":"UUID=1"}
{"t":1700000000,"ev":"mounted","device":"/dev/vda1","type":"ext4"}
"""
STARTED = "[    1.742000] tinykmod: init started\n"


def console(log=LOG, trace=None, said=""):
    """What a root's init prints that reports; without a log what came to the console alone."""
    traced = "" if trace is None else f"{TRACE_BEGIN}\n{trace}{TRACE_END}\n"
    return f"SeaBIOS\n{said}{traced}" + (f"{DMESG_BEGIN}\n{log}{DMESG_END}\n" if log else "")


def of(text, ended="poweroff", **more):
    return measured(of_console(text, ended, 7.0), **more)


def test_marks_come_from_the_log_of_an_image_without_a_trace():
    found = of(console(LOG + RAN), contender="x", image_bytes=5)
    assert found.ended == "root" and not found.error and not found.console
    assert found.marks == {
        "unpack": 0.571, "unpacked": 0.655, "init": 1.74, "disk": 1.785, "all": 1.793, "mounted": 1.9,
        "display": 2.2, "root_init": 2.3,
    }  # fmt: skip
    assert found.metric("T_root") == pytest.approx(0.16)
    assert set(found.marks) <= set(MARKS)
    assert all(found.metric(name) is not None for name in METRICS)
    assert measured_of(found.to_json(), "x") == found


def test_modules_come_from_initcall_debug_with_as_many_workers_as_there_were_at_once():
    loads = {load.name: load for load in of(console(LOG + RAN)).loads}
    assert loads.keys() == {"crct10dif", "virtio_blk", "psmouse"}
    assert (loads["virtio_blk"].begin, loads["virtio_blk"].seconds) == (1.788, 0.004)
    assert loads["psmouse"].result == -19
    # psmouse was in its init while the two others came and went.
    assert [loads[name].worker for name in ("psmouse", "crct10dif", "virtio_blk")] == [1, 2, 2]


def test_modules_of_the_roots_own_are_not_counted():
    late = "[    9.000000] initcall snd_init+0x0/0x1000 [snd] returned 0 after 5 usecs\n"
    found = of(console(LOG + RAN + late))
    assert (found.marks["all"], found.loads[-1].name) == (1.793, "snd")


def test_trace_tells_the_root_and_the_modules_by_the_clock_of_the_log():
    found = of(console(STARTED + LOG + RAN, TRACE))
    # The trace's zero is 242 ms after the log's.
    [load] = found.loads
    assert (load.name, load.begin, load.seconds, load.worker, load.by) == ("virtio", 1.752, 0.02, 2, "virtio_blk")
    # Of two filesystems that were mounted the trace says which is the root.
    assert found.marks["mounted"] == 1.95
    # Its disk is vda, whatever its partition.
    assert found.marks["disk"] == 1.79
    # Where both tell, the log counts, as it does for images without a trace.
    assert found.marks["all"] == 1.793


def test_what_the_log_does_not_have_the_trace_has():
    kept = "".join(f"{line}\n" for line in LOG.splitlines() if not any(
        word in line for word in ("[vd", "EXT4", "initcall")))  # fmt: skip
    marks = of(console(STARTED + kept + RAN, TRACE)).marks
    assert (marks["disk"], marks["mounted"], marks["all"]) == (1.842, 1.942, 1.772)


@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("sda2", "sd 0:0:0:0: [sda] Attached SCSI disk"),
        ("nvme0n1p1", " nvme0n1: p1 p2"),
        ("nvme0n1", "nvme nvme0: 1/0/0 default/read/poll queues"),
        ("mmcblk0p1", "mmcblk0: mmc0:4567 QEMU! 64.0 MiB"),
        ("vda", "virtio_blk virtio0: [vda] 32768 512-byte logical blocks"),
    ],
)
@pytest.mark.parametrize(
    "mount",
    ["EXT4-fs ({}): mounted filesystem abc r/w with ordered data mode", "XFS ({}): Ending clean mount",
     "F2FS-fs ({}): Mounted with checkpoint version = 1"],
)  # fmt: skip
def test_disk_of_the_root(device, line, mount):
    other = "[    1.1] sd 1:0:0:0: [sdb] Attached SCSI disk\n[    1.1] nvme nvme1: 1/0/0 default/read/poll queues\n"
    log = f"[    1.0] Run /init as init process\n{other}[    1.5] {line}\n[    1.7] {mount.format(device)}\n"
    marks = of(console(log + RAN)).marks
    assert (marks["disk"], marks["mounted"]) == (1.5, 1.7)


def test_log_on_the_console_alone_is_one_too():
    found = of(console(None, said=LOG + RAN))
    assert (found.ended, found.marks["mounted"], found.marks["root_init"]) == ("root", 1.9, 2.3)
    with_thread = "".join(line.replace("] ", "][    T1] ", 1) for line in (LOG + RAN).splitlines(keepends=True))
    assert of(console(None, said=with_thread)).marks == found.marks


def test_systemd_of_the_root_is_not_that_of_the_image():
    systemd = "[    {}] systemd[1]: systemd 252.39-1~deb12u1 running in system mode (+PAM)\n"
    in_image = of(console(LOG[: LOG.index("[    1.9")] + systemd.format("1.75")), "timeout")
    assert (in_image.ended, "root_init" in in_image.marks) == ("timeout", False)
    both = of(console(None, said=LOG + systemd.format("1.75") + systemd.format("2.5")), "timeout")
    assert (both.ended, both.marks["root_init"]) == ("root", 2.5)


def test_init_that_is_only_heard_on_the_console_ran():
    found = of(console(None, said=f"{LOG}OpenRC 0.45 is starting up Linux\n"), "timeout")
    assert (found.ended, "root_init" in found.marks) == ("root", False)
    assert any("the root's init runs" in line for line in missing(found, traced=False))
    asked = of(console(None, said=f"{LOG}board ready\n"), "stop_on", until="^board ready$")
    assert asked.ended == "root"
    assert of(console(None, said=f"{LOG}board ready\n"), "timeout").ended == "timeout"


def test_a_panic_is_told_with_what_came_before_it():
    said = LOG + "[    2.0] Kernel panic - not syncing: VFS: Unable to mount root fs\n" + "[    2.0] RIP: 0033\n" * 20
    found = of(console(None, said=said))
    assert (found.ended, found.error) == ("panic", "Kernel panic - not syncing: VFS: Unable to mount root fs")
    assert "EXT4-fs" in "".join(found.console) and found.console[-1].endswith("root fs")


def test_a_boot_that_hangs_has_its_last_line():
    found = of("SeaBIOS\nwaiting for it\n\n", "timeout")
    assert (found.ended, found.error) == ("timeout", "not there after 7 s; the console's last line: waiting for it")
    assert found.marks == {} and found.loads == []
    [line] = missing(found, traced=False)
    assert "no form with time stamps" in line
    assert "said nothing" in of("", "timeout").error


def test_an_image_that_asks_for_help():
    found = of("Gave up waiting for root file system device.\n(initramfs) ", "stop_on")
    assert (found.ended, found.error) == ("stop_on", "the image gave up, and asks for help: (initramfs)")
    assert re.search(GAVE_UP, "(initramfs) ") and not re.search(GAVE_UP, "unpacking (initramfs) now")


def test_last_lines_are_the_images_own():
    noise = "[   70.8] ahci 0000:00:1f.2: shutdown\n[   70.8] PM: Calling irq_gc_shutdown+0x0/0x60\n" * 20
    noise += "[   70.9] reboot: machine restart\n[   70.9] initcall x_init+0x0/0x10 [x] returned 0 after 5 usecs\n"
    found = of(f"ALERT!  /dev/none does not exist.  Dropping to a shell!\n{noise}")
    assert found.console == ["ALERT!  /dev/none does not exist.  Dropping to a shell!"]
    assert found.error.endswith(found.console[0])


def test_damaged_trace_loses_nothing_else():
    result = of_console(console(LOG + RAN, TRACE[:-30] + "\n"), "poweroff", 7.0)
    assert (result.trace, result.damage.partition(": ")[0]) == (None, "trace on the console:4")
    assert measured(result).marks["mounted"] == 1.9


def test_timeline_has_phases_modules_and_moments_in_order_of_time():
    text = timeline(of(console(STARTED + LOG + RAN, TRACE)), width=100)
    table, summary = text.split("\n\n")
    times = [float(line.split()[0]) for line in table.splitlines()[1:]]
    assert times == sorted(times)
    [load] = [line for line in table.splitlines() if " virtio " in line]
    assert load.split()[:5] == ["1752.0", "20.0", "virtio", "2", "ok"] and load.endswith("virtio_blk needs it")
    for words in ("1740.0  -- the kernel", "84.0  -- unpacking", "210.0  -- the image's init", "display is there"):
        assert words in table
    assert "root     210.0 ms" in summary and "total    2300.0 ms" in summary
    assert "failed" not in summary


def test_a_module_that_failed_is_told_with_its_cause():
    """But not one that found no device."""
    lost = '"name":"lost","why":"modalias","by":"x","dur":1000,"result":-2,"error":"no file"}\n'
    idle = '"name":"idle","why":"modalias","by":"x","dur":1000,"result":-19,"error":"none"}\n'
    trace = TRACE + "".join(f'{{"t":1800000000,"ev":"module",{each}' for each in (lost, idle))
    lines = timeline(of(console(STARTED + LOG + RAN, trace)), width=100).splitlines()
    assert [line for line in lines if line.startswith("failed")] == ["failed   lost: ENOENT: no file"]


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_row_is_wider_than_the_terminal(width):
    long = LOG.replace("[virtio_blk]", "[virtio_blk_with_a_long_name]")
    table = timeline(of(console(long + RAN)), width=width).split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= width
    # Longer loads have longer bars, and the last one ends where all do.
    bars = {line.split()[2]: line.count("█") for line in table.splitlines() if "█" in line}
    assert bars["psmouse"] > bars["virtio_blk_with_a_long_name"] >= 1


def test_timeline_of_a_boot_without_stamps_has_nothing_in_it():
    assert timeline(of("SeaBIOS\n", "timeout"), width=80).splitlines()[1:] == [""]
