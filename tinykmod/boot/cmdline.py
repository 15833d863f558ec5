"""The kernel command line, split as the kernel splits it (lib/cmdline.c): the twin of cext/core/cmdline.pxi."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Bytes that are read; kmod reads as many.
LIMIT = 4095
_BLANKS = " \t\n"
_BLACKLISTS = ("modprobe.blacklist", "module_blacklist", "rd.driver.blacklist")


class Word(NamedTuple):
    """One word: VALUE is None where it has no `=`."""

    key: str
    value: str | None


def parse(text: str) -> list[Word]:
    """The words of TEXT. Blanks inside double quotes do not end a word; quotes around the word, or around its
    value, are not part of it: `a="b c"` and `"a=b c"` are the same word."""
    words: list[Word] = []
    data = text.encode("utf-8", "surrogateescape")[:LIMIT]
    text = data.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    position = 0
    while True:
        while position < len(text) and text[position] in _BLANKS:
            position += 1
        if position == len(text):
            return words
        whole = quoted = text[position] == '"'
        position += whole
        start = position
        equals = None
        while position < len(text) and (quoted or text[position] not in _BLANKS):
            if text[position] == '"':
                quoted = not quoted
            elif text[position] == "=" and equals is None:
                equals = position
            position += 1
        if equals is None:
            words.append(Word(text[start:position].removesuffix('"'), None))
            continue
        value = text[equals + 1 : position]
        if whole or value.startswith('"'):
            value = value.removesuffix('"')
        words.append(Word(text[start:equals], value.removeprefix('"')))


def options_of(text: str, module: str) -> str:
    """What the command line TEXT gives to MODULE (`MODULE.PARAM[=VALUE]`, in order), as finit_module wants it.

    Only the module's part of the key is normalised; a value with blanks is quoted; `a.b.c` belongs to nobody.
    """
    out = []
    for key, value in parse(text):
        name, dot, param = key.partition(".")
        if not dot or not param or "." in param or name.replace("-", "_") != module.replace("-", "_"):
            continue
        if value is None:
            out.append(param)
        else:
            out.append(f'{param}="{value}"' if " " in value or "\t" in value else f"{param}={value}")
    return " ".join(out)


def blacklists(text: str, module: str) -> bool:
    """Whether TEXT keeps MODULE from being loaded on behalf of an alias (module_blacklist= among them).

    Names are normalised, which kmod leaves out for modprobe.blacklist=.
    """
    return any(module in names for _, names in _blacklisted(text))


def blacklisted_by_kernel(text: str, module: str) -> bool:
    """Whether `module_blacklist=` in TEXT lists MODULE: the kernel refuses it, whoever asks (EPERM)."""
    return any(module in names for key, names in _blacklisted(text) if key == "module_blacklist")


def _blacklisted(text: str) -> Iterator[tuple[str, list[str]]]:
    for key, value in parse(text):
        if key in _BLACKLISTS and value is not None:
            yield key, value.replace("-", "_").split(",")
