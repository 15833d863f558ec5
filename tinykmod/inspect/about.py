"""What is known of one module: the facts that `tinykmod show` prints."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from tinykmod.inspect.devices import Served, State
from tinykmod.inspect.memory import Memory
from tinykmod.inspect.params import Parameter
from tinykmod.inspect.symbols import Export
from tinykmod.kmod.modinfo import Field
from tinykmod.kmod.signature import Signature
from tinykmod.modules.classes import Evidence


class Need(NamedTuple):
    """A module that another needs, itself or through others."""

    name: str
    symbols: tuple[str, ...]  # that the one above it imports from it
    needs: tuple[Need, ...] = ()
    again: bool = False  # it was there before, with what it needs


class WrongSymbols(NamedTuple):
    """The symbols for which the kernel would refuse a module that was not built with it."""

    unknown: tuple[str, ...]  # nothing exports them
    other_crc: tuple[str, ...]  # exported in another version
    gpl_only: tuple[str, ...]  # which its license does not get
    namespace: tuple[str, ...]  # in one that it does not import


class Around(NamedTuple):
    """A module's softdeps or weakdeps, or those of others on it."""

    module: str  # as written: a name, a pattern, an alias
    kind: str  # pre, post or weak
    where: str  # in modprobe.d, FILE:LINE; empty: a module says so itself


class Said(NamedTuple):
    """A statement that touches a module."""

    where: str  # FILE:LINE, or the kernel command line
    text: str


class Load(NamedTuple):
    """One step of the load order."""

    name: str
    how: str  # finit_module, init_module (the kernel cannot decompress it), install (a command), builtin
    what: str  # the file, relative to the tree where it is in it; the command
    parameters: str
    flags: int = 0


@dataclass
class About:
    """One module. What there is none of is empty; None is what is not known."""

    name: str
    alias: str  # by which it was found
    release: str
    tree: str  # the tree's directory, empty where there is none
    file: str  # relative to the tree where it is in it; empty for what is built in
    builtin: bool
    fields: list[Field]
    classes: list[Evidence] = field(default_factory=list)
    compression: str = ""
    size: int | None = None  # bytes of the file
    unpacked: int | None = None
    memory: Memory | None = None
    signature: Signature | None = None
    signature_fault: str = ""  # why the signature that is there cannot be read
    exports: list[Export] = field(default_factory=list)
    needs: list[Need] = field(default_factory=list)
    kernel_symbols: list[str] = field(default_factory=list)
    wrong_symbols: WrongSymbols | None = None
    needed_by: list[str] = field(default_factory=list)
    parameters: list[Parameter] = field(default_factory=list)
    deps: list[Around] = field(default_factory=list)
    deps_of: list[Around] = field(default_factory=list)
    aliases: dict[str, list[str]] = field(default_factory=dict)
    devices: list[Served] | None = None
    firmware: dict[str, str | None] = field(default_factory=dict)  # name or pattern -> the file that is there
    config: list[Said] = field(default_factory=list)
    running: str | None = None  # the kernel of the machine that was looked at
    state: State | None = None
    load: list[Load] = field(default_factory=list)
    blocked: bool = False  # modprobe would load nothing: it was found by an alias, and is blacklisted

    @property
    def kernel(self) -> str:
        """The release of the kernel that it is looked at for: the tree's, else the one that it was built for."""
        return self.release or next(iter(self.value("vermagic").split()), "")

    def values(self, key: str) -> list[str]:
        """All values of one key of .modinfo."""
        return [value for name, value in self.fields if name == key]

    def value(self, key: str) -> str:
        """The first of them; empty where there is none."""
        return next(iter(self.values(key)), "")
