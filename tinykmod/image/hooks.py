"""The hooks for other initramfs generators: where each file of initramfs/ belongs, putting them there, and away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import tinykmod
from tinykmod.errors import TinykmodError
from tinykmod.files import replacing

#: In each file that is put somewhere: what has it is ours.
MARK = b"tinykmod install-hooks"

_SOURCE = Path(tinykmod.__file__).resolve().parent / "initramfs"


class Hook(NamedTuple):
    """One file: its path in initramfs/, its place below the root, its mode."""

    source: str
    target: str
    mode: int = 0o644


class Generator(NamedTuple):
    """What a generator gets. `project`: its files belong into a tree of the user's, which must be named."""

    hooks: tuple[Hook, ...]
    project: bool = False


GENERATORS = {
    "initramfs-tools": Generator((
        Hook("coldplug", "usr/share/initramfs-tools/tinykmod-coldplug", 0o755),
        Hook("initramfs-tools/hook", "usr/share/initramfs-tools/hooks/tinykmod", 0o755),
        Hook("initramfs-tools/init-top", "usr/share/initramfs-tools/scripts/init-top/tinykmod", 0o755),
    )),
    "dracut": Generator((
        Hook("coldplug", "usr/lib/dracut/modules.d/99tinykmod/coldplug", 0o755),
        Hook("dracut/tinykmod.sh", "usr/lib/dracut/modules.d/99tinykmod/tinykmod.sh", 0o755),
        Hook("dracut/module-setup.sh", "usr/lib/dracut/modules.d/99tinykmod/module-setup.sh", 0o755),
    )),
    "mkinitcpio": Generator((
        Hook("coldplug", "usr/lib/initcpio/tinykmod-coldplug", 0o755),
        Hook("mkinitcpio/tinykmod-coldplug.service", "usr/lib/systemd/system/tinykmod-coldplug.service"),
        Hook("mkinitcpio/hook", "usr/lib/initcpio/hooks/tinykmod"),
        Hook("mkinitcpio/install", "usr/lib/initcpio/install/tinykmod"),
    )),
    "kernel-install": Generator((
        Hook("kernel-install/50-tinykmod.install", "usr/lib/kernel/install.d/50-tinykmod.install", 0o755),
    )),
    "mkinitfs": Generator((
        Hook("coldplug", "usr/lib/tinykmod/coldplug", 0o755),
        Hook("mkinitfs/init", "usr/lib/tinykmod/init", 0o755),
        Hook("mkinitfs/tinykmod.modules", "etc/mkinitfs/features.d/tinykmod.modules"),
        Hook("mkinitfs/tinykmod.files", "etc/mkinitfs/features.d/tinykmod.files"),
    )),
    "mkosi": Generator((
        Hook("coldplug", "mkosi.tinykmod/coldplug", 0o755),
        Hook("mkinitcpio/tinykmod-coldplug.service", "mkosi.tinykmod/tinykmod-coldplug.service"),
        Hook("mkosi/mkosi.finalize", "mkosi.finalize", 0o755),
        Hook("mkosi/mkosi.conf", "mkosi.conf"),
    ), project=True),
    "buildroot": Generator((
        Hook("buildroot/S09tinykmod", "package/tinykmod/S09tinykmod", 0o755),
        Hook("buildroot/tinykmod.mk", "package/tinykmod/tinykmod.mk"),
        Hook("buildroot/Config.in", "package/tinykmod/Config.in"),
    ), project=True),
    "yocto": Generator((
        Hook("coldplug", "recipes-core/initrdscripts/files/coldplug", 0o755),
        Hook("yocto/tinykmod", "recipes-core/initrdscripts/files/tinykmod", 0o755),
        Hook("yocto/initramfs-module-tinykmod.bb", "recipes-core/initrdscripts/initramfs-module-tinykmod.bb"),
        Hook("yocto/tinykmod-index.bbclass", "classes/tinykmod-index.bbclass"),
    ), project=True),
}  # fmt: skip


def install(generator: str, root: Path) -> list[Path]:
    """Put the generator's files below ROOT, all or, where something speaks against one of them, none; their paths.

    Raises TinykmodError where a file that is not ours has the place of one, and OSError.
    """
    hooks = _places(generator, root)
    texts = {target: (_SOURCE / hook.source).read_bytes() for hook, target in hooks}
    for hook, target in hooks:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as out:
            os.fchmod(out.fileno(), hook.mode)
            out.write(texts[target])
    return [target for _, target in hooks]


def remove(generator: str, root: Path) -> list[Path]:
    """Take the generator's files below ROOT away, and the directories that are empty then; the paths of the files.

    Raises TinykmodError, and takes nothing away, where one of them is not ours; and OSError.
    """
    there = [target for _, target in _places(generator, root) if target.exists()]
    for target in there:
        target.unlink()
    # The longest paths first: a directory is empty when those below it are gone.
    parents = {parent for target in there for parent in target.parents if root in parent.parents}
    for directory in sorted(parents, key=lambda path: len(path.parts), reverse=True):
        if not any(directory.iterdir()):
            directory.rmdir()
    return there


def _places(generator: str, root: Path) -> list[tuple[Hook, Path]]:
    """Each hook and its place, which is free or has a file of ours."""
    if not root.is_dir():
        raise TinykmodError(root, "is no directory")
    return [(hook, _place(root, hook)) for hook in GENERATORS[generator].hooks]


def _place(root: Path, hook: Hook) -> Path:
    target = root / hook.target
    # A link in ROOT may be meant for a system that has ROOT as its root, and would lead into this one here.
    if not target.parent.resolve().is_relative_to(root.resolve()):
        raise TinykmodError(target, f"a link on the way leads out of {root}")
    if target.is_symlink() or (target.exists() and not (target.is_file() and MARK in target.read_bytes())):
        raise TinykmodError(target, "is there, and is not one of tinykmod's hooks")
    return target
