"""Loading and removing modules as modprobe(8) does: what a name stands for, what else is needed, in which order.

The order of a load: for each dependency and then the module itself first its `pre` softdeps with all that they need,
then it, then its `post` softdeps. Nothing is loaded that is there; a dry run, which does not know, may name a module
more than once.
"""

from __future__ import annotations

import errno
import os
import sys
import time
from collections.abc import Callable, Iterator
from enum import Enum, auto
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

from tinykmod.errors import ConfigError, TinykmodError
from tinykmod.kmod.commandline import blacklisted, parameters
from tinykmod.kmod.config import Command, Config
from tinykmod.kmod.glob import glob
from tinykmod.kmod.loaded import ROOT, holders_of, refcount_of, state_of
from tinykmod.kmod.lookup import ALIASES, SYMBOLS, ModuleFiles
from tinykmod.kmod.names import encoded, is_module_file, module_name, normalise_pattern

if TYPE_CHECKING:
    from tinykmod.kmod.system import System

#: Seconds between two tries of a removal that waits.
PAUSE = 0.02


class Found(NamedTuple):
    """A module that a name stands for."""

    name: str  # normalised
    alias: str = ""  # by which it was found, normalised, or modprobe.d's pattern of it; empty where by its name
    file: str = ""  # that was asked for instead of a name


class Step(NamedTuple):
    """How one module of a plan is loaded; as text what `modprobe -D` prints, empty for one that is nowhere."""

    name: str
    path: str  # empty: it has no file
    parameters: str
    command: str | None  # modprobe.d's, which is run instead
    builtin: bool

    def __str__(self) -> str:
        if self.command is not None:
            return f"install {self.command} {self.parameters}"
        if self.builtin:
            return f"builtin {self.name}"
        return f"insmod {self.path} {self.parameters}" if self.path else ""


class _Part(Enum):
    """Of the plan of a load."""

    ALL = auto()  # the module and all that it needs
    SOFT = auto()  # the module and its softdeps
    ITSELF = auto()


class Severity(Enum):
    """How bad a message is, in kmod's words. An OUTCOME is FATAL, or WARNING where the others of -a go on."""

    ERROR = "ERROR"
    OUTCOME = "FATAL"


class Flags(NamedTuple):
    """modprobe's options."""

    dry_run: bool = False
    verbose: bool = False
    show_depends: bool = False  # print all that would be loaded, whatever is loaded
    ignore_commands: bool = False  # of the requested module
    use_blacklist: bool = False  # for names too
    first_time: bool = False  # what is there already is an error
    remove_holders: bool = False
    wait: float | None = None  # seconds that a removal waits for the module's users
    force_removal: bool = False
    ignore_modversions: bool = False
    ignore_vermagic: bool = False


class Watch(Protocol):
    """Finds out why a load failed."""

    def mark(self) -> None:
        """A load begins."""
        ...

    def cause(self, name: str, path: Path, options: str, number: int) -> str:
        """One line on the load of the module's file, which the kernel refused with NUMBER, a positive errno; empty
        where there is no more to say."""
        ...


class FailedError(Exception):
    """What was asked for did not work, and has been told."""


