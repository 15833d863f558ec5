"""The options that a kernel was built with, as far as they decide what its image must be like."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from tinykmod.modules.directory import directory_of


def path(root: Path, release: str) -> Path:
    """Where distributions keep the options of a kernel: in boot, or (Fedora, openSUSE) beside its modules."""
    beside = directory_of(root, release) / "config"
    return beside if beside.exists() else root / "boot" / f"config-{release}"


def read(root: Path, release: str) -> dict[str, str]:
    """Option -> value, quotes taken off; empty where the file is not there. `# X is not set` is left out."""
    try:
        text = path(root, release).read_text(errors="surrogateescape")
    except FileNotFoundError:
        return {}
    return {name: value.strip('"') for name, value in re.findall(r"^(CONFIG_\w+)=(.*)$", text, re.MULTILINE)}


def loads_compressed(config: Mapping[str, str], compression: str) -> bool:
    """Whether the kernel itself decompresses a module of COMPRESSION (gzip, xz, zstd): it knows one, or none."""
    options = ("CONFIG_MODULE_DECOMPRESS", f"CONFIG_MODULE_COMPRESS_{compression.upper()}")
    return all(config.get(option) == "y" for option in options)
