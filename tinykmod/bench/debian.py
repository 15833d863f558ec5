"""Kernels, busybox and whole root trees out of Debian's archive, through apt, without installing anything.

What was fetched stays in the user's cache directory. Numbered kernel packages vanish from the archive when a new
one comes, so their name is resolved from the meta-package each time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tinykmod.cache import cache_dir
from tinykmod.errors import TinykmodError

#: Seconds for which package lists of our own count as fresh.
_FRESH = 24 * 3600
#: A package's file name in what --print-uris says: `'URI' NAME SIZE HASH`.
_DEB = re.compile(r"^'\S+' (\S+) ", re.MULTILINE)
#: Directories of /usr/share that nothing needs in order to run.
_UNREAD = ("doc", "info", "locale", "man")


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: `root` holds boot/ and lib/modules/RELEASE/."""

    release: str
    vmlinuz: Path
    root: Path


def fetch_kernel(meta: str = "linux-image-amd64", arch: str = "amd64") -> Kernel:
    """The kernel that meta-package META stands for now, unpacked.

    Without a network it is the one unpacked last, with a notice on stderr. Raises TinykmodError when there is none.
    """
    shelf = cache_dir() / "kernels" / f"{meta}_{arch}"
    with _lock():
        try:
            root = _unpack_kernel(meta, arch, shelf)
        except TinykmodError as error:
            # A name that begins with a dot is being unpacked, or was when its process died.
            kept = sorted(shelf.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
            if not kept:
                raise
            root = kept[-1]
            print(f"tinykmod: {error}; going on with {root.name} from the cache", file=sys.stderr)
    releases = sorted((root / "lib/modules").glob("*"))
    if len(releases) != 1:
        raise TinykmodError(root, f"has {len(releases)} directories under lib/modules, not one; remove it, try again")
    release = releases[0].name
    vmlinuz = root / "boot" / f"vmlinuz-{release}"
    if not vmlinuz.is_file():
        raise TinykmodError(vmlinuz, "the package has no kernel of this name")
    return Kernel(release, vmlinuz, root)


def fetch_busybox(arch: str = "amd64") -> Path:
    """The static busybox program of Debian's busybox-static."""
    with _lock():
        try:
            deb = _fetch("busybox-static", arch)
        except TinykmodError as error:
            kept = sorted((cache_dir() / "debs").glob(f"busybox-static_*_{arch}.deb"))
            if not kept:
                raise
            deb = kept[-1]
            print(f"tinykmod: {error}; going on with {deb.name} from the cache", file=sys.stderr)
        tree = _unpack(deb, cache_dir() / "trees" / deb.stem)
    for place in ("bin/busybox", "usr/bin/busybox"):
        if (tree / place).is_file():
            return tree / place
    raise TinykmodError(deb, "has no bin/busybox")


def fetch_root(packages: Sequence[str], arch: str = "amd64") -> Path:
    """A root of Debian's essential packages, PACKAGES and all that these need; no maintainer script has run in it.

    Without a network it is the one unpacked last, with a notice on stderr. Raises TinykmodError when there is none.
    """
    shelf = cache_dir() / "roots" / f"{'+'.join(packages)}_{arch}"
    with _lock():
        try:
            return _from_sources(arch, lambda options: _unpack_closure(packages, options, shelf))
        except TinykmodError as error:
            kept = sorted(shelf.glob("[!.]*"), key=lambda path: path.stat().st_mtime)
            if not kept:
                raise
            print(f"tinykmod: {error}; going on with {kept[-1]} from the cache", file=sys.stderr)
            return kept[-1]


@contextmanager
def _lock() -> Iterator[None]:
    """One process at a time fetches; the others then find what it brought."""
    base = cache_dir()
    base.mkdir(parents=True, exist_ok=True)
    with (base / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run(command: Sequence[str], which: str, cwd: Path | None = None) -> str:
    """Standard output of COMMAND; raises TinykmodError(WHICH, its last complaint)."""
    if shutil.which(command[0]) is None:
        raise TinykmodError(command[0], f"not installed, and {which} comes from a Debian package")
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, errors="replace", check=False,
        stdin=subprocess.DEVNULL, env={**os.environ, "LC_ALL": "C"},
    )  # fmt: skip
    if done.returncode:
        complaints = [line for line in done.stderr.splitlines() if line.startswith(("E:", "dpkg-deb: error"))]
        why = complaints[0].partition(":")[2].strip() if complaints else f"exit code {done.returncode}"
        raise TinykmodError(which, f"{command[0]}: {why}")
    return done.stdout


def _show(name: str, options: list[str]) -> dict[str, str]:
    """The one-line fields of package NAME's newest version in the lists."""
    text = _run(["apt-cache", *options, "show", "--no-all-versions", name], name)
    return dict(re.findall(r"^([\w-]+): (.*)$", text, re.MULTILINE))


def _download(name: str, options: list[str]) -> Path:
    """NAME's .deb in the cache, by its version; downloaded beside and renamed."""
    shown = _show(name, options)
    version, arch = shown["Version"], shown["Architecture"]
    deb = cache_dir() / "debs" / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
    if not deb.exists():
        deb.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=deb.parent) as scratch:
            _run(["apt-get", *options, "-qq", "download", f"{name}={version}"], name, Path(scratch))
            next(Path(scratch).glob("*.deb")).replace(deb)
    return deb