class Modprobe:
    """One modprobe.

    `system` makes the seam when something is to be done. `show` takes what kmod prints on standard output, `say` its
    messages. Commands get `options_of_children` as MODPROBE_OPTIONS. proc/ and sys/ are looked for below `kernel`;
    `command_line`, if given, is the kernel's instead of that in proc/. What `watch` finds out of
    a failed load is one more message.
    """

    def __init__(
        self,
        files: ModuleFiles,
        config: Config,
        flags: Flags,
        *,
        system: Callable[[], System],
        show: Callable[[str], object],
        say: Callable[[Severity, str], object],
        options_of_children: str = "",
        kernel: Path = ROOT,
        command_line: str | None = None,
        watch: Watch | None = None,
    ) -> None:
        self.files = files
        self.config = config
        self.flags = flags
        self._system = system
        self._show = show
        self._say = say
        self._options_of_children = options_of_children
        self._kernel = kernel
        self._watch = watch
        self._why = ""
        try:
            if command_line is None:
                command_line = (kernel / "proc/cmdline").read_text(errors="surrogateescape")
        except FileNotFoundError:
            command_line = ""
        #: Module or alias, and what it is given, in order.
        self.options = [(item.module, item.text) for item in config.options]
        self.options += [(module, text.replace("\t", " ")) for module, text in parameters(command_line)]
        self.blacklist = [item.module for item in config.blacklist] + list(blacklisted(command_line))
        self._aliases = [(normalise_pattern(item.pattern), item.module) for item in config.aliases]

    @cached_property
    def system(self) -> System:
        """The seam to the kernel."""
        return self._system()

    def lookup(self, request: str) -> list[Found]:
        """The modules that a name or alias stands for: the first that is not empty of the configuration's aliases,
        the modules' names, their symbols, commands, aliases, and names and aliases of what is built in."""
        try:
            alias = normalise_pattern(request)
        except ConfigError:
            return []
        text = encoded(alias)
        if found := [Found(module, pattern) for pattern, module in self._aliases if glob(encoded(pattern), text)]:
            return found
        if self.files.needs(alias) is not None:
            return [Found(alias)]
        if alias.startswith("symbol:") and (symbols := self.files.symbols(alias)):
            return [Found(name, alias) for name in symbols]
        if any(item.module == alias for item in (*self.config.installs, *self.config.removes)):
            return [Found(alias)]
        if aliases := self.files.aliases(alias):
            return [Found(name, alias) for name in aliases]
        if self.files.is_builtin(alias):
            return [Found(alias)]
        return [Found(name, alias) for name in self.files.builtin_aliases(alias)]

    def resolve(self, request: str) -> None:
        """Show the names that a name stands for. Raises FailedError where there is none."""
        for module in self._requested(request):
            self._show(module.name)

    def insert(self, request: str, options: str = "") -> None:
        """Load what a name or alias stands for; OPTIONS go to it and not to what it needs.

        Raises FailedError if the last of the modules that it stands for was not loaded.
        """
        result = 0
        for module in self._requested(request):
            result = self._insert(module, options)
            if result == -errno.EEXIST:
                self._say(Severity.ERROR, f"could not insert '{module.name}': Module already in kernel")
            elif result == -errno.ENOENT:
                why = "Unknown symbol in module, or unknown parameter (see dmesg)"
                self._say(Severity.ERROR, f"could not insert '{module.name}': {why}")
            elif result:
                self._say(Severity.ERROR, f"could not insert '{module.name}': {os.strerror(-result)}")
            if result and self._why:
                self._say(Severity.ERROR, self._why)
        if result:
            raise FailedError

    def remove(self, request: str) -> None:
        """Remove what a name or alias stands for, and what it needs and nothing else uses.

        Raises FailedError for the first module that stays.
        """
        found = self.lookup(request)
        if not found:
            self._say(Severity.OUTCOME, f"Module {request} not found.")
            raise FailedError
        for module in found:
            visited: set[str] = set()
            pending = [iter([module])]
            while pending:
                here = next(pending[-1], None)
                if here is None:
                    pending.pop()
                elif here.name not in visited:
                    visited.add(here.name)
                    pending.append(self._removal(here, requested=len(visited) == 1))

    def show_config(self) -> None:
        """Show the configuration, that of the kernel command line and depmod's softdeps with it, and the aliases."""
        for module in self.blacklist:
            self._show(f"blacklist {module}")
        for what, commands in (("install", self.config.installs), ("remove", self.config.removes)):
            for command in commands:
                self._show(f"{what} {command.module} {command.command}")
        for item in self.config.aliases:
            self._show(f"alias {normalise_pattern(item.pattern)} {item.module}")
        for module, text in self.options:
            self._show(f"options {module} {text}")
        for soft in self.config.softdeps:
            words = [*(("pre:", *soft.pre) if soft.pre else ()), *(("post:", *soft.post) if soft.post else ())]
            self._show(" ".join(["softdep", soft.module, *words]))
        for weak in self.config.weakdeps:
            self._show(" ".join(["weakdep", weak.module, *weak.weak]))
        self._show("\n# End of configuration files. Dumping indexes now:\n")
        for which in (ALIASES, SYMBOLS):
            for entry in self.files.entries(which):
                self._show(f"alias {entry.key} {entry.value}")

    def _requested(self, request: str) -> list[Found]:
        if request.startswith(("/", "./")) and is_module_file(request):
            return [Found(module_name(request), "", os.path.abspath(request))]  # noqa: PTH100 - links stay as they are
        found = self.lookup(request)
        if not found:
            why = "" if self.files.exists() else ", where depmod has not been"
            self._say(Severity.OUTCOME, f"Module {request} not found in directory {self.files.directory}{why}")
            raise FailedError
        return found

    def plan(self, module: Found) -> Iterator[Found]:
        """What is to be loaded for a module, in order."""
        visited: set[Found] = set()
        pending = [(_Part.ALL, module)]
        while pending:
            part, here = pending.pop()
            if part is _Part.ITSELF:
                yield here
            elif part is _Part.SOFT:
                pre, post = self._softdeps(here)
                pending += [(_Part.ALL, soft) for soft in reversed(post)]
                pending.append((_Part.ITSELF, here))
                pending += [(_Part.ALL, soft) for soft in reversed(pre)]
            elif here not in visited:
                visited.add(here)
                alone = self.flags.ignore_commands and here == module
                pending.append((_Part.ITSELF if alone else _Part.SOFT, here))
                pending += [(_Part.SOFT, needed) for needed in reversed(self._needed(here))]

    def _insert(self, module: Found, options: str) -> int:
        """0 or a negative errno, which has not been told."""
        if self._is_there(module):
            return -errno.EEXIST if self.flags.first_time else 0
        if module.name in self.blacklist and (module.alias or self.flags.use_blacklist):
            return 0
        required = {module, *self._needed(module)}
        for step in self.plan(module):
            result = -errno.EEXIST if self._is_there(step) else self._load(step, options, requested=step == module)
            if result == -errno.EEXIST:
                if step == module and self.flags.first_time:
                    return result
            elif result and step in required:
                return result
        return 0

    def step(self, module: Found, options: str, *, requested: bool) -> Step:
        """How a module is loaded, OPTIONS being for the one that was requested."""
        given = " ".join(text for name, text in self.options if name in (module.name, module.alias))
        if requested:
            given = f"{given} {options}" if given else options
        elif given:
            given += " "
        ignored = requested and self.flags.ignore_commands
        command = None if ignored else _command(self.config.installs, module.name)
        needs = self.files.needs(module.name)
        path = module.file or (needs.path if needs is not None else "")
        return Step(module.name, path, given, command, self.files.is_builtin(module.name))

    def _load(self, module: Found, options: str, *, requested: bool) -> int:
        """0 or a negative errno."""
        self._why = ""
        step = self.step(module, options, requested=requested)
        if (self.flags.verbose or self.flags.show_depends) and str(step):
            self._show(str(step))
        if self.flags.dry_run:
            return 0
        path, given, command = step.path, step.parameters, step.command
        if command is not None:
            substituted = command.replace("$CMDLINE_OPTS", given)
            code = self._run(substituted, module.name)
            if code:
                why = f"Error running install command '{substituted}' for module {module.name}: retcode {code}"
                self._say(Severity.ERROR, why)
            return -errno.EINVAL if code else 0
        if not path:
            self._say(Severity.ERROR, f"could not find module by name='{module.name}'")
            return -errno.ENOENT
        from tinykmod.kmod.insert import insert
        from tinykmod.kmod.system import MODULE_INIT_IGNORE_MODVERSIONS, MODULE_INIT_IGNORE_VERMAGIC

        flags = MODULE_INIT_IGNORE_MODVERSIONS if self.flags.ignore_modversions else 0
        flags |= MODULE_INIT_IGNORE_VERMAGIC if self.flags.ignore_vermagic else 0
        if self._watch is not None:
            self._watch.mark()
        try:
            result = insert(self.system, Path(path), given.rstrip(" "), flags)
            if self._watch is not None and result not in (0, -errno.EEXIST):
                cause = self._watch.cause(module.name, Path(path), given, -result)
                self._why = f"{module.name}: {cause}" if cause else ""
            return result
        except OSError as error:
            return -(error.errno or errno.EIO)
        except TinykmodError as error:
            self._say(Severity.ERROR, str(error))
            return -errno.ENOEXEC

    def _removal(self, module: Found, *, requested: bool) -> Iterator[Found]:
        """Remove a module and what it alone needs; yields in between what is to be removed first, or next.

        Raises FailedError, which has been told.
        """
        ignored = requested and self.flags.ignore_commands
        command = None if ignored else _command(self.config.removes, module.name)
        if command is None and not self._is_removable(module.name, requested=requested):
            return
        pre, post = ([], []) if ignored else self._softdeps(module)
        yield from reversed(post)
        if self.flags.remove_holders:
            yield from map(Found, holders_of(module.name, self._kernel))
        if command is not None:
            if self.flags.verbose:
                self._show(f"remove {command}")
            if not self.flags.dry_run and self._run(command, module.name):
                self._say(Severity.OUTCOME, f"Error running remove command for {module.name}")
                raise FailedError
        elif not self._is_loaded(module.name):
            pass  # went as what a holder alone had needed
        elif self.flags.wait is None and refcount_of(module.name, self._kernel):
            self._say(Severity.OUTCOME, f"Module {module.name} is in use.")
            raise FailedError
        elif not self._delete(module.name):
            raise FailedError
        # The last one loaded first: then what it was the only one to need is unused as well.
        for needed in reversed(self._needed(module)):
            if self._is_loaded(needed.name) and refcount_of(needed.name, self._kernel) == 0:
                self._delete(needed.name)
        yield from reversed(pre)

    def _is_removable(self, name: str, *, requested: bool) -> bool:
        """False where there is nothing to do. Raises FailedError where that is worth telling."""
        if self._is_loaded(name):
            return True
        builtin = self.files.is_builtin(name)
        if requested and (builtin or self.flags.first_time):
            self._say(Severity.OUTCOME, f"Module {name} is {'builtin' if builtin else 'not in kernel'}.")
            raise FailedError
        return False

    def _delete(self, name: str) -> bool:
        """Take a module out of the kernel, and tell what hinders it."""
        if self.flags.verbose:
            self._show(f"rmmod {name}")
        if self.flags.dry_run:
            return True
        flags = os.O_NONBLOCK | (os.O_TRUNC if self.flags.force_removal else 0)
        end = time.monotonic() + (self.flags.wait or 0)
        while (result := self.system.delete_module(name, flags)) == -errno.EAGAIN and time.monotonic() < end:
            time.sleep(PAUSE)
        if result:
            self._say(Severity.ERROR, f"could not remove '{name}': {os.strerror(-result)}")
        return not result

    def _run(self, command: str, module: str) -> int:
        """Run a shell command for a module: its exit code, or a signal as a negative number."""
        import subprocess

        sys.stdout.flush()
        environment = {**os.environ, "MODPROBE_MODULE": module, "MODPROBE_OPTIONS": self._options_of_children}
        return subprocess.run(command, shell=True, env=environment, check=False).returncode

    def _needed(self, module: Found) -> list[Found]:
        needs = self.files.needs(module.name)
        return [Found(name) for name in needs.modules] if needs is not None else []

    def _softdeps(self, module: Found) -> tuple[list[Found], list[Found]]:
        """The modules before and after, of all lines that are the module's. What is not found is left out."""
        lines = [item for item in self.config.softdeps if glob(encoded(item.module), encoded(module.name))]
        found = ([word for item in lines for word in item.pre], [word for item in lines for word in item.post])
        before, after = ([module for word in words for module in self.lookup(word)] for words in found)
        return before, after

    def _is_there(self, module: Found) -> bool:
        if self.flags.show_depends:
            return False
        return self.files.is_builtin(module.name) or state_of(module.name, self._kernel) == "live"

    def _is_loaded(self, name: str) -> bool:
        return not self.files.is_builtin(name) and state_of(name, self._kernel) != ""


def _command(commands: list[Command], name: str) -> str | None:
    return next((item.command for item in commands if glob(encoded(item.module), encoded(name))), None)
