"""The `tinykmod` command. Each subcommand is one module here with `configure(parser)` and `run(args)`."""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import os
import shlex
import signal
import sys
from collections.abc import Sequence
from getopt import GetoptError, gnu_getopt
from pathlib import Path
from typing import NamedTuple, NoReturn

from tinykmod import __version__
from tinykmod.errors import TinykmodError


class Command(NamedTuple):
    """One subcommand: its word, its line in the help, and the module that carries it out."""

    name: str
    help: str
    module: str
    kmod: bool = False  # one of kmod's tools: it goes by its own name too, and wrong usage is exit code 1
    environment: str = ""  # the variable whose words go before those of the command line


#: Every subcommand. `tinykmod --help` prints this table; nothing else registers a command.
COMMANDS = (
    Command("index", "build, dump and match boot indexes", "tinykmod.cli.index"),
    Command("initramfs", "build an initramfs with the loader as /init", "tinykmod.cli.initramfs"),
    Command("image", "list an image, tell why, compare two, check one before the reboot", "tinykmod.cli.image"),
    Command("freeze", "put the loader, its boot index and modules into one program", "tinykmod.cli.freeze"),
    Command("classes", "show which drivers are of which class, and what shows it", "tinykmod.cli.classes"),
    Command("show", "show everything about a module on one page", "tinykmod.cli.show"),
    Command("stats", "count and measure the modules of a kernel", "tinykmod.cli.stats"),
    Command("boot", "boot a kernel with an image in QEMU, and show its timeline", "tinykmod.cli.boot"),
    Command("coldplug", "load (or show) what this machine's devices ask for", "tinykmod.cli.coldplug"),
    Command("check", "look over a whole module tree: symbols, indexes, firmware, modprobe.d", "tinykmod.cli.check"),
    Command("lint", "tell a module's author what to mend, by rules", "tinykmod.cli.lint"),
    Command("why", "tell why a module or device is, is not, or would not be loaded or bound", "tinykmod.cli.why"),
    Command("trace", "show a boot's trace as a timeline, or turn it into a chart", "tinykmod.cli.trace"),
    Command("bench", "boot images again and again, and tell which is quicker, by how much", "tinykmod.cli.bench"),
    Command("report", "make one HTML page of a bench's results, or of a boot's trace", "tinykmod.cli.report"),
    Command("snapshot", "write down what this machine's image needs, to build it elsewhere", "tinykmod.cli.snapshot"),
    Command("profile", "make a plan for the next boot of a boot's trace", "tinykmod.cli.profile"),
    Command(
        "depmod", "write modules.dep and the other files by which modprobe finds modules", "tinykmod.cli.depmod", True
    ),
    Command(
        "modprobe", "load and remove modules with what they need", "tinykmod.cli.modprobe", True, "MODPROBE_OPTIONS"
    ),
    Command("modinfo", "show what modules say of themselves", "tinykmod.cli.modinfo", True),
    Command("lsmod", "list the loaded modules", "tinykmod.cli.lsmod", True),
    Command("insmod", "load a module from its file", "tinykmod.cli.insmod", True),
    Command("rmmod", "take modules out of the kernel", "tinykmod.cli.rmmod", True),
    Command("static-nodes", "print the device nodes that load modules", "tinykmod.cli.static_nodes", True),
    Command("completion", "print what makes a shell complete the command line", "tinykmod.cli.completion"),
    Command("install-hooks", "make other initramfs generators use the loader", "tinykmod.cli.install_hooks"),
    Command("loader", "print the path of the static loader program", "tinykmod.cli.loader"),
)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from tinykmod import core

        print(f"tinykmod {__version__} ({core.NAME})")
        parser.exit()


