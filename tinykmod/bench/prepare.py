"""Everything that a suite's boots need, made or found before the first of them; and what it was, for `bench.json`."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tinykmod import __version__
from tinykmod.bench import contenders, debian, defaults, disk, engines, machines, marks, qemu
from tinykmod.bench.machines import Emulator, Machine
from tinykmod.bench.results import FORMAT
from tinykmod.bench.suite import META, Contender, Suite
from tinykmod.cache import cache_dir
from tinykmod.errors import TinykmodError
from tinykmod.files import replacing
from tinykmod.modules.vmlinux import unpack_vmlinux

#: The engine whose figures do not depend on what else the host does.
STEADY = "qemu-icount"
#: What a line of changes() begins with that is about an image.
IMAGE_OF = "image of "
_VERSION = re.compile(rb"Linux version (\S+) ")


@dataclass(frozen=True)
class File:
    """A file as it was found: its size in bytes, and what tells without reading whether it is still the same."""

    path: Path
    size: int
    sha256: str
    changed: int

    @classmethod
    def of(cls, path: Path) -> File:
        """Raises OSError; TinykmodError where PATH is no file."""
        with path.open("rb") as file:
            found = os.fstat(file.fileno())
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        return cls(path, found.st_size, digest.hexdigest(), found.st_mtime_ns)

    def is_the_same(self) -> bool:
        try:
            found = self.path.stat()
        except OSError:
            return False
        return (found.st_size, found.st_mtime_ns) == (self.size, self.changed)

    def to_json(self) -> dict[str, Any]:
        return {"file": str(self.path), "bytes": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Prepared:
    """`kernel` is what is booted, `images` go by (contender, machine), `unmade` says why one of those is missing."""

    suite: Suite
    kernel: Path
    disks: tuple[Path, ...]
    append: str
    machines: dict[str, Machine]
    images: dict[tuple[str, str], File]
    unmade: dict[tuple[str, str], TinykmodError]
    about: dict[str, Any]


def prepare(suite: Suite, say: Callable[[str], None], label: str = "") -> Prepared:
    """Find and make what SUITE's boots need, each step told by SAY. LABEL is what the bench goes by among others, by
    default the revision() of what is worked on here.

    Raises TinykmodError, OSError where there is no kernel, QEMU, machine, engine, disk, or image at a path. An image
    that cannot be made is in `unmade`: the others are booted all the same.
    """
    found = [machines.load(word) for word in suite.machines]
    named = {machine.name: machine for machine in found}
    if len(named) < len(found):
        raise TinykmodError(suite.name, f"has two machines of one name: {', '.join(each.name for each in found)}")
    emulators = list(dict.fromkeys(machine.emulator for machine in found))
    if len({emulator.arch for emulator in emulators}) > 1:
        raise TinykmodError(suite.name, "has machines of several architectures, and one kernel boots them all")
    each = dict.fromkeys(place for name in suite.engines for place in engines.places(name))
    suite = dataclasses.replace(suite, engines=tuple(each))
    versions = {emulator.program: _version(emulator) for emulator in emulators
                if any(name.partition(":")[0].startswith("qemu") for name in suite.engines)}  # fmt: skip
    given = {each.name: File.of(each.image) for each in suite.contenders if each.image}
    own_kernel = bool(suite.kernel) and not suite.kernel.startswith(META)
    kernel, vmlinuz = _kernel(suite, emulators[0], say)
    images: dict[tuple[str, str], File] = {}
    unmade: dict[tuple[str, str], TinykmodError] = {}
    known: dict[Path, File] = {}
    for contender in suite.contenders:
        for machine in named.values():
            place = contender.name, machine.name
            say(f"making {contender.name} for {machine.name}")
            try:
                path = _made(contender, kernel, machine) if kernel and contender.make else None
            except TinykmodError as error:
                unmade[place] = error
                continue
            if path is not None and path not in known:
                known[path] = File.of(path)
            images[place] = given[contender.name] if path is None else known[path]
    disks = [File.of(path) for path in suite.disks]
    about = {
        "format": FORMAT,
        "tinykmod": __version__,
        "label": label or revision(Path()),
        "begun": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "suite": {"name": suite.name, "runs": suite.runs, "baseline": suite.baseline, "timeout": suite.timeout},
        "append": " ".join([*_words(suite), *suite.append.split()]),
        "kernel": {**vmlinuz.to_json(), "release": kernel.release if kernel else _release(vmlinuz.path)},
        "disks": [disk.to_json() for disk in disks],
        "machines": {name: dataclasses.asdict(machine) for name, machine in named.items()},
        "engines": {name: ", ".join(versions.values()) if name.startswith("qemu") else "" for name in suite.engines},
        "contenders": {
            each.name: {
                "about": contenders.NAMES.get(each.make, ""),
                "append": each.append,
                "images": {name: images[each.name, name].to_json() for name in named if (each.name, name) in images},
            }
            for each in suite.contenders
        },
        "host": {"processor": processor(), "processors": os.cpu_count(), "system": platform.platform()},
    }  # fmt: skip
    return Prepared(
        suite, vmlinuz.path if own_kernel else _unpacked(vmlinuz),
        suite.disks or (_root(emulators[0]),), str(about["append"]), named, images, unmade, about,
    )  # fmt: skip


def changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """What is not as it was between two `bench.json`: a line each, of what both have."""
    before, after = _identity(old), _identity(new)
    return [f"{what}: {before[what]} then, {after[what]} now" for what in before
            if what in after and before[what] != after[what]]  # fmt: skip


def merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """NEW, begun and called as OLD, with the machines, engines and contenders that only that has: boots of theirs may
    be kept."""
    both = {**new, "begun": old["begun"], "label": old.get("label", "")} if old else dict(new)
    for part in ("machines", "engines", "contenders"):
        both[part] = {**old.get(part, {}), **new[part]}
    for name, contender in both["contenders"].items():
        images = {**old.get("contenders", {}).get(name, {}).get("images", {}), **contender["images"]}
        both["contenders"][name] = {**contender, "images": images}
    return both


def revision(directory: Path) -> str:
    """What git calls the state of the source in DIRECTORY (`v1.2-3-g0123abc-dirty`); empty outside of a checkout."""
    command = ["git", "describe", "--always", "--tags", "--dirty"]
    try:
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return ""
    return done.stdout.strip()


def _identity(about: Mapping[str, Any]) -> dict[str, str]:
    """What a figure depends on, each with a text that differs where it does."""
    found = {
        "kernel": f"{about['kernel']['release']} ({about['kernel']['sha256'][:12]})",
        "append": f"'{about['append']}'",
        "disks": ", ".join(disk["sha256"][:12] for disk in about["disks"]) or "the usual root",
    }
    for name, machine in about["machines"].items():
        found[f"machine {name}"] = f"{' '.join(machine['args'])} {machine['disk']}"
    for name, version in about["engines"].items():
        found[f"engine {name}"] = version
        if name != STEADY:
            found[f"host of engine {name}"] = f"{about['host']['processors']} x {about['host']['processor']}"
    for name, contender in about["contenders"].items():
        found[f"contender {name}, append"] = f"'{contender['append']}'"
        for machine, image in contender["images"].items():
            found[f"{IMAGE_OF}{name} for {machine}"] = f"{image['bytes']} bytes ({image['sha256'][:12]})"
    return found


def _kernel(suite: Suite, emulator: Emulator, say: Callable[[str], None]) -> tuple[debian.Kernel | None, File]:
    """The kernel with its modules, where images are to be made of them, and its file."""
    word = suite.kernel or emulator.kernel
    if not word.startswith(META):
        defaults.check_kernel(Path(word), emulator)
        made = any(contender.make for contender in suite.contenders)
        return defaults.tree_of(Path(word)) if made else None, File.of(Path(word))
    say(f"fetching {word}")
    package = debian.fetch_kernel(word, emulator.debian)
    return package, File.of(package.vmlinuz)


def _words(suite: Suite) -> list[str]:
    """What the kernel gets beside the suite's own words, the same for every contender."""
    if not suite.disks:
        # So that the log, which this root prints at the end, tells each module's init, whoever loads it.
        return [f"root=UUID={defaults.ROOT_UUID}", *marks.INITCALLS.split()]
    root = [] if re.search(r"(^|\s)root=", suite.append) else [f"root={defaults.root_of(suite.disks[0])}"]
    # The log is what comes to the console.
    return [*root, "loglevel=7"]


