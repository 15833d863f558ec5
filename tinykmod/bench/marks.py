"""What a boot left behind, as a measured boot: when what happened, by the kernel's log and the loader's trace.

The log comes first wherever it tells something, so that images which leave no trace are measured by the same stamps;
the trace has what the log does not, and each module's reason and worker.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tinykmod.bench.disk import SENTINEL
from tinykmod.bench.measured import Load, Measured, load_of
from tinykmod.bench.result import BootResult, stamped
from tinykmod.bench.traced import path_of
from tinykmod.trace.events import Event
from tinykmod.trace.graph import Graph

#: Words for the kernel that make its log, of which there is then more, tell each module's init: for images that leave
#: no trace.
INITCALLS = "initcall_debug log_buf_len=8M"

#: mark -> how its first line in the kernel's log reads. Where nothing is said the text has been there since Linux 5.
_UNPACK = r"Trying to unpack rootfs image as initramfs|Unpacking initramfs"
_UNPACKED = r"Freeing initrd memory"
#: The first is the image's, whatever rdinit= says.
_INIT = r"Run (?P<init>\S+) as init process"
_DISPLAY = r"\[drm\] Initialized (?!vgem|vkms)"
#: A filesystem's line for its mount, with its device.
_MOUNTED = re.compile(
    r"EXT4-fs \((?P<ext4>[^)]+)\): mounted filesystem"
    r"|XFS \((?P<xfs>[^)]+)\): Ending (clean mount|recovery)"
    r"|BTRFS info \(device (?P<btrfs>[^):]+)[^)]*\): (using|enabling|disk space caching|has skinny|checking)"
    r"|F2FS-fs \((?P<f2fs>[^)]+)\): Mounted with checkpoint"
    r"|erofs: \(device (?P<erofs>[^)]+)\): mounted with"
)
#: systemd's first line, which one in the image says as well, before the root is mounted.
_SYSTEMD = r"systemd\[1\]: systemd .* running in system mode"
#: What other inits say on the console, without a stamp.
_OTHER_INITS = re.compile(r"^(INIT: version \S+ booting|init started: BusyBox|\s*OpenRC \S+ is starting up)")
#: What images say that did not find their root, or cannot go on: initramfs-tools, systemd, dracut.
GAVE_UP = r"^\(initramfs\) |Press Enter for (system )?maintenance|^dracut:/# "
#: What a root's init that does not report ends with on the console, where nothing else is said to be waited for.
LOGIN = r"\blogin: ?$"
#: What initcall_debug adds, and what a machine says when it goes down: they would hide what the image said last.
_CHATTER = re.compile(
    r"^\[[^]]*\] (calling  |initcall |probe of |PM: Calling |.*: shutdown$|ACPI: PM: Preparing |reboot: )"
)
_INITCALL = re.compile(r"initcall \S+ \[(?P<name>\w+)\] returned (?P<result>-?\d+) after (?P<usecs>\d+) usecs")


def measured(
    result: BootResult,
    *,
    contender: str = "",
    machine: str = "",
    engine: str = "",
    run: int = 1,
    image_bytes: int = 0,
    until: str | None = None,
) -> Measured:
    """RESULT as it is kept. UNTIL is a regular expression for the line with which the root's init shows that it runs,
    where that is not this project's init, systemd, or another that is known here."""
    log = result.log
    trace = result.trace or []
    zero = _zero(trace, log)
    graph = Graph(trace)
    told = list(_initcalls(log))
    loads = [load_of(event, zero) for event in trace if event["ev"] == "module"] or told
    marks = _marks(log, trace, zero)
    ran = _root_init(result, marks, until)
    if isinstance(ran, float):
        marks["root_init"] = ran
    # What the root's own udev loads is no part of it.
    ends = [load.begin + load.seconds for load in told or loads if load.begin <= marks.get("root_init", load.begin)]
    if ends:
        marks["all"] = round(max(ends), 6)
    return Measured(
        contender, machine, engine, run,
        ended="root" if ran is not None else result.ended,
        marks=dict(sorted(marks.items(), key=lambda mark: mark[1])),
        loads=loads, path=path_of(graph, "root", zero), display_path=path_of(graph, "display", zero),
        image_bytes=image_bytes, host_seconds=round(result.seconds, 2),
        error="" if ran is not None else _why(result),
        console=[] if ran is not None else _last(result),
    )  # fmt: skip


