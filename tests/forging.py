"""Boot indexes that lie: words changed, and the checksum put right."""

from __future__ import annotations

import struct

from hypothesis import strategies as st

from tinykmod.index.schema import HEADER, checksum, layout

#: (where from the directory of sections on, the word that is put there): small ones are nearly right.
EDITS = st.lists(
    st.tuples(st.floats(0, 1, exclude_max=True), st.one_of(st.integers(0, 2**32 - 1), st.integers(0, 40))), max_size=6
)


def forge(data: bytes, edits: list[tuple[float, int]]) -> bytes:
    """DATA with words changed and the checksum put right."""
    forged = bytearray(data)
    for where, word in edits:
        at = 80 + int(where * (len(data) - 84)) // 4 * 4
        forged[at : at + 4] = struct.pack("<I", word)
    names = list(HEADER)
    at = struct.calcsize("<" + layout({name: HEADER[name] for name in names[: names.index("sum")]}))
    forged[at : at + 16] = struct.pack("<QQ", *checksum(forged, "little"))
    return bytes(forged)