class Parser(argparse.ArgumentParser):
    """For one subcommand."""

    usage_error = 2
    #: Of its subcommands the one whose word may be left out.
    usual = ""

    def error(self, message: str) -> NoReturn:
        self.exit(self.usage_error, f"{self.prog}: {message}; see {self.prog} --help\n")

    def with_usual(self, words: Sequence[str]) -> list[str]:
        """The words with `usual` in front where it has been left out."""
        actions = next((action.choices for action in self._actions if action.dest == "action"), None) or ()
        own = words and (words[0] in actions or words[0] in self._option_string_actions)
        return [self.usual, *words] if self.usual and not own else list(words)

    def permuted(self, words: Sequence[str]) -> list[str]:
        """The words as getopt_long(3) takes them and argparse does not: options may follow other words, `--` ends
        them, and what an option takes may begin with `-`."""
        table = self._option_string_actions
        takes = {option: action.nargs is None for option, action in table.items()}
        short = "".join(option[1:] + ":" * value for option, value in takes.items() if len(option) == 2)
        long = [option[2:] + "=" * value for option, value in takes.items() if len(option) > 2]
        try:
            options, others = gnu_getopt(words, short, long)
        except GetoptError as error:
            self.error(error.msg)
        given = [f"{table[name].option_strings[-1]}={value}" if takes[name] else name for name, value in options]
        return [*given, *(("--",) if any(word.startswith("-") for word in others) else ()), *others]


def _table() -> str:
    width = max(len(command.name) for command in COMMANDS)
    rows = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    return f"commands:\n{rows}\n\n`tinykmod COMMAND --help` says more of each."


def parser_of(command: Command) -> Parser:
    """The parser of one subcommand; its default `run` carries the command out."""
    module = importlib.import_module(command.module)
    parser = Parser(prog=f"tinykmod {command.name}", description=command.help)
    module.configure(parser)
    if command.kmod:
        parser.usage_error = 1
        parser.add_argument("-V", "--version", action=_Version, nargs=0, help="print the version and exit")
    parser.set_defaults(run=module.run)
    return parser


def _main_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tinykmod",
        usage="tinykmod [--version] COMMAND ...",
        description="An early-boot module loader, and the tools that feed it.",
        epilog=_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and the core in use, and exit")
    parser.add_argument("command", metavar="COMMAND", choices=[command.name for command in COMMANDS])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 (it failed, one line said why) or 2 (wrong usage).

    Started by the name of one of kmod's tools, as by a link /sbin/modprobe -> tinykmod, it is that tool.
    """
    if argv is None:
        _settle()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="surrogateescape")
    words = _own_words() if argv is None else list(argv)
    command = next((command for command in COMMANDS if words and command.name == words[0]), None)
    teller = f"{command.name}: ERROR" if command is not None and command.kmod else "tinykmod"
    # Ended from outside, what was begun is taken away as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            return _run(command, words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone: not an error.
        _drop_output()
        return 0
    except TinykmodError as error:
        print(f"{teller}: {error}", file=sys.stderr)
    except OSError as error:
        which = error.filename or ("standard output" if _output_fails() else "")
        print(": ".join(filter(None, [teller, which, error.strerror or str(error)])), file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{teller}: interrupted", file=sys.stderr)
        return 130
    return 1


def _settle() -> None:
    """Make of this process what a tool wants, whatever it was started by."""
    if sys.getfilesystemencoding() != "utf-8":
        # Names and texts go through as the bytes that they are, which only UTF-8 with surrogateescape does; another
        # locale would spell them anew.
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    # The kernel runs its helper without open files. What is opened next would take their numbers.
    for descriptor, name, mode in (0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w"):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", errors="surrogateescape"))
    # The process ends before cycles could matter; looking for them goes through all that was read, many times.
    gc.disable()


def _own_words() -> list[str]:
    name = Path(sys.argv[0]).name
    own = any(command.kmod and command.name == name for command in COMMANDS)
    return [name, *sys.argv[1:]] if own else sys.argv[1:]


def _run(chosen: Command | None, words: list[str]) -> int:
    if chosen is not None:
        parser = parser_of(chosen)
        given = [*_words_of(chosen.environment), *words[1:]]
        args = parser.parse_args(parser.permuted(given) if chosen.kmod else parser.with_usual(given))
        return int(args.run(args))
    main_parser = _main_parser()
    if not words:
        main_parser.print_help()
        return 2
    args = main_parser.parse_args(words)
    main_parser.error(f"the command is the first word: tinykmod {args.command} ...")


def _words_of(variable: str) -> list[str]:
    """The words of an environment variable, quoted as in the shell; with an open quote only blanks part them."""
    text = os.environ.get(variable, "")
    try:
        return shlex.split(text)
    except ValueError:
        return text.split()


def _output_fails() -> bool:
    """Whether what is to be written to standard output cannot be; it is then dropped."""
    try:
        sys.stdout.flush()
    except OSError:
        _drop_output()
        return True
    return False


def _drop_output() -> None:
    """The interpreter must not write what is left to where it cannot go once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
