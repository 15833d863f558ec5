"""The kernel's uevents, and when all of them have been read: the twin of cext/core/device.pxi and settle.pxi."""

from __future__ import annotations

import errno
import select
import socket
import time
import uuid
from pathlib import Path
from types import TracebackType

from tinykmod.errors import TinykmodError

_NETLINK_KOBJECT_UEVENT = 15
_SO_RCVBUFFORCE = 33
#: The kernel's own events, and those that udev sends when its rules have run.
_KERNEL, _UDEV = 1, 2
#: Where a mark is asked for: settle.pxi says why there. It comes at once, or (another namespace) never.
MARK = Path("/sys/bus/platform/uevent")
_MARK_LIMIT = 2.0

Event = dict[str, str]


class Uevents:
    """The uevent socket, bound from here on: what happens later is read, whenever that is.

    `lost` is whether the kernel had to drop some: then sysfs has to be looked at again. Raises TinykmodError.
    """

    def __init__(self) -> None:
        self.lost = False
        try:
            self._socket = socket.socket(
                socket.AF_NETLINK,
                socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC,
                _NETLINK_KOBJECT_UEVENT,
            )
            self._socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 16 << 20)
            self._socket.bind((0, _KERNEL | _UDEV))
        except OSError as error:
            raise TinykmodError("uevents", f"no netlink socket: {error.strerror}") from error

    def __enter__(self) -> Uevents:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def read(self) -> list[Event]:
        """The events of the kernel that wait, as KEY=VALUE; what another process sent is dropped."""
        events: list[Event] = []
        while True:
            try:
                data, source = self._socket.recvfrom(16384)
            except BlockingIOError:
                return events
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self.lost = True
                continue
            if source[0] == 0:
                fields = data.decode(errors="surrogateescape").split("\0")[1:]
                events.append({key: value for key, equals, value in (f.partition("=") for f in fields) if equals})

    def read_all(self) -> list[Event]:
        """Every event that the kernel has sent by now: up to a mark, or where it takes none what waits."""
        mark = str(uuid.uuid4())
        try:
            MARK.write_text(f"change {mark}")
        except OSError:
            return self.read()
        until = time.monotonic() + _MARK_LIMIT
        events = self.read()
        while not self.lost and not any(event.get("SYNTH_UUID") == mark for event in events):
            if not self.wait(until - time.monotonic()):
                break
            events += self.read()
        return events

    def wait(self, seconds: float) -> bool:
        """Sleep until there is something to read. False: there was nothing for so long."""
        return seconds > 0 and bool(select.select([self._socket], [], [], seconds)[0])
