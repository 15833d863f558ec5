"""How an image stores modules: as the tree does, or packed by themselves, without signatures or debug sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.image import kernel_config
from tinykmod.image.firmware import Source
from tinykmod.image.snapshot import Snapshot
from tinykmod.kmod.signature import MAGIC as SIGNED
from tinykmod.kmod.signature import without_signature
from tinykmod.modules import packed
from tinykmod.modules.compression import decompress
from tinykmod.modules.debug import without_debug
from tinykmod.modules.files import uncompressed
from tinykmod.modules.packed import pack
from tinykmod.modules.tree import Module

#: The kernel loads none but signed modules (CONFIG_MODULE_SIG_FORCE), or is locked down from the start.
ENFORCING = (
    "CONFIG_MODULE_SIG_FORCE",
    "CONFIG_LOCK_DOWN_KERNEL_FORCE_INTEGRITY",
    "CONFIG_LOCK_DOWN_KERNEL_FORCE_CONFIDENTIALITY",
)
#: The lockdowns under which it loads none but signed modules.
LOCKED_DOWN = ("integrity", "confidentiality")
UNSIGNED = (
    "--drop-signatures: the kernel takes the modules for unsigned: it is tainted (E), and one that is locked down, as"
    " under Secure Boot, refuses them"
)


@dataclass
class Storing:
    """For the modules of the tree in DIRECTORY and a kernel with the options KERNEL; POOL reads and packs them."""

    directory: Path
    kernel: Mapping[str, str]
    pack: bool
    drop_signatures: bool
    pool: Executor
    _begun: dict[str, Future[bytes]] = field(default_factory=dict)

    def path(self, module: Module) -> str:
        """Where it goes, relative to the tree's directory."""
        if self.pack:
            return uncompressed(module.path).removesuffix(".ko") + packed.SUFFIX
        return uncompressed(module.path) if self._decompresses(module) else module.path

    def begin(self, module: Module) -> None:
        """Have the pool get a module's contents before they are asked for."""
        self._begun[module.name] = self.pool.submit(self._contents, module)

    def take(self, module: Module) -> Callable[[], bytes]:
        """What waits for the bytes that go there, and alone keeps them. It raises ModuleFormatError, OSError."""
        if module.name not in self._begun:
            self.begin(module)
        return self._begun.pop(module.name).result

    def read(self, source: Source) -> Callable[[], bytes]:
        """As take(), of a firmware file."""
        return self.pool.submit(source.read).result

    def _contents(self, module: Module) -> bytes:
        source = self.directory / module.path
        data = source.read_bytes()
        if self._decompresses(module):
            data = decompress(data, str(source))
        if self.drop_signatures:
            data = without_signature(data, str(source))
        if not data.endswith(SIGNED):
            data = without_debug(data)
        return pack(data) if self.pack else data

    def _decompresses(self, module: Module) -> bool:
        if not module.compression:
            return False
        return (
            self.pack or self.drop_signatures or not kernel_config.loads_compressed(self.kernel, module.compression)
        )


def checks_signatures(kernel: Mapping[str, str]) -> bool:
    """Whether a kernel of these options looks at signatures; of one whose options are not known, that it does."""
    return not kernel or kernel.get("CONFIG_MODULE_SIG") == "y"


def check_unsigned(kernel: Mapping[str, str], where: Path, machine: Snapshot | None) -> None:
    """Raises TinykmodError where a kernel of these options, which stand in WHERE, enforces signatures, or MACHINE's
    did, or was told so on its command line."""
    if option := next((option for option in ENFORCING if kernel.get(option) == "y"), ""):
        raise TinykmodError(where, f"the kernel enforces signatures ({option}): --drop-signatures is refused")
    if machine and machine.lockdown in LOCKED_DOWN:
        why = f"the machine's kernel enforces signatures (it is locked down: {machine.lockdown})"
        raise TinykmodError("--drop-signatures", why)
    for word in machine.cmdline.split() if machine else ():
        key, _, value = word.partition("=")
        enforces = {
            # The kernel reads a bool by its first letter; once it is on it is not turned off.
            "module.sig_enforce": value[:1] in ("", *"1yYtT") or value[:2].lower() == "on",
            "lockdown": value in LOCKED_DOWN,
        }
        if enforces.get(key.replace("-", "_")):
            raise TinykmodError("--drop-signatures", f"the machine's kernel enforces signatures ({word})")
