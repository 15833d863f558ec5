"""The order of the hash tables in which kmod keeps modules and symbols, and so of what it writes out of them."""

from __future__ import annotations

import struct


def hashed_order(key: bytes, buckets: int) -> tuple[int, bytes]:
    """What sorts keys as a table of so many buckets holds them. Found out from depmod's output."""
    return superfast_hash(key) % buckets, key


def superfast_hash(key: bytes) -> int:
    """Paul Hsieh's SuperFastHash, over little-endian 16-bit words, begun with the length; for 7-bit keys."""
    count, rest = divmod(len(key), 4)
    value = len(key)
    words = struct.unpack_from(f"<{count * 2}H", key)
    for low, high in zip(words[::2], words[1::2], strict=True):
        value = (value + low) & 0xFFFFFFFF
        value = (value << 16 ^ high << 11 ^ value) & 0xFFFFFFFF
        value = (value + (value >> 11)) & 0xFFFFFFFF
    if rest:
        at = count * 4
        if rest == 1:
            value = (value + key[at]) & 0xFFFFFFFF
            value = (value ^ value << 10) & 0xFFFFFFFF
            value += value >> 1
        else:
            value = (value + (key[at] | key[at + 1] << 8)) & 0xFFFFFFFF
            if rest == 3:
                value = (value ^ value << 16 ^ key[at + 2] << 18) & 0xFFFFFFFF
                value += value >> 11
            else:
                value = (value ^ value << 11) & 0xFFFFFFFF
                value += value >> 17
    value &= 0xFFFFFFFF
    value = (value ^ value << 3) & 0xFFFFFFFF
    value = (value + (value >> 5)) & 0xFFFFFFFF
    value = (value ^ value << 4) & 0xFFFFFFFF
    value = (value + (value >> 17)) & 0xFFFFFFFF
    value = (value ^ value << 25) & 0xFFFFFFFF
    return (value + (value >> 6)) & 0xFFFFFFFF
