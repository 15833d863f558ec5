"""What a root's init tells of the machine that it runs on: its display, the loader's snapshot, its /sys and /proc."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tinykmod.bench.disk import REPORTING_INIT, make_disk_of

#: On the kernel command line: what takes a while is told as well, a copy of /sys and /proc.
TELL_ALL = "tell=all"
SNAPSHOT_END = "--- end of snapshot ---"
_SNAPSHOT_BEGIN = "--- snapshot ---"
_BEGIN, _END = "--- machine ---", "--- end of machine ---"
_FILES = "/proc/self/mountinfo /proc/cmdline /proc/modules /proc/sys/kernel/osrelease /proc/sys/kernel/arch"
#: `display DRIVER` if the display is there before anything else is done.
_DISPLAY = """\
bb=/bin/busybox
display=$($bb readlink /sys/class/drm/card0/device/driver)
[ -e /dev/dri/card0 ] && echo "display ${display##*/}"
"""
#: There need not be a Python on the root: the loader tells what machine it is. Then `F FILE LINE` for each line of a
#: file and `L LINK TARGET` for each link.
_TELL = f"""\
echo '{_SNAPSHOT_BEGIN}'
/sbin/tinykmod snapshot
echo '{SNAPSHOT_END}'
if $bb grep -q {TELL_ALL} /proc/cmdline; then
    echo '{_BEGIN}'
    for file in {_FILES} $($bb find /sys/devices -name uevent -o -name waiting_for_supplier -o -name partition \\
        -o -path '*/block/*/dev'); do
        $bb sed "s|^|F $file |" $file
    done
    $bb find /sys/bus /sys/devices /sys/class/block /sys/class/drm /sys/dev/block -type l | $bb xargs $bb ls -l |
        $bb sed 's|.* \\(/sys/.*\\) -> |L \\1 |'
    echo '{_END}'
fi
$bb sync
"""
INIT = REPORTING_INIT.replace("bb=/bin/busybox\n", _DISPLAY).replace("$bb sync\n", _TELL)


def make_disk(path: Path, *, uuid: str, busybox: Path, loader: Path) -> Path:
    """A root disk at PATH with INIT, for the machine that BUSYBOX and LOADER are for."""
    tree = path.with_name(f"{path.name}.tree")
    for name in ("bin", "sbin", "dev", "proc", "sys", "run"):
        (tree / name).mkdir(parents=True)
    shutil.copy(loader, tree / "sbin/tinykmod")
    shutil.copy(busybox, tree / "bin/busybox")
    (tree / "sbin/init").write_text(INIT)
    for program in ("bin/busybox", "sbin/init"):
        (tree / program).chmod(0o755)
    make_disk_of(path, tree, uuid=uuid, size_mib=16)
    shutil.rmtree(tree)
    return path


def snapshot(lines: Sequence[str]) -> dict[str, Any]:
    """The loader's, out of a console's LINES."""
    taken = json.loads("\n".join(lines[lines.index(_SNAPSHOT_BEGIN) + 1 : lines.index(SNAPSHOT_END)]))
    assert isinstance(taken, dict)
    return taken


def copy(lines: Iterable[str], base: Path) -> Path:
    """BASE with the machine that a console's LINES tell of, for `tinykmod snapshot --sysroot`."""
    inside = False
    for line in lines:
        inside = (inside or line == _BEGIN) and line != _END
        kind, _, rest = line.partition(" ")
        place, _, text = rest.partition(" ")
        path = base / place.lstrip("/")
        if not inside or kind not in ("F", "L"):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if kind == "F":
            with path.open("a") as file:
                file.write(f"{text}\n")
        elif not path.is_symlink():
            path.symlink_to(text)
    return base
