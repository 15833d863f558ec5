"""The kernel command line, split as the kernel splits it (lib/cmdline.c), and what it says of modules."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

#: Bytes that are read; kmod reads as many.
LIMIT = 4095
_BLANKS = " \t\n"
#: What no module's name has.
_UNNAMED = frozenset(f'{_BLANKS}"')


class Word(NamedTuple):
    """One word: VALUE is None where it has no `=`."""

    key: str
    value: str | None


def parse(text: str) -> list[Word]:
    """The words of TEXT, /proc/cmdline or as much. Blanks inside double quotes do not end a word; quotes around the
    word, or around its value, are not part of it: `a="b c"` and `"a=b c"` are the same word. A value with further
    quotes stays as it is written."""
    words: list[Word] = []
    data = text.encode("utf-8", "surrogateescape")[:LIMIT]
    # The last newline is that of /proc/cmdline.
    text = data.partition(b"\0")[0].removesuffix(b"\n").decode("utf-8", "surrogateescape")
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
        inner = value.removesuffix('"') if whole or value.startswith('"') else value
        inner = inner.removeprefix('"')
        words.append(Word(text[start:equals], value if '"' in inner else inner))


def parameters(text: str) -> Iterator[tuple[str, str]]:
    """What TEXT gives to modules: a module, and `PARAM` or `PARAM=VALUE` as the kernel wants it at the module's load.

    Only the module's part of the key is normalised; a value with blanks is quoted, if it has no quotes of its own;
    `a.b.c` belongs to nobody, and neither does `modprobe.blacklist=`.
    """
    for key, value in parse(text):
        name, dot, param = key.partition(".")
        if not dot or not param or "." in param or _UNNAMED.intersection(name) or _is_blacklist(key, value):
            continue
        if value is not None:
            quoted = (" " in value or "\t" in value) and '"' not in value
            param += f'="{value}"' if quoted else f"={value}"
        yield name.replace("-", "_"), param


def blacklisted(text: str) -> Iterator[str]:
    """The modules that `modprobe.blacklist=` lists, normalised; kmod leaves that out, so that they have no effect."""
    for key, value in parse(text):
        if value is not None and _is_blacklist(key, value):
            yield from value.replace("-", "_").split(",")


def _is_blacklist(key: str, value: str | None) -> bool:
    return key == "modprobe.blacklist" and value is not None
