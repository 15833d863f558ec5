"""Modaliases for alias patterns."""

from __future__ import annotations

import re


def example(pattern: str) -> str:
    """A modalias that PATTERN matches: something for each star (a `/` and a `-` among it), a member of each class."""
    text = re.sub(r"\[(.)[^]]*\]", r"\1", pattern)
    return text.replace("*", "x-1/b").replace("?", "q")
