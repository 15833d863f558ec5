"""What the kernel has loaded: /proc/modules and /sys/module (proc(5), Documentation/ABI/testing/sysfs-module).

Every function takes the root below which proc/ and sys/ are, so that tests can put files there.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

ROOT = Path("/")


class LoadedModule(NamedTuple):
    """One module that the kernel has, on its way in or out included."""

    name: str  # normalised
    size: int  # bytes in memory
    refcount: int | None  # None: a kernel that cannot unload modules does not count
    holders: tuple[str, ...]  # the modules that use it
    state: str  # live, coming (its init function runs) or going


def read_loaded(root: Path = ROOT) -> list[LoadedModule]:
    """All loaded modules in the order of /proc/modules, the newest first.

    What /sys/module says of a module comes first, as in kmod; the holders are in readdir's order then.
    Raises OSError where /proc/modules cannot be read.
    """
    modules = []
    for line in (root / "proc/modules").read_text(errors="surrogateescape").splitlines():
        # NAME SIZE REFCOUNT HOLDER,HOLDER, STATE ADDRESS [(TAINT)]; `-` is no holder, and no count.
        words = line.split()
        if len(words) < 5:
            continue
        name, size, count, holders, state = words[:5]
        modules.append(
            LoadedModule(
                name,
                _number(root, name, "coresize", size) or 0,
                _number(root, name, "refcnt", count),
                _holders(root, name, tuple(word for word in holders.split(",") if word[:1] not in ("", "-", "["))),
                {"Loading": "coming", "Unloading": "going"}.get(state, "live"),
            )
        )
    return modules


def state_of(name: str, root: Path = ROOT) -> str:
    """live, coming or going; empty where the module is not loaded. A builtin one counts as coming, as in kmod.

    Raises OSError where /sys/module has an initstate that cannot be read.
    """
    directory = root / "sys/module" / name
    try:
        return (directory / "initstate").read_text().strip()
    except FileNotFoundError:
        return "coming" if directory.is_dir() else ""


def refcount_of(name: str, root: Path = ROOT) -> int | None:
    """How many use a loaded module; None where the kernel does not tell."""
    return _number(root, name, "refcnt", "-")


def holders_of(name: str, root: Path = ROOT) -> tuple[str, ...]:
    """The loaded modules that use this one, in readdir's order."""
    return _holders(root, name, ())


def _number(root: Path, name: str, attribute: str, otherwise: str) -> int | None:
    try:
        text = (root / "sys/module" / name / attribute).read_text()
    except OSError:
        text = otherwise
    return None if text.strip() == "-" else int(text)


def _holders(root: Path, name: str, otherwise: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(entry.name for entry in (root / "sys/module" / name / "holders").iterdir())
    except OSError:
        return otherwise
