"""A snapshot of this machine as JSON: its devices, what drives them, what its root and displays sit behind.

This file needs Python 3.7 with its standard library and nothing else of tinykmod: it can be copied to a board and run
there, `python3 snapshot.py -o board.json`. docs/snapshot.md says what it writes; tinykmod/image/snapshot.py reads it.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import stat
import sys
from pathlib import Path

VERSION = 1
#: The key that tells a snapshot from other JSON.
MARK = "tinykmod_snapshot"


def take(sysroot: str | os.PathLike[str] = "/") -> dict[str, object]:
    """The snapshot of the machine whose /sys, /proc and /run are below SYSROOT.

    Raises OSError where there is no /sys.
    """
    machine = _Machine(sysroot)
    system = os.uname()
    return {
        MARK: VERSION,
        "release": machine.read("proc/sys/kernel/osrelease").strip() or system.release,
        "arch": machine.read("proc/sys/kernel/arch").strip() or system.machine,
        "cmdline": machine.read("proc/cmdline").strip("\0\n"),
        "lockdown": machine.lockdown(),
        "modules": sorted(line.split()[0] for line in machine.read("proc/modules").splitlines()),
        "root": machine.root(),
        "displays": machine.displays(),
        "devices": machine.devices(),
    }


def text(snapshot: dict[str, object]) -> str:
    """SNAPSHOT as JSON, in ASCII, each entry of a list of objects on a line of its own."""
    parts = []
    for key, value in snapshot.items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            shown = "[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in value) + "\n ]"
        else:
            shown = json.dumps(value)
        parts.append(f" {json.dumps(key)}: {shown}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


class _Machine:
    """What lies below one root. What cannot be read, or vanishes meanwhile, is as if it were not there."""

    def __init__(self, sysroot: str | os.PathLike[str]) -> None:
        self._base = Path(sysroot).resolve()
        self._home = self._base / "sys/devices"
        for place in (self._base / "sys/bus", self._home):
            if not place.is_dir():
                raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(place))

    def read(self, place: str) -> str:
        try:
            return (self._base / place).read_text(errors="surrogateescape")
        except OSError:
            return ""

    def lockdown(self) -> str:
        """The word in brackets: `none [integrity] confidentiality`."""
        found = re.search(r"\[([^]]*)\]", self.read("sys/kernel/security/lockdown").rstrip("\n"))
        return found[1] if found else ""

    def devices(self) -> list[dict[str, object]]:
        """The devices of all buses that have a modalias or a driver, or wait for another, by their paths."""
        found: dict[str, dict[str, object]] = {}
        processors = set()
        places = [place for bus in self._entries("sys/bus", "*") for place in self._entries(f"{bus}/devices", "*")]
        for place in places:
            path, bus = self._device(place), place.split("/")[2]
            if not path:
                continue
            entry: dict[str, object] = {
                "modalias": self._fields(f"{place}/uevent").get("MODALIAS"),
                "driver": self._target(f"{place}/driver"),
                "module": self._target(f"{place}/driver/module"),
                "suppliers": self._suppliers(place),
                "waiting": self.read(f"{place}/waiting_for_supplier").strip() == "1",
            }
            # A processor's modalias is long, and all of them are mostly alike.
            if bus == "cpu":
                if entry["modalias"] in processors:
                    continue
                processors.add(entry["modalias"])
            if any(entry.values()):
                found[path] = {"path": path, "bus": bus, **{key: value for key, value in entry.items() if value}}
        return [found[path] for path in sorted(found)]

    def displays(self) -> list[dict[str, str]]:
        """The cards of /sys/class/drm, each with the path of the device that it is of."""
        cards = [place for place in self._entries("sys/class/drm", "card*") if re.search(r"/card\d+$", place)]
        devices = {place: self._device(f"{place}/device") for place in cards}
        return [{"name": Path(place).name, "path": path} for place, path in devices.items() if path]

    def root(self) -> dict[str, object] | None:
        """What is mounted on /; None where /proc does not tell."""
        mounts = [line.split(" ") for line in self.read("proc/self/mountinfo").splitlines()]
        # proc(5): ... MAJ:MIN ROOT MOUNTPOINT OPTIONS [TAGS...] - TYPE SOURCE OPTIONS. The last mount hides others.
        roots = [fields for fields in mounts if len(fields) > 4 and fields[4] == "/" and "-" in fields]
        if not roots:
            return None
        fields = roots[-1]
        kind, source = fields[fields.index("-") + 1 :][:2]
        name = self._block(fields[2], source)
        udev = self._fields(f"run/udev/data/b{self.read(f'sys/class/block/{name}/dev').strip()}") if name else {}
        event = self._fields(f"sys/class/block/{name}/uevent") if name else {}
        ids = {
            "uuid": udev.get("E:ID_FS_UUID"),
            "label": udev.get("E:ID_FS_LABEL"),
            "partuuid": udev.get("E:ID_PART_ENTRY_UUID") or event.get("PARTUUID"),
        }
        known = {key: value for key, value in ids.items() if value}
        return {"source": source, "type": kind, **known, "blocks": self._chain(name) if name else []}

    def _block(self, number: str, source: str) -> str:
        """The kernel's name of the device that is mounted; empty for a filesystem without one."""
        if number.startswith("0:"):  # btrfs, which may be on several devices, has a number of its own
            try:
                status = (self._base / source.lstrip("/")).stat()
            except OSError:
                return ""
            if not stat.S_ISBLK(status.st_mode):
                return ""
            number = f"{os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
        return self._target(f"sys/dev/block/{number}")

    def _chain(self, name: str) -> list[dict[str, str]]:
        """The block device NAME and those that it is made of, or reached by, each once."""
        pending, found = [name], {}
        for pool in self._entries("sys/fs/btrfs", "*/devices"):
            members = [Path(place).name for place in self._entries(pool, "*")]
            if name in members:
                pending = members
        while pending:
            name = pending.pop(0)
            path = self._device(f"sys/class/block/{name}")
            if not path or name in found:
                continue
            found[name] = path
            disk = str(Path(path).parent) if self.read(f"sys/class/block/{name}/partition") else path
            pending += [Path(place).name for place in self._entries(f"sys/devices/{disk}/slaves", "*")]
            # An NVMe disk that may be reached in several ways is of no controller: its subsystem links to them.
            if disk.startswith("virtual/nvme-subsystem/"):
                for place in self._entries(f"sys/devices/{Path(disk).parent}", "nvme*"):
                    way = self._device(place) if (self._base / place).is_symlink() else ""
                    if way:
                        found[Path(place).name] = way
        return [{"name": name, "path": path} for name, path in found.items()]

    def _suppliers(self, place: str) -> list[str]:
        """The devices that the device waits for: fw_devlink's links, and those that drivers make."""
        found = {self._device(f"{link}/supplier") for link in self._entries(place, "supplier:*")}
        return sorted(found - {""})

    def _entries(self, place: str, pattern: str) -> list[str]:
        """What is below a directory, by a glob pattern, as places."""
        try:
            found = sorted((self._base / place).glob(pattern))
        except OSError:
            return []
        return [str(path.relative_to(self._base)) for path in found]

    def _target(self, place: str) -> str:
        """The last component of what a link leads to; empty where it is none."""
        path = self._base / place
        return path.resolve().name if path.is_symlink() else ""

    def _device(self, place: str) -> str:
        """The path below /sys/devices of the device that a link leads to; empty where it leads elsewhere."""
        path = self._base / place
        target = path.resolve()
        return str(target.relative_to(self._home)) if path.exists() and self._home in target.parents else ""

    def _fields(self, place: str) -> dict[str, str]:
        lines = (line.partition("=") for line in self.read(place).split("\n"))
        return {key: value for key, equals, value in lines if equals}


def write(path: Path, content: str) -> None:
    """Write beside PATH and rename, so that a snapshot that is there stays until the new one is complete."""
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.write_text(content, encoding="ascii")
        beside.replace(path)
    except BaseException:
        if beside.exists():
            beside.unlink()
        raise


def main() -> int:
    parser = argparse.ArgumentParser(description="Write a snapshot of this machine, for `tinykmod initramfs --for`.")
    parser.add_argument("-o", "--output", metavar="FILE", help="default: standard output")
    args = parser.parse_args()
    try:
        content = text(take())
        if args.output is None:
            sys.stdout.write(content)
        else:
            write(Path(args.output), content)
    except OSError as error:
        print(f"snapshot: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
