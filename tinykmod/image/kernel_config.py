"""The options that a kernel was built with, as far as they decide what its image must be like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tinykmod.modules.compression import GZIP, XZ, ZSTD

#: What begins a compressed module -> the option whose algorithm the kernel can undo by itself.
_COMPRESSION = {
    GZIP: "CONFIG_MODULE_COMPRESS_GZIP",
    XZ: "CONFIG_MODULE_COMPRESS_XZ",
    ZSTD: "CONFIG_MODULE_COMPRESS_ZSTD",
}


def path(root: Path, release: str) -> Path:
    """Where distributions keep the options of a kernel."""
    return root / "boot" / f"config-{release}"


def read(root: Path, release: str) -> dict[str, str]:
    """Option -> value, quotes taken off; empty where the file is not there. `# X is not set` is left out."""
    try:
        text = path(root, release).read_text(errors="surrogateescape")
    except FileNotFoundError:
        return {}
    return {name: value.strip('"') for name, value in re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)}


def loads_compressed(config: Mapping[str, str], start: bytes) -> bool:
    """Whether the kernel decompresses a module whose file begins with START itself: one algorithm, or none."""
    return config.get("CONFIG_MODULE_DECOMPRESS") == "y" and any(
        start.startswith(magic) and config.get(option) == "y" for magic, option in _COMPRESSION.items()
    )
