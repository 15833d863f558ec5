"""Finds out everything about a module, for `tinykmod show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import NoReturn

from tinykmod.errors import TinykmodError
from tinykmod.image import firmware
from tinykmod.inspect.about import About, Around, Load, Said, WrongSymbols
from tinykmod.inspect.alias_fields import nearest_aliases
from tinykmod.inspect.dependencies import needs
from tinykmod.inspect.devices import Machine, State, by_bus, served
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.judge import Fault, User, refusals
from tinykmod.inspect.known import Known
from tinykmod.inspect.memory import memory
from tinykmod.inspect.params import parameters
from tinykmod.inspect.symbols import Export, module_exports
from tinykmod.kmod.commandline import blacklisted
from tinykmod.kmod.commandline import parameters as on_command_line
from tinykmod.kmod.config import Alias, Blacklist, Command, Options, Softdep, Weakdep, Where
from tinykmod.kmod.glob import glob
from tinykmod.kmod.lookup import ALIASES, Needs
from tinykmod.kmod.modinfo import read_image
from tinykmod.kmod.modprobe import Flags, Found, Modprobe
from tinykmod.kmod.names import encoded, module_name
from tinykmod.kmod.signature import read_signature
from tinykmod.kmod.system import MODULE_INIT_COMPRESSED_FILE
from tinykmod.modules.classes import evidence
from tinykmod.modules.compression import compression, decompress
from tinykmod.modules.tree import Module, read_elf
from tinykmod.nearest import hint


class Inspector:
    """Tells of the modules of a tree (None: there is none to look in), on a machine (None: likewise).

    Every method raises TinykmodError and OSError.
    """

    def __init__(self, known: Known | None, machine: Machine | None) -> None:
        self.known = known
        self.machine = machine
        self._command_line = machine.cmdline if machine is not None else ""
        self._modprobe = _modprobe(known, self._command_line) if known is not None else None

    def find(self, request: str) -> list[Found]:
        """The modules that a name or alias stands for, in modprobe's order."""
        assert self._modprobe is not None and self.known is not None
        files = self.known.files
        named = {each.name: each for each in reversed(self._modprobe.lookup(request))}
        found = [
            each for each in reversed(named.values())
            if files.needs(each.name) is not None or files.is_builtin(each.name)
        ]  # fmt: skip
        if named and not found:
            raise TinykmodError(request, f"modprobe.d makes it {' '.join(named)}, and there is no such module")
        if not found:
            self._nowhere(request)
        return found

    def about(self, found: Found) -> About:
        """All of a module of the tree."""
        assert self.known is not None
        needs = self.known.files.needs(found.name)
        if needs is None:
            return self._builtin(found)
        [module] = self.known.modules([found.name])
        return self._of(module, Path(needs.path), found)

    def about_file(self, path: Path) -> About:
        """All of a module by its file, which counts instead of the tree's own."""
        raw = path.read_bytes()
        elf = read_elf(decompress(raw, str(path)), str(path))
        file = path.absolute()
        # The kernel goes by what was linked in, whatever the file is called.
        told = next((value for key, value in elf.modinfo if key == "name"), path.name)
        module = Module(module_name(told), str(file), len(raw), elf, compression(raw))
        if self.known is not None:
            needs = self.known.files.needs(module.name)
            if needs is not None and Path(needs.path).exists() and path.samefile(needs.path):
                return self.about(Found(module.name))
            files = self.known.files
            exporters = list(dict.fromkeys(chain(*(files.symbols(f"symbol:{symbol}") for symbol in elf.imports))))
            needed = [(*each.modules, name) for name in exporters if (each := files.needs(name)) is not None]
            order = tuple(name for name in dict.fromkeys(chain(*needed)) if name != module.name)
            files.add(module.name, Needs(str(file), order))
            self.known.add(module)
        return self._of(module, file, Found(module.name))

    def _of(self, module: Module, file: Path, found: Found) -> About:
        raw = file.read_bytes()
        image = decompress(raw, str(file))
        about = About(
            module.name,
            found.alias,
            self.known.release if self.known is not None else "",
            self.known.told(self.known.directory) if self.known is not None else "",
            module.path,
            False,
            list(module.elf.modinfo),
            evidence(module),
            module.compression or compression(raw),
            len(raw),
            len(image),
            memory(ElfObject(image, str(file)).sections),
        )
        try:
            about.signature = read_signature(image, str(file))
        except TinykmodError as error:
            about.signature_fault = error.why
        about.exports = list(module_exports(module, image, str(file)).values())
        about.needs = list(needs(self.known, module))
        from_modules = {symbol for need in about.needs for symbol in need.symbols}
        rest = [symbol for symbol in module.elf.imports if symbol not in from_modules]
        # What was built with the kernel was linked with it: then its image, which takes a second, is not looked into.
        if about.value("intree") != "Y":
            about.wrong_symbols = self._wrong(module, about)
        unknown = about.wrong_symbols.unknown if about.wrong_symbols is not None else ()
        about.kernel_symbols = [symbol for symbol in rest if symbol not in unknown]
        self._surroundings(about, found)
        return about

    def _wrong(self, module: Module, about: About) -> WrongSymbols | None:
        """None where it is not known what the kernel itself exports."""
        if self.known is None or self.known.kernel.exports.source is None:
            return None
        exports: dict[str, Export] = {}
        for other in self.known.modules([need.name for need in about.needs]):
            path = self.known.directory / other.path
            exports |= module_exports(other, read_image(path), str(path))
        exports |= self.known.kernel.exports.exports
        wrong: dict[Fault, list[str]] = {fault: [] for fault in Fault}
        for refusal in refusals(module.elf, User.of(module.name, module.elf.modinfo), exports.get):
            wrong[refusal.fault].append(refusal.symbol)
        return WrongSymbols(*(tuple(wrong[fault]) for fault in Fault))

    def _builtin(self, found: Found) -> About:
        assert self.known is not None
        fields = self.known.kernel.builtin_modinfo.get(found.name, [])
        about = About(
            found.name, found.alias, self.known.release, self.known.told(self.known.directory), "", True, list(fields)
        )
        self._surroundings(about, found)
        return about

    def _surroundings(self, about: About, found: Found) -> None:
        """What others say of the module, and what is there of what it asks for."""
        live = None
        if self.machine is not None:
            about.running = self.machine.release
            # Another kernel's devices are the same, but not its modules.
            if self.machine.release == about.kernel:
                live = self.machine.live(about.name)
                about.state = self.machine.modules.get(about.name)
                if about.state is None and live is not None:
                    about.state = State("builtin")
            about.devices = served(about.name, about.values("alias"), self.machine.devices)
        about.parameters = parameters(about.fields, live)
        about.aliases = by_bus(about.values("alias"))
        if self.known is None:
            about.firmware = dict.fromkeys(about.values("firmware"))
            return
        about.needed_by = self.known.files.users(about.name)
        about.firmware = dict(_firmware(self.known, about.values("firmware")))
        about.deps, about.deps_of = list(self._deps(about)), list(self._deps_of(about))
        about.config = list(self._said(about))
        about.load = list(self._load(found, about))

    def _deps(self, about: About) -> Iterator[Around]:
        """Its own softdeps and weakdeps, and those that modprobe.d adds."""
        for item, words in self._every_dep():
            if glob(encoded(item.module), encoded(about.name)):
                yield from (Around(word, kind, self._where(item.where)) for kind, word in words)

    def _deps_of(self, about: About) -> Iterator[Around]:
        """The softdeps and weakdeps of others that name it, or one of its aliases."""
        for item, words in self._every_dep():
            for kind, word in words:
                if word.replace("-", "_") == about.name:
                    yield Around(item.module, kind, self._where(item.where))

    def _every_dep(self) -> Iterator[tuple[Softdep | Weakdep, list[tuple[str, str]]]]:
        assert self.known is not None
        for soft in self.known.config.softdeps:
            yield soft, [*(("pre", word) for word in soft.pre), *(("post", word) for word in soft.post)]
        for weak in self.known.config.weakdeps:
            yield weak, [("weak", word) for word in weak.weak]

    def _where(self, where: Where) -> str:
        assert self.known is not None
        return "" if where.file in self.known.own else self.known.told(str(where))

    def _said(self, about: About) -> Iterator[Said]:
        """The statements of modprobe.d and of the kernel command line that are about the module."""
        assert self.known is not None
        config, name = self.known.config, encoded(about.name)
        names = {about.name, about.alias}
        statements: list[Alias | Options | Blacklist | Command | Softdep | Weakdep] = [
            *(item for item in config.aliases if item.module == about.name),
            *(item for item in config.options if item.module in names),
            *(item for item in config.blacklist if item.module == about.name),
            *(item for item in (*config.installs, *config.removes) if glob(encoded(item.module), name)),
            *(item for item in config.softdeps if glob(encoded(item.module), name) and self._where(item.where)),
            *(item for item in config.weakdeps if glob(encoded(item.module), name) and self._where(item.where)),
        ]
        for item in sorted(statements, key=lambda item: (item.where.file.name, item.where.line)):
            yield Said(self._where(item.where), _spelled(item, item in config.removes))
        for module, text in on_command_line(self._command_line):
            if module == about.name:
                yield Said("kernel command line", f"{module}.{text}")
        if about.name in blacklisted(self._command_line):
            yield Said("kernel command line", f"modprobe.blacklist={about.name}")

    def _load(self, found: Found, about: About) -> Iterator[Load]:
        """What modprobe would do where nothing is loaded yet; what -D names once more is there by then."""
        assert self._modprobe is not None and self.known is not None
        about.blocked = bool(found.alias) and found.name in self._modprobe.blacklist
        if about.blocked:
            return
        for each in {each.name: each for each in self._modprobe.plan(found)}.values():
            step = self._modprobe.step(each, "", requested=each == found)
            given = step.parameters.strip(" ")
            if step.command is not None:
                yield Load(step.name, "install", step.command, given)
            elif step.builtin:
                yield Load(step.name, "builtin", "", given)
            elif step.path:
                file = Path(step.path)
                with file.open("rb") as opened:
                    kind = compression(opened.read(8))
                by_kernel = kind and self.known.kernel.loads_compressed(kind)
                path = step.path.removeprefix(f"{self.known.directory}/")
                how = "init_module" if kind and not by_kernel else "finit_module"
                yield Load(step.name, how, path, given, MODULE_INIT_COMPRESSED_FILE if by_kernel else 0)

    def _nowhere(self, request: str) -> NoReturn:
        assert self.known is not None
        files = self.known.files
        if ":" in request:
            aliases = [(entry.key, entry.value) for entry in files.entries(ALIASES)]
            near = ", ".join(map(str, nearest_aliases(request, aliases)))
            told = f"; nearest: {near}" if near else ""
            what = "no module has an alias that matches"
        else:
            told = hint(request.replace("-", "_"), files.names())
            what = "no module or alias of this name"
        raise TinykmodError(request or "''", f"{what} in {self.known.release}{told}")


