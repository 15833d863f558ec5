"""What is known of the kernel that modules are for: its image, options, command line, state; all below one root."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from tinykmod.errors import ConfigError, TinykmodError
from tinykmod.image import kernel_config
from tinykmod.inspect import btf, trusted
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.symbols import (
    Export,
    kernel_exports,
    module_exports,
    vmlinux_exports,
)
from tinykmod.kmod.commandline import Word, parse
from tinykmod.kmod.lookup import ALIASES, ModuleFiles
from tinykmod.kmod.names import normalise_pattern
from tinykmod.modules.compression import decompress
from tinykmod.modules.directory import directory_of, releases
from tinykmod.modules.files import ModuleFile, find_modules
from tinykmod.modules.tree import Module, ModuleTree, read_directory, read_elf, read_modules, tree_of
from tinykmod.modules.vmlinux import unpack_vmlinux

_YES = frozenset(("1", "Y", "y"))


class Kernel:
    """The kernel of one release below a root. Everything is read when it is asked for, and kept.

    Each attribute raises OSError or TinykmodError where a file is damaged; one that is not there tells nothing.
    """

    def __init__(self, root: Path, release: str) -> None:
        self.root = root
        self.release = release

    @cached_property
    def directory(self) -> Path:
        """Where its modules are, or would be."""
        return directory_of(self.root, self.release)

    @cached_property
    def _files(self) -> dict[str, ModuleFile]:
        """Of every module, whole or not."""
        return {file.name: file for file in find_modules(self.directory)} if self.directory.is_dir() else {}

    @cached_property
    def _modules(self) -> tuple[ModuleTree, dict[str, str]]:
        directory, files = self.directory, [*self._files.values()]
        try:
            return read_directory(directory, self.release, files), {}
        except TinykmodError:
            pass
        damaged: dict[str, str] = {}
        good: list[ModuleFile] = []
        for file in files:
            try:
                read_modules(directory, [file], None)
                good.append(file)
            except TinykmodError as error:
                damaged[file.name] = error.why
        return read_directory(directory, self.release, good), damaged

    @property
    def tree(self) -> ModuleTree:
        """Its modules, without those that cannot be read."""
        return self._modules[0]

    @property
    def damaged(self) -> Mapping[str, str]:
        """The modules that cannot be read, and why."""
        return self._modules[1]

    @cached_property
    def _depmods(self) -> ModuleFiles | None:
        """What depmod has written of the tree: with it few modules need be read."""
        files = ModuleFiles(self.directory)
        return files if files.exists() else None

    @cached_property
    def _read(self) -> dict[str, Module | None]:
        return {}

    def module(self, name: str) -> Module | None:
        """One of its modules, by its normalised name; None where there is none, or it is in `damaged`."""
        if self._depmods is None:
            return self.tree.by_name.get(name)
        if name not in self._read:
            needs = self._depmods.needs(name)
            path = needs.path.removeprefix(f"{self.directory}/") if needs is not None else ""
            try:
                [self._read[name]] = read_modules(self.directory, [ModuleFile(name, path)], None) if path else [None]
            except (TinykmodError, OSError):
                self._read[name] = None
        return self._read[name]

    @cached_property
    def own_exports(self) -> Mapping[str, Export]:
        """What it exports itself; empty where nothing tells."""
        found = vmlinux_exports(self.image, self.release) if self.image else {}
        return found or kernel_exports(self.root, self.release, self.directory).exports

    @cached_property
    def _exporters(self) -> dict[str, list[Module]]:
        found: dict[str, list[Module]] = {}
        for module in self.tree.modules:
            for symbol in module.elf.exports:
                found.setdefault(symbol, []).append(module)
        return found

    def exporters(self, symbol: str) -> list[Module]:
        """The modules that export a symbol, in depmod's order, of which depmod takes the last."""
        if self._depmods is None:
            return self._exporters.get(symbol, [])
        names = self._depmods.symbols(f"symbol:{symbol}")
        return [module for name in names if (module := self.module(name)) is not None]

    def all_exporters(self, symbol: str) -> list[Module]:
        """As exporters(), also those that depmod has passed over. All modules are read for it."""
        return self._exporters.get(symbol, [])

    @cached_property
    def aliases(self) -> list[tuple[str, str]]:
        """Each alias pattern of its modules, normalised, and whose it is."""
        if self._depmods is not None:
            return [(entry.key, entry.value) for entry in self._depmods.entries(ALIASES)]
        return _patterns((alias, module.name) for module in self.tree.modules for alias in module.aliases)

    @cached_property
    def builtin_aliases(self) -> list[tuple[str, str]]:
        """As `aliases`, of what it has built in."""
        return _patterns(
            (value, name)
            for name, fields in tree_of(self.directory, self.release, [], b"").builtin_modinfo.items()
            for key, value in fields
            if key == "alias"
        )

    @cached_property
    def builtin(self) -> frozenset[str]:
        """The names of what it has built in."""
        return frozenset(tree_of(self.directory, self.release, [], b"").builtin)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all of its modules, those in `damaged` included."""
        return frozenset(self._files)

    def path(self, name: str) -> Path | None:
        """Where the file of a module is, whole or not; None where there is none."""
        found = self._files.get(name)
        return self.directory / found.path if found is not None else None

    def export(self, symbol: str) -> Export | None:
        """Who exports a symbol: itself, as it looks into itself first, else the module that depmod takes."""
        if symbol in self.own_exports:
            return self.own_exports[symbol]
        modules = self.exporters(symbol)
        return self._exports(modules[-1])[symbol] if modules else None

    def _exports(self, module: Module) -> Mapping[str, Export]:
        if module.name not in self._told:
            data = decompress((self.directory / module.path).read_bytes(), module.path)
            self._told[module.name] = module_exports(module, data, module.path)
        return self._told[module.name]

    @cached_property
    def _told(self) -> dict[str, Mapping[str, Export]]:
        return {}

    @cached_property
    def config(self) -> dict[str, str]:
        """The options that it was built with; empty where they are not known."""
        return kernel_config.read(self.root, self.release)

    @cached_property
    def command_line(self) -> list[Word]:
        """Of the boot that is told of, if any."""
        return parse(self._text("proc/cmdline"))

    @cached_property
    def image(self) -> bytes:
        """Its ELF file; empty where there is none, or it is packed in a way that is not known here."""
        for place in (self.directory / "vmlinuz", *(self.root / "boot" / f"{name}-{self.release}"
                                                    for name in ("vmlinux", "vmlinuz"))):  # fmt: skip
            if not place.is_file():
                continue
            with place.open("rb") as file:
                elf = file.read(4) == b"\x7fELF"
            try:
                return place.read_bytes() if elf else unpack_vmlinux(place)
            except TinykmodError:
                continue
        return b""

    @cached_property
    def vermagic(self) -> str:
        """The version magic that its modules must have, from its image, else from one of them; or empty."""
        release = re.escape(self.release.encode())
        found = re.search(rb"(?<=\0)" + release + rb" (SMP|mod_unload|preempt)[ -~]*(?=\0)", self.image)
        if found:
            return found[0].decode().strip()
        told = read_elf(*self._one).modinfo if self._one else ()
        return next((value.strip() for key, value in told if key == "vermagic"), "")

    @cached_property
    def _one(self) -> tuple[bytes, str] | None:
        """The first of its modules that is whole, and its path: what they all have in common is in each."""
        for file in self._files.values():
            path = self.directory / file.path
            try:
                data = read_module(path)
                if any(key == "vermagic" for key, _ in read_elf(data, str(path)).modinfo):
                    return data, str(path)
            except (TinykmodError, OSError):
                continue
        return None

    @cached_property
    def machine(self) -> tuple[int, bool, str] | None:
        """ELF machine, whether it has 64 bits, byte order (`<`, `>`): of its image, else of its first module."""
        data = self.image or (self._one[0] if self._one else b"")
        if not data:
            return None
        elf = ElfObject(data, str(self.directory))
        return elf.machine, elf.wide, elf.order

    @cached_property
    def module_struct(self) -> int:
        """Bytes of struct module, as its own modules have it; 0 where there is none."""
        section = ElfObject(self._one[0], self._one[1]).by_name.get(THIS_MODULE) if self._one else None
        return section.size if section is not None else 0

    @cached_property
    def keys(self) -> list[trusted.Key]:
        """Those that it trusts by itself; a machine's firmware may add others."""
        return trusted.keys_of(self.image)

    @cached_property
    def btf(self) -> btf.Sizes | None:
        """How many types its own BTF has."""
        if not self.image:
            return None
        elf = ElfObject(self.image, self.release)
        data = elf.contents(elf.by_name.get(".BTF"))
        return btf.read(data, elf.order)[0] if data else None

    @cached_property
    def enforces(self) -> str:
        """What makes it refuse a module without a signature that it trusts; empty where nothing does."""
        if self.config.get("CONFIG_MODULE_SIG_FORCE") == "y":
            return "CONFIG_MODULE_SIG_FORCE"
        if self._text("sys/module/module/parameters/sig_enforce").strip() in _YES:
            return "sig_enforce"
        for word in self.command_line:
            if word.key == "module.sig_enforce" and (word.value is None or word.value in _YES):
                return "module.sig_enforce on its command line"
        lockdown = re.search(r"\[([^]]*)\]", self._text("sys/kernel/security/lockdown"))
        if lockdown and lockdown[1] != "none":
            return f"lockdown ({lockdown[1]})"
        for word in self.command_line:
            if word.key == "lockdown" and word.value:
                return f"lockdown={word.value} on its command line"
        return ""

    @cached_property
    def is_running(self) -> bool:
        """Whether the root has the /proc of this release."""
        return self._text("proc/sys/kernel/osrelease").strip() == self.release

    @cached_property
    def kept_within(self) -> frozenset[str]:
        """The names of what it holds, exported or not, by kallsyms; empty where it does not run, or does not tell."""
        if not self.is_running:
            return frozenset()
        lines = (line.split() for line in self._text("proc/kallsyms").splitlines())
        return frozenset(words[2] for words in lines if len(words) == 3)

    def others(self) -> list[str]:
        """The releases of the other trees below the root."""
        return [release for release in releases(self.root) if release != self.release]

    def loads_compressed(self, kind: str) -> bool | None:
        """Whether it decompresses modules of this kind by itself; None where its options are not known."""
        return kernel_config.loads_compressed(self.config, kind) if self.config else None

    def state_of(self, name: str) -> str:
        """live, coming or going: of a module in the running kernel; else empty."""
        return self._text(f"sys/module/{name}/initstate").strip()

    def _text(self, place: str) -> str:
        try:
            return (self.root / place).read_text(errors="surrogateescape")
        except OSError:
            return ""


#: The section that makes an ELF object a module: struct module as it will be in the kernel.
THIS_MODULE = ".gnu.linkonce.this_module"


def _patterns(aliases: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    found = []
    for alias, name in aliases:
        with suppress(ConfigError):
            found.append((normalise_pattern(alias), name))
    return found


def read_module(path: Path) -> bytes:
    """A module's uncompressed bytes. Raises OSError, ModuleFormatError."""
    return decompress(path.read_bytes(), str(path))


def release_of(root: Path) -> str:
    """The release that is meant where none is said: that of the root's /proc if its tree is there, else the only one.

    Raises TinykmodError where there are none or several.
    """
    try:
        running = (root / "proc/sys/kernel/osrelease").read_text().strip()
    except OSError:
        running = ""
    if running and directory_of(root, running).is_dir():
        return running
    found = releases(root)
    if len(found) == 1:
        return found[0]
    raise TinykmodError(root, f"has several kernels; say which with -k: {', '.join(found)}" if found
                        else "has no module tree below lib/modules")  # fmt: skip
