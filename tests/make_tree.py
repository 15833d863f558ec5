"""Makes small module trees on disk, out of tiny .ko files."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from make_ko import make_ko

RELEASE = "6.0.0-test"
COMPRESS = {".gz": partial(gzip.compress, mtime=0), ".xz": partial(lzma.compress, check=lzma.CHECK_CRC32)}


def make_tree(
    root: Path,
    modules: Mapping[str, Mapping[str, Any]],
    *,
    builtin: Mapping[str, list[str]] | None = None,
    config: str = "",
    release: str = RELEASE,
) -> Path:
    """ROOT with lib/modules/RELEASE.

    MODULES maps a path below it, whose suffix compresses the file, to make_ko()'s arguments, in the order of
    modules.order. BUILTIN maps builtin modules' names to their aliases. CONFIG becomes etc/modprobe.d/test.conf.
    """
    directory = root / "lib" / "modules" / release
    directory.mkdir(parents=True)
    for path, what in modules.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        compress = COMPRESS.get(Path(path).suffix, bytes)
        (directory / path).write_bytes(compress(make_ko(**what)))
    order = "".join(f"{path}\n" for path in modules)
    (directory / "modules.order").write_text(order, errors="surrogateescape")
    builtin = builtin or {}
    (directory / "modules.builtin").write_text("".join(f"kernel/{name}.ko\n" for name in builtin))
    fields = [f"{name}.alias={alias}" for name, aliases in builtin.items() for alias in aliases]
    (directory / "modules.builtin.modinfo").write_bytes(b"".join(field.encode() + b"\0" for field in fields))
    if config:
        (root / "etc" / "modprobe.d").mkdir(parents=True)
        (root / "etc" / "modprobe.d" / "test.conf").write_text(config)
    return root
