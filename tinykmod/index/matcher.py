"""The alias matcher: from patterns to nodes (compiler) and from a modalias to patterns (twin of core/match.pxi).

The patterns of a tree share long beginnings (`pci:v00008086d0000`, `of:N*T*C`), so they are merged into one
tree of tokens. A node stands for a run of ordinary characters, one wildcard, or, as soon as one pattern is
left alone, all that remains of it. A search walks only the branches that the modalias can still take.

Between two stars every token takes exactly one character, so the first place where a star's branch is reached
is the earliest one, and whatever follows from a later place follows from it too: each star is entered once
a search, and the cost is bounded by the length of the modalias times the nodes, whatever the patterns are.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tinykmod import core
from tinykmod.errors import ConfigError, TinykmodError
from tinykmod.index.schema import NONE, NodeKind
from tinykmod.kmod.glob import glob, in_class
from tinykmod.kmod.names import encoded, normalise_pattern

#: Nodes on one path at most.
DEEPEST = 512
#: Bytes of a name or modalias that is searched at most; an event of the kernel is shorter.
LONGEST = 4095

# Symbols above one byte: a pattern becomes a string in which each token is one character.
_STAR = "\u0100"
_ANY = "\u0101"
_CLASS = 0x200
_ESCAPED = 0x10000
_LEAST, _GREATEST = "\0", chr(0x10FFFF)
#: For str.translate(): from symbols to how they are spelled, and to what they stand for.
_SPELLING = {
    ord(_STAR): "*", ord(_ANY): "?", **{_ESCAPED + character: f"\\{chr(character)}" for character in range(0x100)}
}  # fmt: skip
MEANING = {_ESCAPED + character: chr(character) for character in range(0x100)}


@dataclass
class Pattern:
    """One alias: its text and what it leads to (a module's number, or NONE)."""

    text: str
    value: int


@dataclass
class Nodes:
    """The NODES and VALUES sections under construction: rows in the order of the schema's fields."""

    intern: Callable[[bytes], int]
    nodes: list[list[int]] = field(default_factory=list)
    values: list[tuple[int, int]] = field(default_factory=list)
    stars: int = 0

    def add(self, patterns: Iterable[Pattern]) -> int:
        """Build a matcher of PATTERNS; its root node's number, or NONE where there are none.

        Patterns that kmod refuses (a bracket that is not matched) are left out, as depmod leaves them out.
        """
        classes: dict[str, str] = {}
        rows: list[_Row] = []
        for number, pattern in enumerate(patterns):
            raw = pattern.text if pattern.text.isascii() else encoded(pattern.text).decode("latin-1")
            try:
                normalised = normalise_pattern(raw)
            except ConfigError:
                continue
            symbols = _symbols(normalised, classes)
            # Nearly all are spelled with one character a symbol.
            written = raw if len(symbols) == len(raw) else _symbols(raw, classes)
            rows.append((symbols, number, written, raw, pattern))
        if not rows:
            return NONE
        rows.sort()
        spelling = {**_SPELLING, **{ord(symbol): text for text, symbol in classes.items()}}
        root = len(self.nodes)
        (merge_patterns if core.extension is None else core.extension.merge_patterns)(self, rows, spelling)
        return root


def merge_patterns(tree: Nodes, rows: list[_Row], spelling: dict[int, str]) -> None:
    """Add to TREE the nodes of ROWS, which are sorted: their root first, the children of each in a row behind it."""
    root = len(tree.nodes)
    tree.nodes.append([0, 0, 0, NodeKind.LITERAL, 0])
    queue = deque([(root, rows, 0, "")])
    levels = {root: 0}
    while queue:
        parent, items, depth, prefix = queue.popleft()
        if levels[parent] >= DEEPEST - 1:
            raise too_deep(items[0][3])
        groups = _groups(items, depth)
        tree.nodes[parent][1:3] = [len(tree.nodes), len(groups)]
        for key, _, group in groups:
            for work in _child(tree, group, key, depth, prefix, spelling):
                levels[work[0]] = levels[parent] + 1
                queue.append(work)


def too_deep(pattern: str) -> TinykmodError:
    """That PATTERN leads to deeper than a search would go."""
    return TinykmodError(pattern, f"its beginnings are those of more than {DEEPEST} other aliases")


#: Normalised symbols, position (no two have the same), symbols as written (where each is one character, the text
#: itself), text as written, the pattern.
_Row = tuple[str, int, str, str, Pattern]
#: Node to complete, its rows, how many symbols lie before it, and how those are spelled.
_Work = tuple[int, list[_Row], int, str]


#: What is one symbol though it may be several characters, in a pattern that normalise_pattern() accepts.
_SPECIAL = re.compile(r"\[[^]]*\]|\\.|[*?]")


def _symbols(text: str, classes: dict[str, str]) -> str:
    """TEXT as one character a token; CLASSES collects the brackets that are met."""

    def symbol(found: re.Match[str]) -> str:
        token = found[0]
        if token[0] == "[":
            return classes.setdefault(token, chr(_CLASS + len(classes)))
        if token[0] == "\\":
            return chr(_ESCAPED + ord(token[1]))
        return _STAR if token == "*" else _ANY

    if "[" in text or "\\" in text:
        return _SPECIAL.sub(symbol, text)
    return text.replace("*", _STAR).replace("?", _ANY)


def _child(
    tree: Nodes, group: list[_Row], key: int, depth: int, prefix: str, spelling: dict[int, str]
) -> list[_Work]:
    """Append the node of GROUP, rows alike up to DEPTH and in the next symbol; what is left to do below it."""
    first, last = group[0][0], group[-1][0]
    number = len(tree.nodes)
    if first == last:
        tail = _spelled(group[0], depth, None, spelling)
        tree.nodes.append([_text(tree, tail), len(tree.values), len(group), NodeKind.TAIL, key])
        for _, _, _, raw, pattern in group:
            tree.values.append((pattern.value, 0 if raw == prefix + tail else _text(tree, raw)))
        return []
    symbol = first[depth]
    end = depth + 1
    if symbol == _STAR:
        tree.nodes.append([tree.stars, 0, 0, NodeKind.STAR, 0])
        tree.stars += 1
    elif symbol == _ANY:
        tree.nodes.append([0, 0, 0, NodeKind.ANY, 0])
    elif not _ordinary(symbol):
        tree.nodes.append([_text(tree, spelling[ord(symbol)]), 0, 0, NodeKind.CLASS, 0])
    else:
        while end < len(first) and first[end] == last[end : end + 1] and _ordinary(first[end]):
            end += 1
        label = _spelled(group[0], depth, end, MEANING)
        tree.nodes.append([_text(tree, label), 0, 0, NodeKind.LITERAL, key])
    return [(number, group, end, prefix + _spelled(group[0], depth, end, spelling))]


def _text(tree: Nodes, text: str) -> int:
    return tree.intern(text.encode("latin-1"))


def _spelled(row: _Row, begin: int, end: int | None, spelling: Mapping[int, str]) -> str:
    """What ROW's symbols from BEGIN to END are by SPELLING."""
    _, _, written, raw, _ = row
    return written[begin:end] if written is raw else written[begin:end].translate(spelling)


def _ordinary(symbol: str) -> bool:
    return ord(symbol) < 0x100 or ord(symbol) >= _ESCAPED


def _key(symbols: str, depth: int) -> int:
    code = ord(symbols[depth]) if depth < len(symbols) else _CLASS
    return code & 0xFF if code < 0x100 or code >= _ESCAPED else 0


def _groups(rows: list[_Row], depth: int) -> list[tuple[int, str, list[_Row]]]:
    """ROWS (sorted, alike up to DEPTH) by their next symbol, wildcards and ends first, then by character: the key of
    each such group, its symbol, and its rows."""
    groups = []
    start = 0
    while start < len(rows):
        # Behind all that goes on with the same symbol; what ends here goes on with none.
        first = rows[start][0]
        alike = first[: depth + 1]
        end = bisect_left(rows, (alike + (_GREATEST if len(alike) > depth else _LEAST),), start)
        groups.append((_key(first, depth), first[depth : depth + 1], rows[start:end]))
        start = end
    # No two have the same symbol, so that rows are never compared.
    groups.sort()
    return groups


class Search:
    """One search in a matcher. `found` collects (value's number, pattern's path as text) in no set order."""

    def __init__(self, nodes: Sequence[tuple[int, int, int, int, int]], string: Callable[[int], bytes]) -> None:
        self.nodes = nodes
        self.string = string
        self.found: dict[int, bytes] = {}
        self._entered: set[int] = set()
        self._budget = 0

    def run(self, root: int, text: bytes) -> dict[int, bytes]:
        """Every value whose pattern matches TEXT (normalised), with the pattern's spelling."""
        # Every star is entered once and every other node once a place: no tree of Nodes needs more, and a search
        # ends, whatever a damaged index says.
        self._budget = (len(self.nodes) + 1) * (len(text) + 1)
        if root != NONE:
            self._children(root, text, 0, b"", 0)
        return self.found

    def _children(self, node: int, text: bytes, at: int, prefix: bytes, depth: int) -> None:
        if depth >= DEEPEST:
            return
        _, first, count, _, _ = self.nodes[node]
        wanted = text[at] if at < len(text) else 0
        for child in range(first, first + count):
            label, below, values, kind, key = self.nodes[child]
            if key not in (0, wanted):
                continue
            if self._budget == 0:
                return
            self._budget -= 1
            if kind == NodeKind.TAIL:
                tail = self.string(label)
                if glob(tail, text[at:]):
                    for value in range(below, below + values):
                        self.found[value] = prefix + tail
            elif kind == NodeKind.STAR:
                if label not in self._entered:
                    self._entered.add(label)
                    for place in range(at, len(text) + 1):
                        self._children(child, text, place, prefix + b"*", depth + 1)
            elif kind == NodeKind.LITERAL:
                run = self.string(label)
                if text[at : at + len(run)] == run.replace(b"-", b"_"):
                    self._children(child, text, at + len(run), prefix + run, depth + 1)
            elif at < len(text):
                bracket = b"?" if kind == NodeKind.ANY else self.string(label)
                if kind == NodeKind.ANY or in_class(bracket, text[at]):
                    self._children(child, text, at + 1, prefix + bracket, depth + 1)