def _marks(log: Sequence[tuple[float, str]], trace: Sequence[Event], zero: float) -> dict[str, float]:
    """All but `all` and `root_init`."""
    found: dict[str, float | None] = {
        "unpack": _first(log, _UNPACK),
        "unpacked": _first(log, _UNPACKED),
        "init": _first(log, _INIT),
        "display": _first(log, _DISPLAY),
    }
    events = {event["ev"]: event for event in reversed(trace)}
    begun = found["init"] or 0.0
    mounts = [(at, next(filter(None, match.groupdict().values()))) for at, text in log
              if at >= begun and (match := _MOUNTED.search(text))]  # fmt: skip
    device = events["mounted"]["device"].rpartition("/")[2] if "mounted" in events else ""
    # The root is what the image mounts first, if nothing tells which it is.
    mounts = [mount for mount in mounts if not device or mount[1] == device] or ([] if device else mounts)
    if mounts:
        found["mounted"], device = mounts[0]
    elif "mounted" in events:
        found["mounted"] = zero + events["mounted"]["t"] / 1e9
    if device:
        found["disk"] = _disk(log, device)
    if found.get("disk") is None and "root" in events:
        found["disk"] = zero + events["root"]["t"] / 1e9
    return {name: round(at, 6) for name, at in found.items() if at is not None}


def _disk(log: Sequence[tuple[float, str]], device: str) -> float | None:
    """When the kernel's log says that the disk of DEVICE (without /dev/) is there."""
    numbered = re.match(r"((?:nvme\d+n|mmcblk)\d+)(p\d+)?$", device)
    disk = numbered[1] if numbered else device.rstrip("0123456789")
    lines = [rf"\[{re.escape(disk)}\] Attached", rf"\[{re.escape(disk)}\] \d+ \d+-byte logical blocks",
             rf"(^|\s){re.escape(disk)}:"]  # fmt: skip
    if disk.startswith("nvme"):
        # Of a namespace without partitions there is no line: its controller's last one comes just before.
        lines.append(rf"nvme {disk.rpartition('n')[0]}: .*queues")
    return next((at for pattern in lines if (at := _first(log, pattern)) is not None), None)


def _root_init(result: BootResult, marks: dict[str, float], until: str | None) -> float | bool | None:
    """When the root's init ran; True where only that it did is known, None where it did not."""
    mounted = marks.get("mounted", 0.0)
    # Beside a log that was printed the console still has what came to it alone.
    lines = result.log + (stamped(result.lines) if result.dmesg else [])
    pattern = "|".join([re.escape(SENTINEL), *([_SYSTEMD] if mounted else []), *([f"(?:{until})"] if until else [])])
    for at, text in lines:
        if at >= mounted and re.search(pattern, text):
            return at
    plain = [line for line in result.lines if not stamped([line])]
    said = any(SENTINEL in line or _OTHER_INITS.match(line) or (until and re.search(until, line)) for line in plain)
    return True if said else None


def _last(result: BootResult) -> list[str]:
    """The console's last lines: of a panic those that come before it, not its registers."""
    lines = _said(result)
    panic = next((number for number, line in enumerate(lines) if "Kernel panic" in line), len(lines))
    return lines[: panic + 1][-15:]


def _said(result: BootResult) -> list[str]:
    return [line for line in result.lines if line.strip() and not _CHATTER.match(line)]


def _why(result: BootResult) -> str:
    """Why the root's init did not run, in one line."""
    panic = next((line for line in result.lines if "Kernel panic" in line), None)
    if result.ended == "panic" and panic:
        return panic[panic.index("Kernel panic") :]
    last = next((line.strip() for line in reversed(_said(result))), "")
    if result.ended == "stop_on":
        return f"the image gave up, and asks for help: {last}"
    if result.ended == "timeout":
        return f"not there after {result.seconds:.0f} s; the console's last line: {last or 'it said nothing'}"
    return f"the machine was switched off or started anew before that; the console's last line: {last}"


def _zero(trace: Sequence[Event], log: Sequence[tuple[float, str]]) -> float:
    """Seconds of the log's clock at the trace's zero: the loader tells its start in both."""
    start = next((event["t"] for event in trace if event["ev"] == "start"), None)
    at = _first(log, r"^tinykmod: (.*: )?init started")
    return 0.0 if start is None or at is None else at - start / 1e9


def _initcalls(log: Sequence[tuple[float, str]]) -> Iterator[Load]:
    """Loads by what INITCALLS makes the kernel log: of modules that have an init, and that alone.

    `worker` is the lowest number that no other of them has at the time: how many there were at once, not who.
    """
    found = [(at - int(line["usecs"]) / 1e6, at, line) for at, text in log if (line := _INITCALL.search(text))]
    free: list[float] = []
    for begin, end, line in sorted(found, key=lambda load: load[0]):
        worker = next((number for number, until in enumerate(free) if until <= begin), len(free))
        free[worker : worker + 1] = [end]
        yield Load(line["name"], round(begin, 6), int(line["usecs"]) / 1e6, worker + 1, result=int(line["result"]))


def _first(log: Sequence[tuple[float, str]], pattern: str) -> float | None:
    return next((at for at, text in log if re.search(pattern, text)), None)
