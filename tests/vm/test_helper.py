"""Real boots in which the loader is not PID 1: `tinykmod coldplug` in the hook of another initramfs; and the mark."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from once import once
from test_boot import UUID, events, loads

from tinykmod.bench.disk import DMESG_END, TELL_AND_END
from tinykmod.bench.machines import NO_DISK, REFERENCE

pytestmark = pytest.mark.vm

#: Stands for another generator's /init: runs what the kernel passes on in $hook, where `c` is coldplug.
HOOK = f"""\
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t devtmpfs dev /dev
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb ln -s /init /sbin/tinykmod
$bb cat /proc/mounts > /before
c() {{
    /sbin/tinykmod coldplug "$@" 2> /said
    echo "exit $?"
    $bb sed 's/^/said /' /said
}}
eval "$hook"
$bb cmp /before /proc/mounts && echo "nothing mounted"
$bb sed 's/^/report /' /run/tinykmod/report.json
{TELL_AND_END}"""
#: q35's SMBus controller asks for it; what it does in its init goes on for hours with these words.
HANGING = "alias pci:v00008086d00002930sv* tcrypt\n"
HANGS = "tcrypt.mode=200 tcrypt.sec=3600"


@pytest.fixture(scope="session")
def hook_image(kernel, busybox, run_tinykmod: Callable, shared_dir: Path, tmp_path_factory) -> Path:
    def make(path: Path) -> None:
        scratch = tmp_path_factory.mktemp("hook")
        (scratch / "hook").write_text(HOOK)
        (scratch / "hook").chmod(0o755)
        (scratch / "hanging.conf").write_text(HANGING)
        words = ("--file", f"{scratch / 'hook'}:/hook", "--file", f"{busybox}:/bin/busybox", "--add", "tcrypt")
        done = run_tinykmod("initramfs", "-b", kernel.root, "-C", scratch / "hanging.conf", *words, "-o", path,
                            kernel.release)  # fmt: skip
        assert done.returncode == 0, done.stderr

    return once(shared_dir / "hook.img", make)


@pytest.fixture
def run(start, hook_image) -> Callable:
    """run(commands, *disks, words=...): boot with a PID 1 that runs COMMANDS."""

    def boot(commands: str, *disks: Path, words: str = "modprobe.blacklist=tcrypt", **arguments: object):
        return start(f'rdinit=/hook hook="{commands}" {words}', *disks, initrd=hook_image, **arguments)

    return boot


def codes(result) -> list[str]:
    return [line.removeprefix("exit ") for line in result.lines if line.startswith("exit ")]


def said(result) -> list[str]:
    return [line.removeprefix("said ") for line in result.lines if line.startswith("said ")]


def report(result) -> dict:
    return json.loads("".join(line.removeprefix("report ") for line in result.lines if line.startswith("report ")))


def test_waiting_for_a_root_ends_when_it_can_be_mounted(run, disk):
    """All that it needs is loaded, nothing is mounted; a second time all is there."""
    commands = f"c --wait-root UUID={UUID} --timeout 20; c --wait-root=/dev/vda; $bb mkdir /m"
    result = run(f"{commands}; $bb mount -r /dev/vda /m; $bb ls -d /m/sbin; $bb umount /m", disk(), machine=REFERENCE)
    assert (codes(result), said(result)) == (["0", "0"], []), result.tail(60)
    assert {"nothing mounted", "/m/sbin"} <= set(result.lines)
    first, second = events(result, "root")
    assert (first["device"], first["spec"]) == ("/dev/vda", f"UUID={UUID}")
    [again] = [event["t"] for event in events(result, "start")[1:]]
    found = loads(result)
    assert {"virtio_blk", "ext4", "jbd2"} <= found.keys()
    assert found["ext4"]["why"] == "root"
    assert found["ext4"]["t"] < again < second["t"]
    assert len({event["worker"] for event in found.values()}) > 1
    later = {event["name"] for event in events(result, "module") if event["t"] > again}
    assert not {"virtio_blk", "ext4"} & later


def test_a_root_whose_filesystem_cannot_be_loaded_is_a_failure(run, disk):
    words = "modprobe.blacklist=tcrypt module_blacklist=jbd2"
    result = run("c --wait-root /dev/vda; c -j 1 --wait-root /dev/vda", disk(), words=words)
    assert codes(result) == ["1", "1"], result.tail(60)
    assert "tinykmod: module ext4: it needs jbd2, which was not loaded" in said(result)


def test_a_root_that_does_not_come_is_a_report(run, disk):
    result = run("c --wait-root LABEL=none --timeout 3", disk())
    assert codes(result) == ["1"], result.tail(60)
    assert said(result)[0] == "tinykmod: no root: root=LABEL=none is not there after 3 s"
    line = f"tinykmod: disk /dev/vda (16 MiB): ext4 UUID={UUID} LABEL=tinykmod-root"
    assert line in said(result)
    assert {said(result)[0], line} <= {text for _, text in result.dmesg}
    assert report(result)["root"] == "LABEL=none"
    assert [seen["device"] for seen in report(result)["disks"]] == ["/dev/vda"]
    assert "nothing mounted" in result.lines


def test_without_a_root_it_ends_when_all_has_settled(run, disk):
    result = run("c --class bus; c; $bb sleep 2; c", disk(), machine=REFERENCE, smp=2)
    assert (codes(result), said(result)) == (["0", "0", "0"], []), result.tail(60)
    begins = [event["t"] for event in events(result, "start")]
    settled = [event["t"] for event in events(result, "settled")]
    ends = {event["name"]: event["t"] + event["dur"] for event in events(result, "module")}
    assert len(settled) == len(begins) == 3
    # virtio_blk's device comes in an event that virtio_pci causes.
    assert ends["virtio_pci"] < settled[0] < begins[1] < ends["virtio_blk"] < settled[1]
    # What a card or a USB host finds in its own time comes later.
    assert max(end for end in ends.values() if end < begins[2]) < settled[1]
    assert len([end for end in ends.values() if end < settled[1]]) > 25
    assert {"ahci", "nvme", "virtio_scsi", "sd_mod", "sdhci_pci", "mmc_block"} <= ends.keys()


def test_a_mark_that_does_not_come_back_holds_nothing_up_for_long(run, disk):
    """As from a kernel that takes what is written and sends no event."""
    result = run("m=/sys/bus/platform/uevent; $bb mount -o bind /dev/null $m; c; $bb umount $m", disk())
    assert (codes(result), said(result)) == (["0"], []), result.tail(60)
    [settled] = [event["t"] for event in events(result, "settled")]
    end = max(event["t"] + event["dur"] for event in events(result, "module"))
    assert 2e9 <= settled - end < 4e9
    assert "virtio_blk" in loads(result)


def test_the_limit_holds_for_all_modules_too_and_what_hangs_is_named(run):
    result = run("c --timeout 8", machine=NO_DISK, smp=2, words=HANGS, stop_on=f"^{DMESG_END}")
    assert codes(result) == ["1"], result.tail(60)
    assert said(result)[0] == "tinykmod: not all modules are loaded after 8 s"
    [line] = [line for line in said(result) if "tcrypt" in line]
    assert line.startswith("tinykmod: module tcrypt: is still in its init after ")
    # What it asks the kernel for may be in its init at that moment, too.
    [seconds] = [entry["seconds"] for entry in report(result)["in_init"] if entry["module"] == "tcrypt"]
    assert 5 <= seconds <= 8
    assert report(result).keys() >= {"loaded", "failed", "without_driver", "deferred", "firmware"}
    assert "disks" not in report(result)
    assert "no disk has appeared" not in " ".join(said(result))


def test_without_any_root_the_report_waits_for_what_is_there(start, disk):
    result = start("", disk(), stop_on="tinykmod: .*PID 1 stays")
    assert result.ended == "stop_on", result.tail(40)
    assert "no root: the kernel command line has no root=" in result.console
    assert f"disk /dev/vda (16 MiB): ext4 UUID={UUID}" in result.console
