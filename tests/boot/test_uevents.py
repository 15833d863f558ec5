"""The uevent socket of the pure-Python twin: whose events count, and when all have been read."""

from __future__ import annotations

import errno
import os
import select
import socket
from pathlib import Path

import pytest

from tinykmod.boot import uevents
from tinykmod.boot.uevents import Uevents

ADD = b"add@/x\0ACTION=add\0MODALIAS=pci:x\0"


class FakeSocket:
    """Gives what is queued, one datagram or error a call."""

    def __init__(self, *queued: tuple[bytes, int] | OSError) -> None:
        self.queued = list(queued)

    def setsockopt(self, *_: object) -> None: ...
    def bind(self, *_: object) -> None: ...
    def close(self) -> None: ...

    def recvfrom(self, _: int) -> tuple[bytes, tuple[int, int]]:
        if not self.queued:
            raise BlockingIOError
        first = self.queued.pop(0)
        if isinstance(first, OSError):
            raise first
        return first[0], (first[1], 1)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeSocket:
    made = FakeSocket()
    monkeypatch.setattr(socket, "socket", lambda *_: made)
    monkeypatch.setattr(uevents, "MARK", tmp_path / "mark")
    return made


def test_only_the_kernels_events_count(fake: FakeSocket) -> None:
    fake.queued = [(ADD, 0), (ADD.replace(b"pci:x", b"pci:forged"), 77), (b"libudev\0\xfe\xed", 77)]
    with Uevents() as events:
        assert events.read() == [{"ACTION": "add", "MODALIAS": "pci:x"}]
        assert events.read() == []
        assert not events.lost


def test_all_is_read_up_to_the_mark(fake: FakeSocket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An event that is queued late, but before the mark, is read as well."""
    later = [(ADD, 0), None]

    def wait(*_: object) -> tuple[list[object], list[object], list[object]]:
        mark = (tmp_path / "mark").read_text().removeprefix("change ")
        assert len(mark) == 36
        fake.queued.append(later.pop(0) or (f"change@/bus\0SYNTH_UUID={mark}\0".encode(), 0))
        return [fake], [], []

    monkeypatch.setattr(select, "select", wait)
    with Uevents() as events:
        first, last = events.read_all()
    assert first["MODALIAS"] == "pci:x"
    assert "SYNTH_UUID" in last
    assert not later


def test_where_the_kernel_takes_no_mark_what_waits_is_read(fake: FakeSocket, tmp_path: Path) -> None:
    (tmp_path / "mark").mkdir()
    fake.queued = [(ADD, 0)]
    with Uevents() as events:
        assert len(events.read_all()) == 1


def test_lost_events_are_known_and_the_rest_is_read(fake: FakeSocket) -> None:
    fake.queued = [(ADD, 0), OSError(errno.ENOBUFS, "full"), (ADD, 0)]
    with Uevents() as events:
        assert len(events.read_all()) == 2
        assert events.lost


def test_the_running_kernel_sends_the_mark_back() -> None:
    """As root; without, the kernel takes no mark and there is none."""
    with Uevents() as events:
        found = [event for event in events.read_all() if "SYNTH_UUID" in event]
        assert bool(found) == (os.geteuid() == 0)
        assert {event["DEVPATH"] for event in found} <= {"/bus/platform"}
