"""The `tinykmod` command. Each subcommand is one module here with `configure(parser)` and `run(args)`."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from tinykmod import __version__
from tinykmod.errors import TinykmodError


@dataclass(frozen=True)
class Command:
    """One subcommand: its word, its line in the help, and the module that carries it out."""

    name: str
    help: str
    module: str


#: Every subcommand. `tinykmod --help` prints this table; nothing else registers a command.
COMMANDS = (
    Command("index", "build, dump and match boot indexes", "tinykmod.cli.index"),
    Command("initramfs", "build an initramfs with the loader as /init", "tinykmod.cli.initramfs"),
    Command("coldplug", "load (or show) what this machine's devices ask for", "tinykmod.cli.coldplug"),
    Command("depmod", "write modules.dep and the other files by which modprobe finds modules", "tinykmod.cli.depmod"),
    Command("loader", "print the path of the static loader program", "tinykmod.cli.loader"),
)


class _Version(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from tinykmod import core

        print(f"tinykmod {__version__} ({core.NAME})")
        parser.exit()


def _table() -> str:
    width = max(len(command.name) for command in COMMANDS)
    rows = "\n".join(f"  {command.name:<{width}}  {command.help}" for command in COMMANDS)
    return f"commands:\n{rows}\n\n`tinykmod COMMAND --help` says more of each."


def _parser(chosen: Command | None) -> argparse.ArgumentParser:
    if chosen is not None:
        module = importlib.import_module(chosen.module)
        parser = argparse.ArgumentParser(prog=f"tinykmod {chosen.name}", description=chosen.help)
        module.configure(parser)
        parser.set_defaults(run=module.run)
        return parser
    parser = argparse.ArgumentParser(
        prog="tinykmod",
        usage="tinykmod [--version] COMMAND ...",
        description="An early-boot module loader, and the tools that feed it.",
        epilog=_table(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action=_Version, nargs=0, help="print the version and the core in use, and exit"
    )
    parser.add_argument("command", metavar="COMMAND", choices=[command.name for command in COMMANDS])
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code is 0, 1 (it failed, one line said why) or 2 (wrong usage)."""
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # file names need not be UTF-8
    # Ended from outside, what was begun is taken away as after Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        try:
            return _run(words)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # The reader (head, less) has gone: not an error.
        _drop_output()
        return 0
    except TinykmodError as error:
        print(f"tinykmod: {error}", file=sys.stderr)
    except OSError as error:
        if error.filename is None:
            _drop_output()
        print(f"tinykmod: {error.filename or 'standard output'}: {error.strerror or error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("tinykmod: interrupted", file=sys.stderr)
        return 130
    return 1


def _run(words: list[str]) -> int:
    chosen = next((command for command in COMMANDS if words and command.name == words[0]), None)
    parser = _parser(chosen)
    if not words:
        parser.print_help()
        return 2
    args = parser.parse_args(words[1:] if chosen else words)
    if chosen is None:
        parser.error(f"the command is the first word: tinykmod {args.command} ...")
    return int(args.run(args))


def _drop_output() -> None:
    """The interpreter must not write what is left to where it cannot go once more."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
