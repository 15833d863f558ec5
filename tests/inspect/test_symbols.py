"""Symbols against the kernels that Debian ships, whose modules know the CRC of each symbol that they need."""

from __future__ import annotations

from pathlib import Path

import pytest
from make_tree import RELEASE, make_tree

from tinykmod.bench import debian as debian_archive
from tinykmod.bench.debian import Kernel
from tinykmod.errors import TinykmodError
from tinykmod.inspect import symbols
from tinykmod.inspect.judge import User
from tinykmod.inspect.raw_kernel import raw_exports
from tinykmod.inspect.symbols import KERNEL, Export, Symbols
from tinykmod.modules.tree import ModuleTree, read_tree


@pytest.fixture(scope="module")
def tree(kernel: Kernel) -> ModuleTree:
    return read_tree(kernel.root, kernel.release)


@pytest.fixture(scope="module")
def debian(kernel: Kernel, tree: ModuleTree) -> Symbols:
    return Symbols.of(tree, kernel.root)


def test_every_import_of_debian_has_an_exporter_with_its_crc(tree: ModuleTree, debian: Symbols) -> None:
    own = debian.kernel.exports
    compared = 0
    for module in tree.modules:
        for symbol, crc in module.elf.imports.items():
            assert symbol in module.elf.weak or not debian.is_unknown(symbol), (module.name, symbol)
            if symbol in own and crc is not None:
                assert own[symbol].crc == crc, (module.name, symbol)
                compared += 1
    assert compared > 100_000
    assert debian.is_unknown("no_such_symbol")


def test_an_image_without_sections() -> None:
    """arm64's Image: what is read from it is what the modules that were built with it know."""
    arm = debian_archive.fetch_kernel("linux-image-arm64", "arm64")
    tree = read_tree(arm.root, arm.release)
    read = Symbols.of(tree, arm.root)
    own = read.kernel.exports
    assert read.kernel.source == arm.vmlinuz
    for module in tree.modules:
        for symbol, crc in module.elf.imports.items():
            assert symbol in module.elf.weak or not read.is_unknown(symbol), (module.name, symbol)
            assert symbol not in own or crc is None or own[symbol].crc == crc, (module.name, symbol)
    told = [(own[name].gpl_only, own[name].namespace) for name in ("_printk", "device_add", "dma_buf_get")]
    assert told == [(False, ""), (True, ""), (True, "DMA_BUF")]
    image = arm.vmlinuz.read_bytes()
    for damaged in (
        image[: len(image) // 2],
        image.replace(b"\0module_layout\0", b"\0module_lay0ut\0"),
        b"",
        bytes(99),
    ):
        assert raw_exports(damaged) == []


def test_namespaces_and_gpl_only(debian: Symbols) -> None:
    def found(symbol: str) -> list[tuple[str, bool | None, str | None]]:
        return [(export.owner, export.gpl_only, export.namespace) for export in debian.find(symbol)]

    assert found("_printk") == [(KERNEL, False, "")]
    assert found("ata_link_next") == [("libata", True, "")]
    assert found("dma_buf_get") == [(KERNEL, True, "DMA_BUF")]
    assert found("usb_stor_probe1") == [("usb_storage", True, "USB_STORAGE")]
    assert found("no_such_symbol") == []


def test_every_namespace_that_is_used_is_imported(tree: ModuleTree, debian: Symbols) -> None:
    """Debian's modules load, so each names the namespaces of all that it needs."""
    for name in ("uas", "ums_alauda", "snd_hda_codec_realtek", "nvmet"):
        module = tree.by_name[name]
        needed = {export.namespace for symbol in module.elf.imports for export in debian.find(symbol)} - {"", None}
        assert needed <= set(module.values("import_ns"))


def test_module_symvers_and_system_map(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"kernel/a.ko": {"exports": {"of_a": 7}, "imports": {"printk": 1, "lost": 2}}})
    tree = read_tree(root, RELEASE)
    assert Symbols.of(tree, root).kernel.source is None
    assert not Symbols.of(tree, root).is_unknown("lost")
    boot = root / "boot"
    boot.mkdir()
    table = boot / f"System.map-{RELEASE}"
    table.write_text("ffff B The real System.map is in another package\n")
    assert Symbols.of(tree, root).kernel.source is None
    table.write_text(
        "10 r __ksymtab_printk\n20 R __start___ksymtab_gpl\n20 r __ksymtab_kick\n30 R __stop___ksymtab_gpl\n"
    )
    read = Symbols.of(tree, root)
    assert read.kernel.source == table
    assert [read.kernel.exports[name].gpl_only for name in ("printk", "kick")] == [False, True]
    assert [read.is_unknown(name) for name in ("printk", "lost", "of_a")] == [False, True, False]
    (boot / "build").mkdir()
    (boot / "build" / "Module.symvers").write_text(
        "0x00000001\tprintk\tvmlinux\tEXPORT_SYMBOL\t\n0x0000abcd\tkick\tvmlinux\tEXPORT_SYMBOL_GPL\tFEET\n"
        "0x00000002\tof_b\tdrivers/b\tEXPORT_SYMBOL\t\n"
    )
    # As in a root of another machine: the link means that root's /boot.
    (tree.directory / "build").symlink_to("/boot/build")
    assert Symbols.of(tree, root).kernel.exports == {
        "printk": Export("printk", KERNEL, 1, False, ""),
        "kick": Export("kick", KERNEL, 0xABCD, True, "FEET"),
    }


def test_damaged_kernels_are_told_in_one_line(tmp_path: Path, vmlinux: Path) -> None:
    whole = vmlinux.read_bytes()
    for number, data in enumerate((whole[:100], whole[:1000], whole[: len(whole) // 2])):
        path = tmp_path / f"vmlinux-{number}"
        path.write_bytes(data)
        with pytest.raises(TinykmodError, match=f"vmlinux-{number}: "):
            symbols.read_exports(path)


@pytest.mark.parametrize(
    ("licenses", "compatible"),
    [(["GPL"], True), (["GPL v2", "Dual MIT/GPL"], True), (["GPL", "Proprietary"], False), ([], False)],
)
def test_licenses(licenses: list[str], compatible: bool) -> None:
    assert User.of("m", [("license", license) for license in licenses]).is_gpl is compatible


@pytest.mark.parametrize(("namespace", "open_"), [
    (None, True), ("", True), ("ONE", True), ("OTHER", False), ("module:a,m-one", True), ("module:m-*", True),
    ("module:m", False), ("module:other-*", False),
])  # fmt: skip
def test_namespaces(namespace: str | None, open_: bool) -> None:
    """Those of modules' names are kernel/module/main.c's, verify_module_namespace()."""
    assert User.of("m_one", [("import_ns", "ONE"), ("import_ns", "TWO")]).may_use(namespace) is open_
