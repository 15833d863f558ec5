"""The device nodes that are to be there before their modules are: modules.devname (kmod(8), tmpfiles.d(5))."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

_LINE = re.compile(r"\s*(\S+)\s+(\S+)\s+([bc])(\d+):(\d+)(?:\s.*)?", re.ASCII)


class Node(NamedTuple):
    """One line of modules.devname: opening the node loads the module."""

    module: str
    name: str  # below /dev
    type: str  # b or c
    major: int
    minor: int


def read_nodes(text: str) -> tuple[list[Node], list[str]]:
    """The nodes that modules.devname lists, and its lines that mean nothing or would lead out of /dev."""
    nodes, invalid = [], []
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None or found[2].startswith("/") or ".." in found[2].split("/"):
            invalid.append(line)
        else:
            nodes.append(Node(found[1], found[2], found[3], int(found[4]), int(found[5])))
    return nodes, invalid


def _human(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        yield f"Module: {node.module}"
        yield f"\tDevice node: /dev/{node.name}"
        yield f"\t\tType: {'block' if node.type == 'b' else 'character'} device"
        yield f"\t\tMajor: {node.major}"
        yield f"\t\tMinor: {node.minor}"


def _tmpfiles(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        if "/" in node.name:
            yield f"d /dev/{node.name.rpartition('/')[0]} 0755 - - -"
        yield f"{node.type}! /dev/{node.name} 0600 - - - {node.major}:{node.minor}"


def _devname(nodes: Iterable[Node]) -> Iterator[str]:
    for node in nodes:
        yield f"{node.module} {node.name} {node.type}{node.major}:{node.minor}"


#: The lines of each format.
FORMATS: dict[str, Callable[[Iterable[Node]], Iterator[str]]] = {
    "human": _human,
    "tmpfiles": _tmpfiles,
    "devname": _devname,
}
