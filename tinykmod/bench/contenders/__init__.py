"""Initramfs images that anyone can make of what Debian has, each for the same job: find the root, hand over to it.

docs/contenders.md says what is in which and why.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from tinykmod import loaders
from tinykmod.bench.contenders import dep, floor, generators, own, scripted
from tinykmod.bench.contenders.kept import kept, of_kernel, of_machine, of_recipe, of_tinykmod
from tinykmod.bench.contenders.survey import Survey, survey, take
from tinykmod.bench.contenders.system import tools
from tinykmod.bench.debian import Kernel, fetch_busybox
from tinykmod.bench.machines import X86_64, Machine
from tinykmod.cache import cache_dir
from tinykmod.errors import TinykmodError
from tinykmod.image.snapshot import Snapshot
from tinykmod.modules.driver_class import DriverClass

#: Contender -> what it is.
NAMES = {
    "tinykmod": "tinykmod's generic image: every driver of disks and displays",
    "tinykmod-storage": "tinykmod's generic image: every driver of disks",
    "tinykmod-host": "tinykmod's image for the one machine, with its drivers of disks and displays",
    "initramfs-tools": "Debian's initramfs-tools, MODULES=most",
    "initramfs-tools-dep": "Debian's initramfs-tools, MODULES=dep, made on the machine",
    "dracut": "dracut's generic image, with systemd and udev",
    "tiny-initramfs": "tiny-initramfs, with the machine's modules listed",
    "systemd-udevd": "systemd-udevd in a script: trigger, wait for the root",
    "kmod": "kmod's modprobe in a script with busybox",
    "busybox": "busybox's modprobe in a script",
    "floor": "a bare program that loads a list of modules, those that lead to the machine's root",
}


def make(name: str, kernel: Kernel, machine: Machine, where: Path | None = None) -> Path:
    """The image of contender NAME for KERNEL, and for MACHINE where it is one machine's.

    It is kept in WHERE, by default in the user's cache directory, by what it is made of; those that nobody has asked
    for in a week are removed. Raises TinykmodError where NAME is none of NAMES, or a tool or package is missing,
    and OSError.
    """
    if name not in NAMES:
        raise TinykmodError(name, f"no such contender; there are {', '.join(NAMES)}")
    return _Maker(kernel, machine, where or cache_dir() / "contenders").make(name)


class _Maker:
    """Makes images for one kernel and machine."""

    def __init__(self, kernel: Kernel, machine: Machine, where: Path) -> None:
        self.kernel = kernel
        self.machine = machine
        self.where = where

    def make(self, name: str) -> Path:
        if not name.startswith("tinykmod") and self.machine.emulator != X86_64:
            raise TinykmodError(name, f"is made for x86_64 only, and machine {self.machine.name} is another")
        if name == "tinykmod":
            return self._own(name, own.DISKS_AND_DISPLAYS)
        if name == "tinykmod-storage":
            return self._own(name, own.DISKS)
        if name == "tinykmod-host":
            return self._own(name, own.DISKS_AND_DISPLAYS, self._survey().snapshot)
        if name == "floor":
            return self._floor()
        if name in ("kmod", "busybox", "systemd-udevd"):
            return self._scripted(name)
        return self._generated(name, tools())

    def _own(self, name: str, classes: DriverClass, only: Snapshot | None = None) -> Path:
        made_of = [of_tinykmod(), self.machine.emulator.program, repr(only), *of_recipe("own.py")]
        made = partial(own.image, self.kernel, self.machine, classes, only)
        return self._kept(name, made_of, made, one=only is not None)

    def _scripted(self, name: str) -> Path:
        """A script's with the modules of our generic image."""
        kernel, busybox = self.kernel, fetch_busybox()
        modules = own.index_of(self._generic()).names
        made_of = [str(busybox), *modules]
        made_of += of_recipe("scripted.py", "system.py", "common.sh", "modprobe.sh", "udev.sh")
        if name == "busybox":
            return self._kept(name, made_of, partial(scripted.with_busybox, kernel, busybox, modules))
        tree = tools()
        recipe = scripted.with_kmod if name == "kmod" else scripted.with_udev
        return self._kept(name, [tree.name, *made_of], partial(recipe, tree, kernel, busybox, modules))

    def _generated(self, name: str, tree: Path) -> Path:
        """A generator's out of TREE."""
        kernel = self.kernel
        made_of = [tree.name, *of_recipe("generators.py", "system.py")]
        if name == "initramfs-tools":
            return self._kept(name, made_of, partial(generators.initramfs_tools, tree, kernel))
        if name == "dracut":
            return self._kept(name, made_of, partial(generators.dracut, tree, kernel))
        if name == "tiny-initramfs":
            drivers = [*self._survey().drivers, "ext4"]
            made = partial(generators.tiny_initramfs, tree, kernel, drivers)
            return self._kept(name, [*made_of, *drivers], made, one=True)
        made_of = [tree.name, *of_machine(self.machine), *of_recipe("dep.py", "system.py")]
        made = partial(dep.image, tree, kernel, self.machine, self._generic())
        return self._kept(name, made_of, made, one=True)

    def _floor(self) -> Path:
        found = self._survey()
        modules = floor.chain(found, own.index_of(self._generic()))
        program = kept(self.where, "floor-program", floor.sources(), floor.program)
        made_of = [program.name, found.device, *modules, *of_recipe("floor.py")]
        made = partial(floor.image, program, self.kernel, found.device, modules)
        return self._kept("floor", made_of, made, one=True)

    def _survey(self) -> Survey:
        """What the machine has; looked at anew where the loader is another, which tells it."""
        loader = loaders.find(self.machine.emulator.arch).read_bytes().hex()
        made_of = [*of_machine(self.machine), loader, *of_recipe("survey.py")]

        def recipe(scratch: Path) -> bytes:
            busybox = fetch_busybox(self.machine.emulator.debian)
            return take(self.kernel, self.machine, self._generic(), busybox, scratch)

        return survey(self._kept("survey", made_of, recipe, one=True))

    def _generic(self) -> Path:
        return self.make("tinykmod")

    def _kept(self, name: str, made_of: list[str], recipe: Callable[[Path], bytes], one: bool = False) -> Path:
        """RECIPE's image; ONE machine's is kept beside those of others."""
        named = f"{name}_{self.kernel.release}{f'_{self.machine.name}' if one else ''}"
        return kept(self.where, named, [*of_kernel(self.kernel), *made_of], recipe)
