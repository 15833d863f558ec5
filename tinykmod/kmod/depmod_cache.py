"""What `depmod -A` remembers of a tree: which files it read, what it found in them, and what it wrote.

    line        MAGIC
    line        CRC-32 of the rest
    line        JSON: `inputs` (of all that is no module), `files` (path, identity and length of the record for each
                module file, in depmod's order), `outputs` (identities of the files written)
    records     one behind the other (tinykmod.kmod.depmod_record)

A file's identity is its inode, size, and times of modification and change. The cache may be deleted at any time; one
that is damaged, or made by another version, counts as none.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from tinykmod import __version__
from tinykmod.cache import cache_dir
from tinykmod.files import replacing
from tinykmod.kmod.names import encoded
from tinykmod.modules.files import ModuleFile

MAGIC = f"tinykmod depmod cache 1 {__version__} {sys.byteorder}\n".encode()
#: Nanoseconds within which a file system may give two changes the same time: FAT's two seconds.
GRAIN = 2_000_000_000


class DepmodCache:
    """The cache for one tree's directory and the directory that takes its files.

    inputs is what else the files depend on.
    """

    def __init__(self, directory: Path, target: Path, files: Sequence[ModuleFile], inputs: object) -> None:
        self._begun = time.time_ns()
        self._files = files
        self._target = target
        self._inputs = json.loads(json.dumps(inputs))
        self._identities = [
            _identity(file.path if file.path.startswith("/") else f"{directory}/{file.path}") for file in files
        ]
        key = hashlib.sha256(encoded(f"{directory}\0{target}")).hexdigest()
        self.path = cache_dir() / "depmod" / key[:32]
        self._header, self._records = _load(self.path)

    def is_current(self) -> bool:
        """Whether nothing changed since the files were written, these included."""
        head = self._header
        return (
            head.get("inputs") == self._inputs
            and [(path, identity) for path, identity, _ in head["files"]]
            == [(file.path, identity) for file, identity in zip(self._files, self._identities, strict=True)]
            and head["outputs"] == self._outputs(head["outputs"])
        )

    def records(self) -> dict[int, bytes]:
        """The records of the files that have not changed, by their place in files."""
        known = {}
        at = 0
        for path, identity, length in self._header.get("files", []):
            known[path] = (identity, at, length)
            at += length
        kept = {}
        for number, (file, identity) in enumerate(zip(self._files, self._identities, strict=True)):
            was, at, length = known.get(file.path, (None, 0, 0))
            if identity is not None and identity == was:
                kept[number] = self._records[at : at + length]
        return kept

    def write(self, records: Sequence[bytes], outputs: Iterable[str]) -> None:
        """Remember the files' records, and the names of the files that were written. Raises OSError."""
        # A file may change once more without its times telling so, if it changed just now.
        trusted = [
            identity if identity is not None and max(identity[2:]) < self._begun - GRAIN else None
            for identity in self._identities
        ]
        header = {
            "inputs": self._inputs,
            "files": [
                (file.path, identity, len(record))
                for file, identity, record in zip(self._files, trusted, records, strict=True)
            ],
            "outputs": self._outputs(outputs),
        }
        body = b"".join([json.dumps(header).encode(), b"\n", *records])
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(self.path) as out:
            out.write(MAGIC + b"%d\n" % zlib.crc32(body) + body)

    def _outputs(self, names: Iterable[str]) -> dict[str, list[int] | None]:
        return {name: _identity(f"{self._target}/{name}") for name in names}


def digests(paths: Iterable[Path]) -> list[str | None]:
    """What tells the contents of each file; None for one that is not there."""
    return [hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None for path in paths]


def _identity(path: str) -> list[int] | None:
    try:
        status = os.stat(path)  # noqa: PTH116  (thousands of them: a Path for each would cost as much again)
    except OSError:
        return None
    return [status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _load(path: Path) -> tuple[dict[str, Any], bytes]:
    try:
        with path.open("rb") as cache:
            if cache.readline() == MAGIC:
                crc, body = cache.readline(), cache.read()
                if crc == b"%d\n" % zlib.crc32(body):
                    header, _, records = body.partition(b"\n")
                    # Only what this version wrote has the CRC: the rest of its form need not be looked at.
                    return json.loads(header), records
    except (OSError, ValueError):
        pass  # what cannot be read or makes no sense is written anew
    return {}, b""
