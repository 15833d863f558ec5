"""fnmatch(3) as depmod's patterns need it: the C library's depends on the locale, Python's knows no `[^`."""

from __future__ import annotations


def in_class(bracket: bytes, char: int) -> bool:
    """Whether CHAR is in BRACKET, `[...]` with its brackets: ranges, and `!` or `^` in front negates."""
    position = 1
    end = len(bracket) - 1
    negate = position < end and bracket[position] in b"!^"
    position += negate
    found = False
    while position < end:
        low = high = bracket[position]
        if position + 2 < end and bracket[position + 1] == ord("-"):
            high = bracket[position + 2]
            position += 2
        found = found or low <= char <= high
        position += 1
    return found != negate


def glob(pattern: bytes, text: bytes) -> bool:
    """fnmatch(PATTERN, TEXT, 0) as depmod's patterns need it: `*` crosses `/`, `-` in the pattern equals `_`.

    TEXT is normalised. Only the last star is ever tried again: what an earlier one could take, it can take too.
    """
    p = t = 0
    star = -1
    retry = 0
    while True:
        if p < len(pattern) and pattern[p] == ord("*"):
            star, retry = p, t
            p += 1
            continue
        if t == len(text):
            if p == len(pattern):
                return True
        elif p < len(pattern):
            char = pattern[p]
            step = 1
            if char == ord("["):
                step = pattern.find(b"]", p) - p + 1
                if step <= 0:
                    return False
                same = in_class(pattern[p : p + step], text[t])
            elif char == ord("?"):
                same = True
            else:
                if char == ord("\\") and p + 1 < len(pattern):
                    step, char = 2, pattern[p + 1]
                same = (ord("_") if char == ord("-") else char) == text[t]
            if same:
                p += step
                t += 1
                continue
        if star < 0 or retry >= len(text):
            return False
        retry += 1
        p, t = star + 1, retry
