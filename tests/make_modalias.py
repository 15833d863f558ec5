"""The modaliases of a board's devices, out of its compiled device tree (devicetree specification, chapter 5)."""

from __future__ import annotations

import struct
from collections.abc import Iterator

BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9


def modaliases(tree: bytes) -> Iterator[str]:
    """As the kernel makes them: of:N<name>T<device_type or (null)>C<compatible>C<compatible>..., blanks as `_`."""
    _, _, at, strings = struct.unpack_from(">4I", tree)
    open_nodes: list[tuple[str, dict[str, bytes]]] = []
    while (token := struct.unpack_from(">I", tree, at)[0]) != END:
        at += 4
        if token == BEGIN_NODE:
            name = _string(tree, at)
            open_nodes.append((name.partition("@")[0], {}))
            at += (len(name) + 4) & ~3
        elif token == PROPERTY:
            size, name_at = struct.unpack_from(">2I", tree, at)
            open_nodes[-1][1][_string(tree, strings + name_at)] = tree[at + 8 : at + 8 + size]
            at += (8 + size + 3) & ~3
        elif token == END_NODE:
            name, values = open_nodes.pop()
            if "compatible" in values:
                kind = values.get("device_type", b"(null)").rstrip(b"\0").decode()
                words = values["compatible"].rstrip(b"\0").decode().split("\0")
                yield f"of:N{name}T{kind}{''.join(f'C{word}' for word in words)}".replace(" ", "_")


def _string(tree: bytes, at: int) -> str:
    return tree[at : tree.index(b"\0", at)].decode()
