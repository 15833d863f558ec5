"""What is known of the kernel that modules are for: its image, options, command line, state; all below one root."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from tinykmod.errors import ConfigError, TinykmodError
from tinykmod.image import kernel_config
from tinykmod.inspect import trusted
from tinykmod.inspect.elf_object import Architecture, ElfObject
from tinykmod.inspect.kernel_image import KernelImage, places, unpacked
from tinykmod.inspect.symbols import Export, KernelExports, kernel_exports, module_exports
from tinykmod.kmod.commandline import Word, parse
from tinykmod.kmod.lookup import ALIASES, ModuleFiles
from tinykmod.kmod.modinfo import Field, read_image
from tinykmod.kmod.names import normalise_pattern
from tinykmod.modules.compression import decompress
from tinykmod.modules.directory import directory_of, releases
from tinykmod.modules.files import ModuleFile, find_modules
from tinykmod.modules.tree import Module, ModuleTree, read_elf, read_modules, tree_of

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
    def tree(self) -> ModuleTree:
        """Its modules, without those that cannot be read."""
        return tree_of(self.directory, self.release, self._whole(self._files.values()), b"")

    def _whole(self, files: Iterable[ModuleFile]) -> list[Module]:
        """Those of FILES that can be read."""
        return read_modules(self.directory, [*files], None, {})

    @cached_property
    def _depmods(self) -> ModuleFiles | None:
        """What depmod has written of the tree: with it few modules need be read."""
        files = ModuleFiles(self.directory)
        return files if files.exists() else None

    @cached_property
    def _read(self) -> dict[str, Module | None]:
        return {}

    def module(self, name: str) -> Module | None:
        """One of its modules, by its normalised name; None where there is none that can be read."""
        if self._depmods is None:
            return self.tree.by_name.get(name)
        if name not in self._read:
            needs = self._depmods.needs(name)
            path = needs.path.removeprefix(f"{self.directory}/") if needs is not None else ""
            self._read[name] = next(iter(self._whole([ModuleFile(name, path)] if path else [])), None)
        return self._read[name]

    @cached_property
    def exports(self) -> KernelExports:
        """What it exports itself."""
        return kernel_exports(self.root, self.release, self.directory, self._unpacked)

    def _unpacked(self, path: Path) -> bytes:
        return self.image.data if self.image is not None and path == self.image.path else unpacked(path)

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
    def unlisted(self) -> list[Module]:
        """The modules that depmod's files, if there are any, do not know."""
        depmods = self._depmods
        if depmods is None:
            return []
        return self._whole(file for file in self._files.values() if depmods.needs(file.name) is None)

    def importers(self, symbols: Iterable[str]) -> list[str]:
        """The modules that need one of these symbols, in depmod's order. All modules are read for it."""
        wanted = set(symbols)
        return [module.name for module in self.tree.modules if not wanted.isdisjoint(module.elf.imports)]

    @cached_property
    def aliases(self) -> list[tuple[str, str]]:
        """Each alias pattern of its modules, normalised, and whose it is."""
        if self._depmods is not None:
            return [(entry.key, entry.value) for entry in self._depmods.entries(ALIASES)]
        return _patterns((alias, module.name) for module in self.tree.modules for alias in module.aliases)

    @cached_property
    def _built_in(self) -> ModuleTree:
        return tree_of(self.directory, self.release, [], b"")

    @property
    def builtin_modinfo(self) -> Mapping[str, list[Field]]:
        """What the modules that it has built in say of themselves, by their names."""
        return self._built_in.builtin_modinfo

    @cached_property
    def builtin_aliases(self) -> list[tuple[str, str]]:
        """As `aliases`, of what it has built in."""
        fields = ((key, value, name) for name, told in self.builtin_modinfo.items() for key, value in told)
        return _patterns((value, name) for key, value, name in fields if key == "alias")

    @cached_property
    def builtin(self) -> frozenset[str]:
        """The names of what it has built in."""
        return frozenset(self._built_in.builtin)

    @cached_property
    def names(self) -> frozenset[str]:
        """Of all of its modules, those that cannot be read included."""
        return frozenset(self._files)

    def path(self, name: str) -> Path | None:
        """Where the file of a module is, whole or not; None where there is none."""
        found = self._files.get(name)
        return self.directory / found.path if found is not None else None

    def export(self, symbol: str) -> Export | None:
        """Who exports a symbol: itself, as it looks into itself first, else the module that depmod takes."""
        if symbol in self.exports.exports:
            return self.exports.exports[symbol]
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
    def image(self) -> KernelImage | None:
        """Its image; None where there is none."""
        there = (place for place in places(self.root, self.release, self.directory) if place.is_file())
        path = next(there, None)
        return KernelImage(path, unpacked(path)) if path is not None else None

    @cached_property
    def vermagic(self) -> str:
        """The version magic that its modules must have, from its image, else from one of them; or empty."""
        if self.image is not None and (magic := self.image.vermagic(self.release)):
            return magic
        told = read_elf(*self._one).modinfo if self._one else ()
        return next((value.strip() for key, value in told if key == "vermagic"), "")

    @cached_property
    def _one(self) -> tuple[bytes, str] | None:
        """One of its modules that is whole, and its path: what they all have in common is in each. Those that were
        built with it are below kernel/."""
        for file in sorted(self._files.values(), key=lambda file: not file.path.startswith("kernel/")):
            path = self.directory / file.path
            try:
                data = read_image(path)
                magics = [value for key, value in read_elf(data, str(path)).modinfo if key == "vermagic"]
                if any(magic.split()[:1] == [self.release] for magic in magics):
                    return data, str(path)
            except (TinykmodError, OSError):
                continue
        return None

    @cached_property
    def machine(self) -> Architecture | None:
        """That of its image, else of its first module."""
        elf = self.image.elf if self.image is not None else None
        if elf is None and self._one is not None:
            elf = ElfObject(*self._one)
        return elf.architecture if elf is not None else None

    @cached_property
    def module_struct(self) -> int:
        """Bytes of struct module, as its own modules have it; 0 where there is none."""
        section = ElfObject(*self._one).by_name.get(THIS_MODULE) if self._one else None
        return section.size if section is not None else 0

    @cached_property
    def keys(self) -> list[trusted.Key]:
        """Those that it trusts by itself; none where its image is not there."""
        return self.image.keys if self.image is not None else []

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
