"""Which of a kernel's options a symbol comes with, by the headers that a distribution keeps beside its modules."""

from __future__ import annotations

import re
from pathlib import Path

from tinykmod.inspect.kernel import Kernel
from tinykmod.inspect.roots import followed

_CONDITION = re.compile(r"^\s*#\s*(if|ifdef|ifndef|elif|else|endif)\b(.*)")
_OPTION = re.compile(r"\bCONFIG_\w+?(?=_MODULE\b|\b)")


def option_of(symbol: str, kernel: Kernel) -> str:
    """The option, not set in KERNEL, around the declaration of SYMBOL; empty where none is found."""
    if not kernel.config:
        return ""
    declared = re.compile(rf"\b{re.escape(symbol)}\s*(\(|;|\[)")
    for directory in _headers(kernel):
        for header in sorted(directory.rglob("*.h")):
            try:
                text = header.read_text(errors="replace")
            except OSError:
                continue
            if symbol in text and (option := _around(text, declared, kernel.config)):
                return option
    return ""


def _headers(kernel: Kernel) -> list[Path]:
    """The include/ of the links that `make modules_install` and distributions leave: build/ and source/."""
    places = (followed(kernel.root, kernel.directory / name / "include") for name in ("source", "build"))
    return list(dict.fromkeys(place for place in places if place is not None and place.is_dir()))


def _around(text: str, declared: re.Pattern[str], config: dict[str, str]) -> str:
    """The innermost option that is not set of the conditions under which the symbol is declared."""
    within: list[tuple[str, str]] = []
    for line in text.split("\n"):
        if found := _CONDITION.match(line):
            word, rest = found.groups()
            if word == "endif":
                within = within[:-1]
            elif word in ("else", "elif"):
                within = [*within[:-1], ("other", "")]
            else:
                within.append((word, rest))
        elif declared.search(line) and not line.lstrip().startswith(("static", "#", "*", "/")):
            for word, condition in reversed(within):
                options = _OPTION.findall(condition) if word in ("if", "ifdef") else []
                if option := next((option for option in options if option not in config), ""):
                    return str(option)
    return ""
