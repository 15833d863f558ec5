"""What a root's init prints of the machine that it runs on, and a copy of its /sys and /proc made of that."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tinykmod.bench.disk import REPORTING_INIT

BEGIN, END = "--- machine ---", "--- end of machine ---"
_FILES = "/proc/self/mountinfo /proc/cmdline /proc/modules /proc/sys/kernel/osrelease /proc/sys/kernel/arch"
#: Prints `F FILE LINE` for each line of a file and `L LINK TARGET` for each link.
_PRINT = f"""\
echo '{BEGIN}'
for file in {_FILES} $($bb find /sys/devices -name uevent -o -name waiting_for_supplier -o -name partition \\
    -o -path '*/block/*/dev'); do
    $bb sed "s|^|F $file |" $file
done
$bb find /sys/bus /sys/devices /sys/class/block /sys/class/drm /sys/dev/block -type l | $bb xargs $bb ls -l |
    $bb sed 's|.* \\(/sys/.*\\) -> |L \\1 |'
echo '{END}'
$bb sync
"""
INIT = REPORTING_INIT.replace("$bb sync\n", _PRINT)


def copy(lines: Iterable[str], base: Path) -> Path:
    """BASE with the machine that a console's LINES tell of, for `tinykmod snapshot --sysroot`."""
    inside = False
    for line in lines:
        inside = (inside or line == BEGIN) and line != END
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