def _from_sources(arch: str, action: Callable[[list[str]], Path]) -> Path:
    """ACTION's result with the first package lists that it works with.

    The system's lists may be empty (a container), stale (the package is gone from the archive) or without ARCH, and
    only root can update them: then lists of our own are tried, first as they are if fresh, then brought up to date.
    """
    # apt as root would switch to its own user, who cannot write below a home directory.
    system = [f"-oAPT::Architecture={arch}", f"-oAPT::Architectures={arch}", "-oAPT::Sandbox::User=root"]
    state = cache_dir() / "apt" / arch
    stamp = state / "updated"
    own = [*system, f"-oDir::State={state}", f"-oDir::State::Lists={state}/lists", f"-oDir::Cache={state}/cache"]
    complaints: list[TinykmodError] = []

    def attempt(options: list[str]) -> Path | None:
        try:
            return action(options)
        except TinykmodError as error:
            complaints.append(error)
            return None

    result = attempt(system)
    if result is None and stamp.exists() and time.time() - stamp.stat().st_mtime < _FRESH:
        result = attempt(own)
    if result is None:
        for directory in ("lists/partial", "cache/archives/partial"):
            (state / directory).mkdir(parents=True, exist_ok=True)
        try:
            _run(["apt-get", *own, "-qq", "--error-on=any", "update"], "package lists")
            stamp.touch()
        except TinykmodError as error:
            # Some other source of the machine's may be at fault, so what came is tried all the same.
            complaints.append(error)
        result = attempt(own)
    if result is None:
        which = complaints[0].which
        raise TinykmodError(which, "; ".join(dict.fromkeys(str(e).removeprefix(f"{which}: ") for e in complaints)))
    return result


def _fetch(name: str, arch: str) -> Path:
    return _from_sources(arch, lambda options: _download(name, options))


def _unpack_kernel(meta: str, arch: str, shelf: Path) -> Path:
    """META's kernel of now, unpacked under SHELF."""

    def action(options: list[str]) -> Path:
        depends = _show(meta, options).get("Depends", "")
        found = re.match(r"(linux-image-[\w.+-]+) \(= ([^)]+)\)", depends)
        if found is None:
            raise TinykmodError(meta, f"is no kernel's meta-package, it depends on '{depends}'")
        root = shelf / f"{found[1]}_{found[2]}"
        if not root.exists():
            deb = _download(found[1], options)
            _unpack(deb, root)
            deb.unlink()  # the tree is what is kept; both would only take room
        return root

    return _from_sources(arch, action)


def _unpack(deb: Path, tree: Path) -> Path:
    """DEB's files under TREE, unpacked beside it and renamed."""
    if tree.exists():
        return tree
    tree.parent.mkdir(parents=True, exist_ok=True)
    beside = tree.with_name(f".{tree.name}")
    shutil.rmtree(beside, ignore_errors=True)
    _run(["dpkg-deb", "-x", str(deb), str(beside)], str(deb))
    if not (beside / "lib").exists() and (beside / "usr/lib/modules").is_dir():
        (beside / "lib").symlink_to("usr/lib")  # packages since trixie rely on the merged /usr
    beside.rename(tree)
    return tree


def _unpack_closure(packages: Sequence[str], options: list[str], shelf: Path) -> Path:
    """The tree of PACKAGES below SHELF, by the versions of now; others that are there are removed."""
    with tempfile.TemporaryDirectory(prefix="tinykmod-debs-") as scratch:
        archives = Path(scratch, "archives")
        (archives / "partial").mkdir(parents=True)
        status = Path(scratch, "status")
        status.touch()
        # Into a system that has no package yet: all that is needed is fetched, and apt needs no lock on this one.
        install = ["apt-get", *options, f"-oDir::State::status={status}", f"-oDir::Cache::Archives={archives}",
                   "-oDebug::NoLocking=1", "-qq", "-y", "--no-install-recommends"]  # fmt: skip
        # Essential packages are no one's dependency, as every system has them.
        names = ("?essential", *packages)
        wanted = _run([*install, "--print-uris", "install", *names], packages[0])
        tree = shelf / hashlib.sha256("".join(sorted(_DEB.findall(wanted))).encode()).hexdigest()[:16]
        if not tree.exists():
            _run([*install, "--download-only", "install", *names], packages[0])
            shutil.rmtree(shelf, ignore_errors=True)
            beside = tree.with_name(f".{tree.name}")
            for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
                (beside / "usr" / name).mkdir(parents=True)
                (beside / name).symlink_to(f"usr/{name}")
            for deb in sorted(archives.glob("*.deb")):
                _unpack_into(deb, beside)
            beside.rename(tree)
    return tree


def _unpack_into(deb: Path, tree: Path) -> None:
    """DEB's files in TREE, whose links to directories stay; without documentation."""
    tar = ["tar", "-x", "-C", str(tree), "--keep-directory-symlink"]
    pack = ["dpkg-deb", "--fsys-tarfile", str(deb)]
    with subprocess.Popen(pack, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as source:
        done = subprocess.run([*tar, *(f"--exclude=./usr/share/{name}" for name in _UNREAD)], stdin=source.stdout,
                              capture_output=True, text=True, check=False)  # fmt: skip
    if source.returncode or done.returncode:
        raise TinykmodError(deb, f"tar: {(done.stderr.strip().splitlines() or ['dpkg-deb failed'])[-1]}")
