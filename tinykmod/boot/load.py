"""Loading what devices ask for, one module at a time: the twin of cext/core/load.pxi."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tinykmod.boot import cmdline
from tinykmod.errors import ModuleFormatError
from tinykmod.index.reader import Index
from tinykmod.index.records import Step
from tinykmod.index.schema import FORBIDDEN, ModuleFlag
from tinykmod.kmod.insert import insert
from tinykmod.kmod.system import System
from tinykmod.modules.driver_class import DriverClass


class Loaded(NamedTuple):
    """What became of one step: RESULT is 0 or a negative errno, then ERROR says why.

    NOTE tells what the configuration's install command made of it; where that forbids the module, nothing was TRIED.
    """

    step: Step
    path: str  # below /lib/modules/RELEASE
    options: str
    result: int
    error: str
    note: str = ""
    tried: bool = True


def rank(classes: DriverClass) -> int:
    """Lower goes first: buses and disks lead to the root, then USB hosts, then the display, then the rest."""
    if classes & (DriverClass.STORAGE | DriverClass.BUS):
        return 0
    if classes & DriverClass.USB:
        return 1
    return 2 if classes & DriverClass.GPU else 3


def plan(
    index: Index, modaliases: Iterable[str], command_line: str = "", classes: DriverClass | None = None
) -> list[Step]:
    """What MODALIASES ask for, in the order in which the loader would load it. Each counts once.

    Of drivers only those of CLASSES.
    """
    requests: dict[str, Step] = {}
    for modalias in dict.fromkeys(modaliases):
        for match in index.match(modalias):
            filtered = index.is_blacklisted(match.module) if not match.builtin else True
            if classes is not None and not filtered:
                record = index.module(match.module)
                filtered = not record.classes & classes and ModuleFlag.HASH not in record.flags
            if not filtered and not cmdline.blacklists(command_line, match.module):
                requests.setdefault(match.module, Step(match.module, "modalias", modalias))
    ranked = sorted(requests.values(), key=lambda step: rank(index.module(step.module).classes))
    return index.order(ranked)


def options_of(index: Index, step: Step, command_line: str) -> str:
    """What STEP's module gets: the configuration's options, then the kernel command line's, as finit_module wants."""
    alias = step.by if step.why == "modalias" else ""
    given = (index.options(step.module, alias), cmdline.options_of(command_line, step.module))
    return " ".join(text for text in given if text)


def load(
    index: Index,
    steps: Iterable[Step],
    system: System | None,
    directory: Path,
    command_line: str = "",
    failed: set[str] | None = None,
) -> Iterator[Loaded]:
    """Load STEPS in order from DIRECTORY (/lib/modules/RELEASE). What needs a module that failed is not tried.

    Without a SYSTEM nothing is loaded, and what is tried succeeds. FAILED are the modules that were tried in vain
    before; those of STEPS are added to it.
    """
    failed = set() if failed is None else failed
    for step in steps:
        module = index.module(step.module)
        note = install_note(index, step.module)
        if module.flags & FORBIDDEN:
            if ModuleFlag.REFUSED in module.flags:
                failed.add(module.name)
            yield Loaded(step, module.path, "", 0, "", note, tried=False)
            continue
        options = options_of(index, step, command_line)
        missing = next((name for name in module.deps if name in failed), None)
        if missing is not None:
            result, error = -errno.EINVAL, f"it needs {missing}, which was not loaded"
        elif not _stays_inside(module.path):
            result, error = -errno.EINVAL, "its path in the index leads out of the modules' directory"
        elif cmdline.blacklisted_by_kernel(command_line, module.name):
            result, error = -errno.EPERM, "blacklisted on the kernel command line (module_blacklist=)"
        else:
            result, error = 0, ""
            if system is not None:
                compressed = ModuleFlag.COMPRESSED in module.flags
                result, error = _load(system, directory / module.path, options, compressed)
        if result:
            failed.add(module.name)
        yield Loaded(step, module.path, options, result, error, note)


def install_note(index: Index, module: str) -> str:
    """What the loader says of MODULE's install command; empty where it has none."""
    statement = index.install_command(module) if ModuleFlag.INSTALL in index.module(module).flags else None
    if statement is None:
        return ""
    if index.module(module).flags & FORBIDDEN:
        return f"not loaded: install {statement.text} at {statement.where}"
    return f"its install command at {statement.where} is not run at boot; it is loaded as usual"


def _stays_inside(path: str) -> bool:
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def _load(system: System, path: Path, options: str, compressed: bool) -> tuple[int, str]:
    """The result, and why it is a failure."""
    try:
        result = insert(system, path, options) if compressed else system.finit_module(path, options, 0)
    except ModuleFormatError:
        return -errno.EBADMSG, "its packed file is damaged"
    except OSError as error:
        result = -(error.errno or errno.EIO)
    # What something else has loaded is there.
    return (0, "") if result in (0, -errno.EEXIST) else (result, _why(path, -result))


def _why(path: Path, number: int) -> str:
    if number == errno.ENOENT and not path.exists():
        return "its file is not here"
    if number == errno.ENOENT:
        return "unknown symbol, or its init found something missing"
    if number == errno.ENOEXEC:
        return "not a module for this kernel (other version or architecture, or damaged)"
    if number == errno.EOPNOTSUPP:
        return "compressed, and this kernel does not decompress modules"
    if number == errno.EKEYREJECTED:
        return "its signature is missing, not of this file, or by a key that the kernel does not know"
    if number == errno.EINVAL:
        return "a parameter, a symbol's version or namespace does not fit, or its init refuses"
    return os.strerror(number)
