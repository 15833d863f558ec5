"""`tinykmod modprobe`: load and remove modules with what they need, as modprobe(8) does."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tinykmod.cli.messages import reported, reporter
from tinykmod.errors import TinykmodError
from tinykmod.inspect.failed import Watch
from tinykmod.kmod.config import read_config
from tinykmod.kmod.loaded import ROOT
from tinykmod.kmod.lookup import ModuleFiles
from tinykmod.kmod.modprobe import FailedError, Flags, Modprobe, Severity
from tinykmod.modules.directory import directory_of

if TYPE_CHECKING:
    from tinykmod.kmod.system import System


def configure(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("management")
    group.add_argument("-a", "--all", action="store_true", help="all words are names of modules, none a parameter")
    group.add_argument("-r", "--remove", action="store_true", help="remove modules instead of loading them")
    group.add_argument("--remove-holders", "--remove-dependencies", action="store_true",
                       help="with -r: also the modules that use it")  # fmt: skip
    group.add_argument("-w", "--wait", metavar="MSEC", help="with -r: wait so long for its users to end")
    group.add_argument("--first-time", action="store_true", help="fail if there is nothing to do")
    group.add_argument("-i", "--ignore-install", "--ignore-remove", dest="ignore_commands", action="store_true",
                       help="ignore the module's own install and remove commands")  # fmt: skip
    group.add_argument("-b", "--use-blacklist", action="store_true", help="the blacklist is for names as well")
    group.add_argument("-f", "--force", action="store_true",
                       help="as --force-vermagic and --force-modversion; with -r: also if in use")  # fmt: skip
    group.add_argument("--force-modversion", action="store_true", help="whatever the symbols' versions; dangerous")
    group.add_argument("--force-vermagic", action="store_true", help="whatever the version magic; dangerous")
    group = parser.add_argument_group("query")
    group.add_argument("-R", "--resolve-alias", action="store_true", help="print the modules' names")
    group.add_argument("-D", "--show-depends", action="store_true", help="print what would be loaded, loaded or not")
    group.add_argument("-c", "--showconfig", "--show-config", action="store_true",
                       help="print the configuration and the aliases")  # fmt: skip
    group.add_argument("--show-modversions", "--dump-modversions", action="store_true",
                       help="print the symbols that a module's file needs")  # fmt: skip
    group.add_argument("--show-exports", action="store_true", help="print the symbols that a module's file exports")
    group = parser.add_argument_group("general")
    group.add_argument("-n", "--dry-run", "--show", action="store_true", help="do nothing; with -v: print what")
    group.add_argument("-C", "--config", action="append", type=Path, metavar="FILE|DIR",
                       help="the configuration, instead of the modprobe.d directories")  # fmt: skip
    group.add_argument("-d", "--dirname", type=Path, default=Path("/"), metavar="DIR",
                       help="where lib/modules is (default: /)")  # fmt: skip
    group.add_argument("-S", "--set-version", metavar="VERSION", help="default: the running kernel's")
    group.add_argument("-s", "--syslog", action="store_true", help="messages go to syslog, not to standard error")
    group.add_argument("-q", "--quiet", action="store_true", help="no messages")
    group.add_argument("-v", "--verbose", action="store_true", help="print what is done")
    parser.add_argument("words", nargs="*", metavar="MODULE [PARAMETER=VALUE ...]",
                        help="a module's name or alias, and its parameters; with -a, -r: modules")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    # As for kmod, -s and -q do not count yet.
    try:
        wait = None if args.wait is None else int(args.wait) / 1000
    except ValueError:
        reporter("modprobe")(f"unexpected wait value '{args.wait}'.")
        return 1
    if not args.words and not args.showconfig:
        reporter("modprobe", syslog=args.syslog)("missing parameters. See -h.")
        return 1
    say = _messages(args)
    action = partial(_show_symbols, args) if args.show_modversions or args.show_exports else partial(_run, args, wait)
    return reported(partial(say, Severity.ERROR), partial(action, say))


def _run(args: argparse.Namespace, wait: float | None, say: Callable[[Severity, str], None]) -> int:
    version = args.set_version if args.set_version is not None else os.uname().release
    files = ModuleFiles(directory_of(args.dirname.absolute(), version))
    also = [files.directory / name for name in ("modules.softdep", "modules.weakdep")]
    config = read_config(None, paths=args.config, also=also)
    for warning in config.warnings:
        print(f"modprobe: ERROR: {warning}", file=sys.stderr)
    flags = Flags(
        dry_run=args.dry_run or args.show_depends,
        verbose=args.verbose,
        show_depends=args.show_depends,
        ignore_commands=args.ignore_commands,
        use_blacklist=args.use_blacklist,
        first_time=args.first_time,
        remove_holders=args.remove_holders,
        wait=wait,
        force_removal=args.force,
        ignore_modversions=args.force or args.force_modversion,
        ignore_vermagic=args.force or args.force_vermagic,
    )
    children = _options_of_children(args)
    # Who is not told has nothing looked for.
    watch = None if args.quiet else Watch(args.dirname, version)
    modprobe = Modprobe(files, config, flags, system=_linux, show=print, say=say, options_of_children=children,
                        kernel=ROOT, watch=watch)  # fmt: skip
    if args.showconfig:
        modprobe.show_config()
        return 0
    action: Callable[[str], None] = modprobe.insert
    requests = args.words if args.all or args.remove else args.words[:1]
    if args.remove:
        action = modprobe.remove
    elif args.resolve_alias:
        action = modprobe.resolve
    elif not args.all:
        action = partial(modprobe.insert, options=" ".join(map(_quoted, args.words[1:])))
    code = 0
    for request in requests:
        try:
            action(request)
        except FailedError:
            code = 1
            if not args.all:
                break
    return code


def _linux() -> System:
    from tinykmod.kmod.system import Linux

    return Linux()


def _messages(args: argparse.Namespace) -> Callable[[Severity, str], None]:
    """Where messages go, in kmod's words: with -a what became of one module is not yet the end."""

    def say(severity: Severity, text: str) -> None:
        word = "WARNING" if severity is Severity.OUTCOME and args.all else severity.value
        if args.quiet:
            return
        if args.syslog:
            import syslog

            syslog.openlog("modprobe")
            syslog.syslog(syslog.LOG_WARNING if word == "WARNING" else syslog.LOG_ERR, f"{word}: {text}")
        else:
            print(f"modprobe: {word}: {text}", file=sys.stderr)

    return say


