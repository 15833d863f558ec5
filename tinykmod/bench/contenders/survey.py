"""What a machine has, for the images that are made for one machine: a boot of it tells."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.bench.disk import REPORTING_INIT, make_disk_of
from tinykmod.bench.machines import Machine
from tinykmod.bench.qemu import BootResult, boot
from tinykmod.errors import TinykmodError
from tinykmod.image import snapshot
from tinykmod.image.snapshot import Snapshot

_BEGIN, _END = "--- snapshot ---", "--- end of snapshot ---"
#: The root's init: the loader tells what machine it is, then the rest as elsewhere.
_INIT = REPORTING_INIT.replace("$bb sync\n", f"echo '{_BEGIN}'\n/sbin/tinykmod snapshot\necho '{_END}'\n$bb sync\n")
#: Seconds; an emulated machine is slow on a host that has other work.
_LIMIT = 600


@dataclass(frozen=True)
class Survey:
    """A machine with a root on ext4: its `snapshot`, the root's `device` in /dev, the modules `loaded` in order."""

    snapshot: Snapshot
    device: str
    loaded: tuple[str, ...]

    @property
    def drivers(self) -> list[str]:
        """The modules that drive the root's disk and what it sits behind, from the bus on."""
        root = self.snapshot.root
        assert root is not None
        behind = self.snapshot.behind(block.path for block in root.blocks)
        return list(dict.fromkeys(device.module for device in behind if device.module))


def take(kernel: Kernel, machine: Machine, image: Path, busybox: Path, scratch: Path) -> bytes:
    """What survey() reads, from a boot of MACHINE with IMAGE, a generic one of ours.

    Raises TinykmodError where it does not come to its root.
    """
    tree = scratch / "tree"
    for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
        (tree / name).mkdir(parents=True)
    shutil.copy(busybox, tree / "bin/busybox")
    shutil.copy(loaders.find(machine.emulator.arch), tree / "sbin/tinykmod")
    (tree / "sbin/init").write_text(_INIT)
    for program in ("bin/busybox", "sbin/init", "sbin/tinykmod"):
        (tree / program).chmod(0o755)
    name = str(uuid.uuid4())
    disk = make_disk_of(scratch / "disk", tree, uuid=name, size_mib=16)
    done = boot(kernel.vmlinuz, image, machine=machine, disks=[disk], append=f"root=UUID={name}", timeout=_LIMIT)
    if done.trace is None or _END not in done.lines:
        raise TinykmodError(machine.name, f"did not come to its root with {image}: {done.tail(1) or done.ended}")
    return json.dumps(_told(done)).encode()


def _told(done: BootResult) -> dict[str, object]:
    trace = done.trace or []
    loads = [event for event in trace if event["ev"] == "module" and event["result"] == 0]
    # What a module's init had the kernel load ends before the module does.
    loads.sort(key=lambda event: int(event["t"]) + int(event["dur"]))
    [mounted] = [event for event in trace if event["ev"] == "mounted"]
    return {
        "snapshot": json.loads("".join(done.lines[done.lines.index(_BEGIN) + 1 : done.lines.index(_END)])),
        "device": mounted["device"],
        "loaded": list(dict.fromkeys(event["name"] for event in loads)),
    }


def survey(path: Path) -> Survey:
    """What take() has told. Raises SnapshotError where a root is missing."""
    told = json.loads(path.read_bytes())
    found = snapshot.parse(json.dumps(told["snapshot"]), str(path))
    return Survey(found, told["device"], tuple(told["loaded"]))