def _made(contender: Contender, kernel: debian.Kernel, machine: Machine) -> Path:
    where = cache_dir() / "contenders"
    where.mkdir(parents=True, exist_ok=True)
    return contenders.make(contender.make, kernel, machine, where)


def _unpacked(vmlinuz: File) -> Path:
    """A kernel of Debian's as QEMU starts it sooner; it itself where it is of no such kind."""
    path = cache_dir() / "bench" / f"vmlinux-{vmlinuz.sha256[:16]}"
    if not path.exists():
        try:
            data = unpack_vmlinux(vmlinuz.path)
        except TinykmodError:
            return vmlinuz.path
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as out:
            out.write(data)
    return path


def _root(emulator: Emulator) -> Path:
    """The root disk for machines of EMULATOR's kind."""
    busybox = debian.fetch_busybox(emulator.debian)
    made_of = hashlib.sha256(busybox.read_bytes() + Path(disk.__file__).read_bytes()).hexdigest()[:16]
    path = cache_dir() / "bench" / f"root-{made_of}.img"
    return path if path.exists() else disk.make_root_disk(path, busybox=busybox, uuid=defaults.ROOT_UUID)


def _release(kernel: Path) -> str:
    """The release that a kernel's file tells of itself; empty where it does not."""
    data = kernel.read_bytes()
    if data[0x202:0x206] == b"HdrS":
        # The kernel's Documentation/arch/x86/boot.rst: kernel_version.
        begin = int.from_bytes(data[0x20E:0x210], "little") + 0x200
        return data[begin : begin + 256].split(b"\0")[0].split(b" ")[0].decode(errors="replace")
    found = _VERSION.search(data)
    return found[1].decode(errors="replace") if found else ""


def _version(emulator: Emulator) -> str:
    """What QEMU says that it is. Raises TinykmodError where it is not there."""
    done = subprocess.run([qemu.program(emulator), "--version"], capture_output=True, text=True, check=False)
    return (done.stdout.splitlines() or ["QEMU"])[0].removeprefix("QEMU emulator version ")


def processor() -> str:
    """As /proc/cpuinfo has it, where it does."""
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else platform.machine()