def _quoted(parameter: str) -> str:
    """A parameter as the kernel wants it: a value with blanks in quotes."""
    key, equals, value = parameter.partition("=")
    return f'{key}="{value}"' if equals and " " in value and value[0] not in "\"'" else parameter


def _options_of_children(args: argparse.Namespace) -> str:
    """What MODPROBE_OPTIONS tells the modprobes that commands run."""
    words = [word for path in args.config or () for word in ("-C", str(path))]
    words += [option for option, given in (("-q", args.quiet), ("-s", args.syslog), ("-v", args.verbose)) if given]
    return " ".join(filter(None, [os.environ.get("MODPROBE_OPTIONS"), shlex.join(words)]))


def _show_symbols(args: argparse.Namespace, say: Callable[[Severity, str], None]) -> int:
    from tinykmod.modules.compression import decompress
    from tinykmod.modules.elf import read_elf, read_versions

    which = args.words[0]
    try:
        data = decompress(Path(which).read_bytes(), which)
        symbols = read_versions(data, which) if args.show_modversions else [*read_elf(data, which).exports.items()]
        why = "" if symbols else "there are none"
    except (FileNotFoundError, NotADirectoryError):
        say(Severity.OUTCOME, f"Module {which} not found.")
        return 1
    except OSError as error:
        symbols, why = [], error.strerror or str(error)
    except TinykmodError as error:
        symbols, why = [], error.why
    for name, crc in symbols:
        print(f"0x{crc or 0:08x}\t{name}")
    if why:
        what = "modversions" if args.show_modversions else "symbols"
        say(Severity.OUTCOME, f"could not get {what} of {which}: {why}")
    return 1 if why else 0
