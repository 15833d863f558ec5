"""Whether a module takes the parameters that it is given, by their types and what the kernel reads of each
(kernel/params.c)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from tinykmod.inspect.param_table import TableEntry
from tinykmod.kmod.modinfo import Field, parameters
from tinykmod.nearest import misspelled

#: What the kernel takes for every module (kernel/module/main.c, unknown_module_param_cb(); lib/dynamic_debug.c).
_OF_ALL = frozenset(("async_probe", "dyndbg"))
_LIMITS: Mapping[str, tuple[int, int]] = {
    "byte": (0, 2**8 - 1), "short": (-(2**15), 2**15 - 1), "ushort": (0, 2**16 - 1), "int": (-(2**31), 2**31 - 1),
    "uint": (0, 2**32 - 1), "hexint": (0, 2**32 - 1), "ullong": (0, 2**64 - 1),
}  # fmt: skip
_TRUTH = ("y", "Y", "1", "n", "N", "0", "on", "oN", "On", "ON", "of", "oF", "Of", "OF")
#: A quoted value may hold blanks (kernel/params.c, next_arg()).
_WORD = re.compile(r'(?:[^\s"]|"[^"]*"?)+')
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)$")


Table = Callable[[], list[TableEntry]]


class Refused(NamedTuple):
    """One word of the options that a module does not take."""

    word: str
    name: str  # of the parameter, as the kernel compares it
    why: str
    fatal: bool  # the module is refused for it; a parameter that it does not have is passed over


def why_invalid(modinfo: Iterable[Field], options: str, table: Table) -> Iterator[Refused]:
    """Each word of OPTIONS that the module does not take.

    TABLE reads the module's own table, which has the parameters of which .modinfo says nothing (module_param_cb()).
    A driver may refuse more than its parameters' types tell.
    """
    known = {_alike(each.name): each for each in parameters(modinfo)[0]}
    for word in _words(options):
        key, equals, value = word.partition("=")
        name = _alike(key.strip('"'))
        parameter = known.get(name)
        if parameter is not None:
            if why := _why(parameter.type or "", value.strip('"'), bool(equals)):
                about = f" ({' '.join(parameter.description.split())})" if parameter.description else ""
                yield Refused(word, name, f"{why}{about}", True)
        elif not _is_silent(name, table):
            why = f"the module has none of this name, and the kernel passes over it{misspelled(name, known)}"
            yield Refused(word, name, why, False)


def unknown(modinfo: Iterable[Field], options: str, table: Table) -> Iterator[tuple[str, str]]:
    """The parameters of OPTIONS that the module does not have, as written, each with its misspelled() hint."""
    known = {_alike(each.name) for each in parameters(modinfo)[0]}
    for word in _words(options):
        name = word.partition("=")[0].strip('"')
        if _alike(name) not in known and not _is_silent(_alike(name), table):
            yield name, misspelled(_alike(name), known)


def _words(options: str) -> Iterator[str]:
    """The words up to `--`, behind which the kernel reads nothing."""
    for word in _WORD.findall(options):
        if word == "--":
            return
        yield word


def _is_silent(name: str, table: Table) -> bool:
    """Whether a parameter that .modinfo does not tell of is there nevertheless, or may be."""
    if name in _OF_ALL or name.endswith(".dyndbg"):
        return True
    return any(not entry.name or _alike(entry.name) == name for entry in table())


def _alike(name: str) -> str:
    # The kernel compares parameters' names so (kernel/params.c, parameq()).
    return name.replace("-", "_")


def _why(kind: str, value: str, given: bool) -> str:
    kind, array = kind.removeprefix("array of "), kind.startswith("array of ")
    if kind in ("bool", "invbool", "bint"):
        good = (not given and kind == "bool") or value in _TRUTH or value[:2] in _TRUTH
        return "" if good else f"it takes a bool (y, n, 1, 0), and '{value}' is none"
    if not given:
        return f"it takes a value, {_a(kind)}" if kind else ""
    if kind not in _LIMITS:
        return ""  # its own function reads it, or its size is the machine's
    low, high = _LIMITS[kind]
    for part in value.split(",") if array else [value]:
        if not _NUMBER.match(part):
            return f"it takes {_a(kind)}, and '{part}' is none"
        if not low <= int(part, 16 if "x" in part.lower() else 8 if re.match(r"[+-]?0\d", part) else 10) <= high:
            return f"it takes {_a(kind)}, {low} to {high}"
    return ""


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