def _modprobe(known: Known, command_line: str) -> Modprobe:
    flags = Flags(dry_run=True, show_depends=True)

    def unused() -> NoReturn:
        raise AssertionError("nothing is loaded")

    return Modprobe(
        known.files, known.config, flags, system=unused, show=print, say=lambda severity, text: None,
        command_line=command_line,
    )  # fmt: skip


def _firmware(known: Known, names: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    places = firmware.search(known.root, known.release)
    for name in dict.fromkeys(names):
        files = list(firmware.collect({"": [name]}, places, {}).files.values())
        yield name, known.told(files[0].file) if files else None


def _spelled(item: Alias | Options | Blacklist | Command | Softdep | Weakdep, removes: bool) -> str:
    match item:
        case Alias(pattern, module, _):
            return f"alias {pattern} {module}"
        case Options(module, text, _):
            return f"options {module} {text}"
        case Blacklist(module, _):
            return f"blacklist {module}"
        case Command(module, command, _):
            return f"{'remove' if removes else 'install'} {module} {command}"
        case Softdep(module, pre, post, _):
            words: Sequence[str] = [*(["pre:", *pre] if pre else []), *(["post:", *post] if post else [])]
            return " ".join(["softdep", module, *words])
        case Weakdep(module, weak, _):
            return " ".join(["weakdep", module, *weak])
