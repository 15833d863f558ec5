from __future__ import annotations

import errno

import pytest

from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.qemu import BootResult
from tinykmod.bench.report import timeline
from tinykmod.errors import TinykmodError

MODALIAS = "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00"
SECOND = 1_000_000_000


def module(t, name, why, by, *, dur=1_000_000, result=0):
    return {"t": SECOND + t, "ev": "module", "name": name, "why": why, "by": by, "dur": dur, "result": result}


TRACE = [
    {"t": SECOND, "ev": "start", "version": "0.1.0", "release": "6.1.0-56-amd64"},
    {"t": SECOND + 1_000_000, "ev": "device", "modalias": MODALIAS, "device": "/devices/pci0000:00/0000:00:03.0"},
    module(2_000_000, "virtio", "dependency", "virtio_pci"),
    # The line of a load that took long comes after that of one which began later.
    module(9_000_000, "crc16", "dependency", "ext4"),
    module(4_000_000, "virtio_pci", "modalias", MODALIAS, dur=8_250_000),
    module(12_000_000, "nls_cp437", "request", "nls_cp437", result=-2),
    module(13_000_000, "odd", "modalias", "platform:odd", result=-4095),
    {"t": SECOND + 20_000_000, "ev": "root", "device": "/dev/vda", "spec": "LABEL=x"},
    {"t": SECOND + 30_000_000, "ev": "mounted", "device": "/dev/vda", "type": "ext4"},
    {"t": SECOND + 31_000_000, "ev": "handover", "init": "/sbin/init", "modules": 3, "failed": 2},
]
DMESG = [(2.5, "Run /init as init process"), (2.51, "tinykmod: init started"), (2.56, SENTINEL)]


def booted(trace=TRACE, dmesg=DMESG):
    return BootResult("", "poweroff", 9.0, trace, dmesg)


def rows(text):
    """The table's rows as (time, rest)."""
    table = text.split("\n\n")[0].splitlines()[1:]
    return [(float(line.split()[0]), line.split(None, 1)[1]) for line in table]


def test_rows_are_in_order_of_time_with_the_moments_among_them():
    times = rows(timeline(booted(), width=100))
    assert [time for time, _ in times] == [0.0, 2.0, 4.0, 9.0, 12.0, 13.0, 20.0, 30.0, 31.0, 50.0]
    words = [text.split()[:2] for _, text in times]
    assert words[0] == ["--", "init"]
    assert words[1][0] == "virtio"
    assert "root device there: /dev/vda" in times[6][1]
    assert "root mounted" in times[7][1]
    # 50 ms by the log's stamps, although the trace's own clock ends at 31.
    assert times[9][1] == "-- root's init running"


def test_each_module_has_its_time_result_and_reason():
    found = {text.split()[0]: text.split(None, 3)[1:] for _, text in rows(timeline(booted(), width=120))}
    assert found["virtio"] == ["1.0", "ok", "virtio_pci needs it"]
    assert found["virtio_pci"] == ["8.2", "ok", f"{MODALIAS} of 0000:00:03.0"]
    assert found["nls_cp437"] == ["1.0", "ENOENT", "the kernel asked for nls_cp437"]
    assert found["odd"] == ["1.0", "-4095", "platform:odd"]


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_of_the_table_is_wider_than_the_terminal(width):
    wide = [{**TRACE[7], "spec": "PARTUUID=" + "0" * 200}, module(1, "usb", "modalias", "usb:" + "v" * 300)]
    table = timeline(booted([*TRACE[:7], *wide]), width=width).split("\n\n")[0]
    assert max(map(len, table.splitlines())) <= width
    assert "of 0000:00:03.0" in table


def test_summary_counts_what_failed(tmp_path):
    image = tmp_path / "image"
    image.write_bytes(bytes(4096))
    summary = timeline(booted(), image=image).split("\n\n")[1]
    assert "3 loaded, 2 failed, 0 without a device (ENODEV); 12.2 ms" in summary
    crc = module(14_000_000, "crc32c_intel", "softdep", "jbd2", result=-errno.ENODEV)
    assert "3 loaded, 2 failed, 1 without a device" in timeline(booted([*TRACE, crc]))
    assert "root device 20.0 ms, mounted 30.0 ms, root's init 50.0 ms" in summary
    assert "2500 ms" in summary
    assert "image 4 KiB" in summary


def test_boot_that_did_not_come_to_its_root_is_still_shown():
    text = timeline(booted(TRACE[:5], []))
    assert "virtio_pci" in text
    assert "root" not in text


def test_boot_without_a_trace_is_an_error():
    with pytest.raises(TinykmodError, match="trace"):
        timeline(booted(None))
