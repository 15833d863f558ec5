"""A small tree, and a machine on which some of it is loaded."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest
from beside_kmod import add_loaded
from make_machine import Machine
from make_tree import RELEASE, make_tree

FOO = {
    "modinfo": [
        ("name", "foo"),
        ("description", "Driver of the Foo"),
        ("license", "GPL"),
        ("author", "A. Nother"),
        ("version", "2.1"),
        ("vermagic", f"{RELEASE} SMP mod_unload "),
        ("alias", "pci:v00001234d00000001sv*sd*bc*sc*i*"),
        ("alias", "pci:v00001234d0000FF0[0-7]sv*sd*bc*sc*i*"),
        ("alias", "char-major-10-99"),
        ("firmware", "foo/one.bin"),
        ("firmware", "foo/two.bin"),
        ("parmtype", "depth:uint"),
        ("parm", "depth:How many of them, at most 64"),
        ("parmtype", "secret:charp"),
        ("softdep", "pre: crc-fast post: bar"),
        ("weakdep", "baz"),
    ],
    "imports": ["lib_go", "lib_stop", "printk", "add_disk"],
}
MODULES = {
    "kernel/lib/base.ko": {"modinfo": [("license", "GPL")], "exports": ["base_up"]},
    "kernel/lib/lib-foo.ko": {
        "modinfo": [("license", "GPL")],
        "exports": ["lib_go", "lib_stop", "lib_more"],
        "imports": ["base_up"],
    },
    "kernel/crypto/crc_fast.ko": {"modinfo": [("license", "GPL")]},
    "kernel/drivers/foo.ko": FOO,
    "kernel/drivers/bar.ko.xz": {"modinfo": [("license", "GPL"), ("softdep", "pre: foo")], "imports": ["lib_go"]},
    "kernel/drivers/baz.ko.gz": {"modinfo": [("license", "GPL")], "imports": ["lib_more"]},
}
CONFIG = """\
options foo depth=3
blacklist bar
# of nothing that is there
options other x=1
softdep foo pre: baz
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root with MODULES, CONFIG and one of foo's firmware files; depmod has not been there."""
    builtin = {"inside": ["platform:inside"]}
    root = make_tree(tmp_path / "root", MODULES, builtin=builtin, config=CONFIG)
    (root / "lib/firmware/foo").mkdir(parents=True)
    (root / "lib/firmware/foo/one.bin.xz").write_bytes(lzma.compress(b"firmware", check=lzma.CHECK_CRC32))
    return root


@pytest.fixture
def sysroot(tmp_path: Path) -> Path:
    """A machine with a Foo, on which foo is loaded, and a device that nothing drives."""
    machine = Machine(tmp_path / "sysroot", cmdline="quiet foo.depth=5")
    machine.device("pci0000:00/0000:00:02.0", "pci", "pci:v00001234d00000001sv0sd0bc01sc00i00", "foo", "foo")
    machine.device("pci0000:00/0000:00:03.0", "pci", "pci:v00001234d0000FF07sv0sd0bc01sc00i00")
    machine.device("pci0000:00/0000:00:04.0", "pci", "pci:v00001234d0000FF08sv0sd0bc01sc00i00")
    (machine.base / "proc/sys/kernel/osrelease").write_text(f"{RELEASE}\n")
    (machine.base / "sys/module/foo").rmdir()
    add_loaded(machine.base, "foo 20480 2 bar, Live 0x0")
    parameters = machine.base / "sys/module/foo/parameters"
    parameters.mkdir()
    (parameters / "depth").write_text("5\n")
    (parameters / "depth").chmod(0o644)
    (machine.base / "sys/module/foo/taint").write_text("OE\n")
    return machine.base
