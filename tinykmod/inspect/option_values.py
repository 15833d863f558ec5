"""Whether a module takes the parameters that it is given, by their types and what the kernel reads of each
(kernel/params.c)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

from tinykmod.kmod.modinfo import parameters

#: Parameters that every module has (kernel/module/main.c, lib/dynamic_debug.c).
_COMMON = frozenset(("async_probe", "dyndbg"))
_LIMITS: Mapping[str, tuple[int, int]] = {
    "byte": (0, 2**8 - 1), "short": (-(2**15), 2**15 - 1), "ushort": (0, 2**16 - 1), "int": (-(2**31), 2**31 - 1),
    "uint": (0, 2**32 - 1), "hexint": (0, 2**32 - 1), "ullong": (0, 2**64 - 1),
}  # fmt: skip
_TRUTH = ("y", "Y", "1", "n", "N", "0", "on", "oN", "On", "ON", "of", "oF", "Of", "OF")
_WORD = re.compile(r'(?:[^\s"]|"[^"]*")+')
_NUMBER = re.compile(r"[+-]?(?:0[xX][0-9a-fA-F]+|[0-9]+)$")


def why_invalid(modinfo: Iterable[tuple[str, str]], options: str) -> Iterator[tuple[str, str, str, bool]]:
    """Each word of OPTIONS that the module does not take: the word, the parameter, why, and whether it is refused
    for it (a parameter that it does not have is passed over).

    A driver may refuse more than its parameters' types tell.
    """
    known = {each.name.replace("-", "_"): each for each in parameters(modinfo)[0]}
    for word in _WORD.findall(options):
        key, equals, value = word.partition("=")
        name = key.replace("-", "_")
        parameter = known.get(name)
        if parameter is None:
            if name not in _COMMON:
                near = get_close_matches(name, known, 1)
                hint = f"; the nearest is {near[0]}" if near else ""
                yield word, name, f"the module has none of this name, and the kernel passes over it{hint}", False
            continue
        why = _why(parameter.type or "", value.strip('"'), bool(equals))
        if why:
            about = f" ({' '.join(parameter.description.split())})" if parameter.description else ""
            yield word, name, f"{why}{about}", True


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
