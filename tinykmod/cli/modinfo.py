"""`tinykmod modinfo`: what modules say of themselves, as modinfo(8) prints it."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tinykmod.cli.messages import one_line, reporter
from tinykmod.errors import ConfigError, TinykmodError
from tinykmod.kmod import modinfo
from tinykmod.kmod.modinfo import Field
from tinykmod.kmod.names import is_module_file, module_name, normalise_pattern

if TYPE_CHECKING:
    from tinykmod.kmod.lookup import ModuleFiles

_error = reporter("modinfo")


def configure(parser: argparse.ArgumentParser) -> None:
    for short, long, field in (
        ("-a", "--author", "author"),
        ("-d", "--description", "description"),
        ("-l", "--license", "license"),
        ("-p", "--parameters", "parm"),
        ("-n", "--filename", "filename"),
    ):
        parser.add_argument(
            short, long, dest="field", action="store_const", const=field, help=f"print only the field {field}"
        )
    parser.add_argument("-F", "--field", metavar="FIELD", help="print only this field's values, one a line")
    parser.add_argument("-0", "--null", action="store_true", help="end each value with NUL, not with a newline")
    parser.add_argument("-m", "--modname", action="store_true", help="the words are names of modules, nothing else")
    parser.add_argument(
        "-k", "--set-version", dest="version", metavar="VERSION", help="default: the running kernel's"
    )
    parser.add_argument("-b", "--basedir", dest="base", type=Path, default=Path("/"), metavar="BASE",
                        help="where lib/modules is (default: /)")  # fmt: skip
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a .ko file, a module's name or an alias")


def run(args: argparse.Namespace) -> int:
    if not args.modules:
        _error("missing module or filename.")
        return 1
    output = _Output(args.field, args.null)
    good = True
    for word in args.modules:
        is_file = not args.modname and is_module_file(word)
        good &= _file(word, output) if is_file else _tree(args, word, output)
    return 0 if good else 1


class _Output:
    """Prints the fields that are asked for: one of them, or all."""

    def __init__(self, field: str | None, null: bool) -> None:
        self.field = field
        self._null = null

    def heading(self, key: str, value: str) -> None:
        """A field that is not in .modinfo: a column even with --null, as in kmod."""
        if self.field is None:
            self._print(_column(key, value))
        elif self.field == key:
            self._print(value)

    def fields(self, fields: list[Field]) -> None:
        """The module's own fields in their order, its parameters last."""
        for key, value in fields:
            if self.field is not None:
                if self.field == key != "parm":
                    self._print(value)
            elif key not in ("parm", "parmtype"):
                self._print(f"{key}={value}" if self._null else _column(key, value))
        if self.field in (None, "parm"):
            self._parameters(fields)

    def _parameters(self, fields: list[Field]) -> None:
        parameters, nameless = modinfo.parameters(fields)
        for key, value in nameless:
            _error(f"Found invalid \"{key}={value}\": missing ':'")
        for name, description, kind in parameters:
            if self.field is None and description is None:
                text = kind or ""
            else:
                text = (description or "") + ("" if kind is None else f" ({kind})")
            self._print(f"{name}:{text}" if self.field else _column("parm", f"{name}:{text}"))

    def _print(self, text: str) -> None:
        print(text, end="\0" if self._null else "\n")


def _file(word: str, output: _Output) -> bool:
    """Print a module file's fields; False where something was amiss with it."""
    name = os.path.join(Path.cwd(), word)  # noqa: PTH118 - kmod leaves `./` and `..` as they are written
    output.heading("filename", name)
    if output.field == "filename":
        return True
    fields: list[Field] = []
    try:
        image = modinfo.read_image(Path(name))
        fields += modinfo.module_fields(image, name)
        if output.field in (None, *modinfo.SIGNATURE_FIELDS):
            fields += modinfo.signature_fields(image, name)
    except (TinykmodError, OSError) as error:
        _error(one_line(error))
        return False
    finally:
        output.fields(fields)
    return True


def _tree(args: argparse.Namespace, word: str, output: _Output) -> bool:
    """Print what a name or an alias stands for in the tree; False where it is nothing, or something was amiss."""
    from tinykmod.kmod.lookup import ModuleFiles
    from tinykmod.modules.directory import directory_of, module_directory

    # Where a path has no file, the tree is not what the user has in mind; an alias may have a slash, though.
    where = directory_of if "/" in word else module_directory
    try:
        files = ModuleFiles(where(args.base.absolute(), args.version or os.uname().release))
        names = _names(files, word, args.modname)
        if not names:
            _error(f"Module {'name ' if args.modname else ''}{word} not found.")
            return False
        good = [_module(files, name, output) for name in names]
        return all(good)
    except ConfigError:
        _error(f"Module alias {word} not found.")
    except (TinykmodError, OSError) as error:
        _error(one_line(error))
    return False


def _names(files: ModuleFiles, word: str, exact: bool) -> list[str]:
    """The modules that a word stands for, by the rules of modprobe without its configuration.

    Raises ConfigError for a bracket that is not matched.
    """
    name = module_name(word) if exact else normalise_pattern(word)
    if files.needs(name) is not None:
        return [name]
    if not exact:
        found = (files.symbols(name) if name.startswith("symbol:") else []) or files.aliases(name)
        if found:
            return list(dict.fromkeys(found))
    return [name] if files.is_builtin(name) else list(dict.fromkeys(files.builtin_aliases(name)))


def _module(files: ModuleFiles, name: str, output: _Output) -> bool:
    """Print the fields of one of the tree's modules; False where something was amiss with it."""
    needs = files.needs(name)
    if needs is not None:
        return _file(needs.path, output)
    output.heading("name", name)
    output.heading("filename", "(builtin)")
    if output.field not in ("name", "filename"):
        output.fields(modinfo.builtin_fields(files.directory, name))
    return True


def _column(key: str, value: str) -> str:
    return f"{key}:{' ' * abs(15 - len(key))}{value}"
