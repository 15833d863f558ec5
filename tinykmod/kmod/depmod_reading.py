"""Module files read for depmod: by the extension in threads and without the GIL, or by its twin."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from threading import Thread
from typing import Any

from tinykmod import core
from tinykmod.kmod.depmod import KernelSymbols, exported
from tinykmod.kmod.depmod_record import pack, unpack
from tinykmod.kmod.names import encoded
from tinykmod.modules.files import ModuleFile
from tinykmod.modules.tree import Module, read_modules

Progress = Callable[[int, int], None]


class Reading:
    """What depmod wants to know of modules.

    kept: the records that are known already, by their place in files.
    progress, if given, is called with the number of files read and of all files.
    Raises ModuleFormatError for a file that is cut short, OSError.
    """

    def __init__(
        self,
        directory: Path,
        files: Sequence[ModuleFile],
        kept: Mapping[int, bytes],
        progress: Progress | None,
    ) -> None:
        self.directory = directory
        self.files = files
        self._kept = kept
        self._engine: Any = None
        if core.extension is None:
            missing = [file for number, file in enumerate(files) if number not in kept]
            self._read = {module.path: module.elf for module in read_modules(directory, missing, progress)}
        else:
            paths = (file.path if file.path.startswith("/") else f"{directory}/{file.path}" for file in files)
            self._engine = core.extension.Depmod([encoded(path) for path in paths])
            for number, record in kept.items():
                self._engine.give(number, record)
            self._run(progress)

    def record(self, number: int) -> bytes:
        """What is known of a file, by its place in files."""
        if self._engine is not None:
            record: bytes = self._engine.record(number)
            return record
        return self._kept[number] if number in self._kept else pack(self._read[self.files[number].path])

    def modules(self) -> list[Module]:
        """The modules; of modinfo they have aliases, softdeps and weakdeps only, and their size is not known."""
        return [
            Module(file.name, file.path, 0, self._read.get(file.path) or unpack(self._kept[number]))
            if self._engine is None
            else Module(file.name, file.path, 0, unpack(self.record(number)))
            for number, file in enumerate(self.files)
        ]

    def make(self, kernel: KernelSymbols | None) -> dict[str, bytes] | None:
        """depmod's files, but for those of builtin modules, as tinykmod.kmod.depmod.make() makes them.

        None without the extension, and where there is something to tell, which is then found out from modules():
        with kernel, that is also what symbol_faults() finds.
        """
        if self._engine is None:
            return None
        symbols = None if kernel is None else {encoded(name): crc for name, crc in exported(kernel).items()}
        versioned = kernel is not None and kernel.versioned
        names, paths = [encoded(file.name) for file in self.files], [encoded(file.path) for file in self.files]
        made: dict[str, bytes] | None = self._engine.make(names, paths, symbols, versioned)
        return made

    def _run(self, progress: Progress | None) -> None:
        failures: list[BaseException] = []

        def read() -> None:
            try:
                self._engine.read(_decompress)
            except BaseException as error:
                failures.append(error)

        # One waits for the others: it shows how far they are, and hears of Ctrl-C.
        threads = [Thread(target=read, daemon=True) for _ in range(min(len(os.sched_getaffinity(0)), 16))]
        for thread in threads:
            thread.start()
        for thread in threads:
            while thread.is_alive():
                thread.join(0.1)
                if progress is not None and thread.is_alive():
                    progress(self._engine.done, len(self.files))
        if failures:
            raise failures[0]
        if progress is not None:
            progress(len(self.files), len(self.files))


def _decompress(data: bytes, which: str) -> Iterator[bytes]:
    from tinykmod.modules.compression import pieces

    return pieces(data, which)
