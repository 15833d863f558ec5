"""Real faults in real modules: Debian's own, cut, changed and linked anew, each under a name of its own."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from make_signature import appended, pkcs7

from tinykmod.bench.debian import Kernel
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.kmod.signature import without_signature

THIS_MODULE = ".gnu.linkonce.this_module"
AARCH64 = 183
DUMMY = "kernel/drivers/net/dummy.ko"


class Patched:
    """The bytes of a module, without its signature, in which pieces are replaced by others of the same length."""

    def __init__(self, data: bytes, *, signed: bool = False) -> None:
        self.data = bytearray(data if signed else without_signature(data, "module"))

    def replace(self, section: str, old: bytes, new: bytes) -> Patched:
        """Put NEW where OLD is in a section, which has it."""
        assert len(old) == len(new)
        there = ElfObject(bytes(self.data), "module").by_name[section]
        inside = bytes(self.data[there.offset : there.offset + there.size])
        assert old in inside, (section, old)
        self.data[there.offset : there.offset + there.size] = inside.replace(old, new)
        return self

    def rename(self, old: str, new: str) -> Patched:
        """Make it a module of another name."""
        self.replace(".modinfo", f"name={old}\0".encode(), f"name={new}\0".encode())
        return self.replace(THIS_MODULE, f"{old}\0".encode(), f"{new}\0".encode())

    def need(self, old: str, new: str) -> Patched:
        """Make it need a symbol of another name."""
        self.replace(".strtab", f"\0{old}\0".encode(), f"\0{new}\0".encode())
        return self.replace("__versions", f"{old}\0".encode(), f"{new}\0".encode())

    def version(self, symbol: str, crc: int) -> Patched:
        """Make it built against another version of a symbol."""
        there = ElfObject(bytes(self.data), "module").by_name["__versions"]
        for at in range(there.offset, there.offset + there.size, 64):
            if self.data[at + 8 : at + 64].rstrip(b"\0") == symbol.encode():
                struct.pack_into("<Q", self.data, at, crc)
                return self
        raise AssertionError(symbol)

    def export(self, old: str, new: str) -> Patched:
        """Make it export a symbol under another name."""
        for section in ".strtab", "__ksymtab_strings":
            self.replace(section, f"{old}\0".encode(), f"{new}\0".encode())
        return self

    def machine(self, number: int) -> Patched:
        """Make it one for another architecture."""
        struct.pack_into("<H", self.data, 18, number)
        return self


def _dummy(name: str, change: Callable[[Patched], Patched] = lambda module: module
           ) -> tuple[str, Callable[[bytes], bytes]]:  # fmt: skip
    return DUMMY, lambda data: bytes(change(Patched(data).rename("dummy", name)).data)


#: Name -> the module that it is made of, and how.
FAULTS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "fsymb": _dummy("fsymb", lambda module: module.need("strscpy", "strscpz")),
    "fgplx": _dummy("fgplx", lambda module: module.replace(".modinfo", b"license=GPL", b"license=BSD")),
    "fcrcx": _dummy("fcrcx", lambda module: module.version("strscpy", 0x1234)),
    "flayt": _dummy("flayt", lambda module: module.version("module_layout", 0x5678)),
    "fmagi": _dummy("fmagi", lambda module: module.replace(".modinfo", b" SMP ", b" UPX ")),
    "farch": _dummy("farch", lambda module: module.machine(AARCH64)),
    "fbtfx": _dummy("fbtfx", lambda module: module.replace(".BTF", b"\x9f\xeb\x01", b"\x9f\xec\x01")),
    "fparm": _dummy("fparm"),
    "fnsig": _dummy("fnsig"),
    "fsign": (DUMMY, lambda data: bytes(Patched(data, signed=True).rename("dummy", "fsign").data)),
    "fnsp": ("kernel/crypto/cmac.ko", lambda data: bytes(
        Patched(data).rename("cmac", "fnsp").replace(".modinfo", b"import_ns=", b"import_nz=").data)),
    "fdup": ("kernel/lib/crc8.ko", lambda data: bytes(Patched(data).rename("crc8", "fdup").data)),
    # With a signature, but by nobody whom the kernel knows.
    "fkeyx": (DUMMY, lambda data: bytes(Patched(data).rename("dummy", "fkeyx").data + appended(pkcs7()))),
    "fnver": _dummy("fnver", lambda module: module.replace(".shstrtab", b"\0__versions\0", b"\0__versionz\0")),
    "fkernl": ("kernel/lib/math/cordic.ko", lambda data: bytes(
        Patched(data).rename("cordic", "fkernl").export("cordic_calc_iq", "__bitmap_clear").data)),
    "fbusy300": ("kernel/drivers/watchdog/i6300esb.ko",
                 lambda data: bytes(Patched(data).rename("i6300esb", "fbusy300").data)),
    "fcut": (DUMMY, lambda data: data[: len(data) * 6 // 10]),
    "ftext": (DUMMY, lambda _: b"#!/bin/sh\necho no module\n"),
}  # fmt: skip
#: Those that are not ELF objects, of which no index can be made.
UNREADABLE = ("fcut", "ftext")
#: With this in modprobe.d.
OPTIONS = "options fparm numdummies=many\n"


def make_root(root: Path, kernel: Kernel) -> Path:
    """ROOT with the modules and boot/ of a kernel (links), and below updates/ those of FAULTS."""
    modules = Path("lib/modules", kernel.release)
    shutil.copytree(kernel.root / modules, root / modules, symlinks=True, copy_function=os.link)
    shutil.copytree(kernel.root / "boot", root / "boot", copy_function=os.link)
    for name, (path, make) in FAULTS.items():
        file = root / modules / "updates" / f"{name}.ko"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(make((kernel.root / modules / path).read_bytes()))
    (root / "etc/modprobe.d").mkdir(parents=True)
    (root / "etc/modprobe.d/faults.conf").write_text(OPTIONS)
    return root
