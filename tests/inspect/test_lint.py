"""lint: each rule finds what it is for in forged modules and in Debian's own, and nothing in a module that is in
order; the reports; the configuration."""

from __future__ import annotations

import json
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_ko import AARCH64, make_ko

from tinykmod.bench.debian import Kernel, fetch_kernel
from tinykmod.errors import TinykmodError
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.frames import _aarch64, frames
from tinykmod.inspect.lint import lint
from tinykmod.inspect.lint_config import LintConfig
from tinykmod.inspect.lint_rules import RULES
from tinykmod.inspect.param_table import param_table
from tinykmod.inspect.report import Finding, Level
from tinykmod.modules.tree import ModuleTree, read_tree

Run = Callable[..., subprocess.CompletedProcess[str]]

GOOD = [("license", "GPL"), ("description", "Does it."), ("author", "A. Nobody"), ("intree", "Y")]


def found(tmp_path: Path, **module: Any) -> list[tuple[str, str]]:
    """What lint finds in a forged module, whose symbols have no relocations."""
    path = tmp_path / "forged.ko"
    path.write_bytes(make_ko(**module))
    return [(finding.rule.name, finding.text) for finding in lint([path]) if finding.rule.name != "unused-import"]


@pytest.fixture(scope="module")
def tree(kernel: Kernel) -> ModuleTree:
    return read_tree(kernel.root, kernel.release)


@pytest.fixture(scope="module")
def debian(tree: ModuleTree) -> Callable[..., dict[str, list[str]]]:
    """debian(*names): what lint finds in these of Debian's modules, texts by rule."""

    def look(*names: str) -> dict[str, list[str]]:
        texts: dict[str, list[str]] = {}
        for finding in lint([tree.directory / tree.by_name[name].path for name in names]):
            texts.setdefault(finding.rule.name, []).append(finding.text)
        return texts

    return look


@pytest.mark.parametrize(
    ("modinfo", "wanted"),
    [
        (GOOD, []),
        (
            [],
            [
                ("no-license", "MODULE_LICENSE is missing"),
                ("no-description", "MODULE_DESCRIPTION is missing"),
                ("no-author", "MODULE_AUTHOR is missing"),
                ("no-version", "MODULE_VERSION is missing"),
                ("no-debug-info", "has no .debug_info and no .BTF"),
            ],
        ),
        ([("license", "GPLv2"), *GOOD], [("unknown-license", "license `GPLv2` is unknown to the kernel")]),
        ([*GOOD, ("version", "1.2.3-rc1")], []),
        ([*GOOD, ("version", "V2.0")], []),
        ([*GOOD, ("version", "$Revision: 4 $")], [("version-form", "version `$Revision: 4 $`")]),
        (
            [*GOOD, ("parmtype", "a:int"), ("parmtype", "b:int"), ("parm", "b:Told.")],
            [("undescribed-parameter", "without a description: a")],
        ),
        ([*GOOD, ("alias", "pci:v00008086d*sv*sd*bc*sc*i*")], []),
        (
            [*GOOD, ("alias", "pci:v*d*sv*sd*bc*sc*i*"), ("alias", "of:*"), ("alias", "platform:hmem*")],
            [
                ("broad-alias", "alias pci:v*d*sv*sd*bc*sc*i* matches every device"),
                ("broad-alias", "alias of:* matches every device"),
            ],
        ),
        (
            [*GOOD, ("depends", "core-one,two"), ("softdep", "pre: core_one three post: two")],
            [("redundant-softdep", "softdep core_one, which depends= has already")],
        ),
    ],
)
def test_modinfo(tmp_path: Path, modinfo: list[tuple[str, str]], wanted: list[tuple[str, str]]) -> None:
    assert found(tmp_path, modinfo=modinfo) == wanted


def test_a_driver_without_aliases(tmp_path: Path) -> None:
    text = ("no-alias-table", "registers a driver (pci), and has no alias of a device")
    driver = {"imports": ["__pci_register_driver"]}
    assert found(tmp_path, modinfo=GOOD, **driver) == [text]
    assert found(tmp_path, modinfo=[*GOOD, ("alias", "its-other-name")], **driver) == [text]
    assert found(tmp_path, modinfo=[*GOOD, ("alias", "pci:v00008086d*sv*sd*bc*sc*i*")], **driver) == []
    # A library of drivers; one that a protocol's sockets load.
    assert found(tmp_path, modinfo=GOOD, exports=["register_for_me"], **driver) == []
    assert found(tmp_path, modinfo=[*GOOD, ("alias", "net-pf-40")], **driver) == []
    # A platform driver's device may be its own.
    driver = {"imports": ["__platform_driver_register"]}
    assert found(tmp_path, modinfo=GOOD, **driver) == [(text[0], text[1].replace("pci", "platform"))]
    driver["imports"].append("platform_device_register_full")
    assert found(tmp_path, modinfo=GOOD, **driver) == []


def test_a_symbol_that_nothing_refers_to(tmp_path: Path) -> None:
    path = tmp_path / "forged.ko"
    path.write_bytes(make_ko(GOOD, imports=["left_over", "maybe"], weak=["maybe"]))
    assert [(f.rule.name, f.text) for f in lint([path])] == [("unused-import", "nothing refers to left_over")]


def test_debians_modules(debian: Callable[..., dict[str, list[str]]]) -> None:
    """Each of these was looked at with modinfo, nm and objdump."""
    assert debian("dm_crypt", "e1000", "fuse", "ahci", "usbhid") == {}
    assert debian("via_wdt")["no-alias-table"] == ["registers a driver (pci), and has no alias of a device"]
    assert debian("kempld_wdt")["no-alias-table"] == ["registers a driver (platform), and has no alias of a device"]
    assert "no-alias-table" not in debian("hv_sock", "pcspkr", "dcdbas")
    assert debian("hid_generic")["broad-alias"] == ["alias hid:b*g*v*p* matches every device"]
    assert debian("crc64_rocksoft")["redundant-softdep"] == ["softdep crc64, which depends= has already"]
    assert debian("myri10ge")["path-parameter"] == ["myri10ge_fw_name can be written (0644)"]
    assert debian("wireguard")["large-frame"] == [
        f"{function} takes 1040 bytes of stack" for function in ("root_free_rcu", "root_remove_peer_lists")
    ]
    assert debian("vhost")["uneven-export"] == ["vhost_chr_read_iter is GPL-only, vhost_chr_write_iter is not"]
    assert debian("ata_generic")["undescribed-parameter"] == ["without a description: all_generic_ide"]


def test_firmware_may_be_declared_by_another(debian: Callable[..., dict[str, list[str]]]) -> None:
    assert debian("adf7242")["undeclared-firmware"] == [
        "calls request_firmware, names adf7242_firmware.bin, and declares none"
    ]
    assert debian("dvb_as102")["undeclared-firmware"] == [
        "calls request_firmware, names as102_data1_dt.hex, as102_data1_st.hex, as102_data2_dt.hex and 1 more, and"
        " declares none"
    ]
    assert "undeclared-firmware" in debian("btusb")
    assert "undeclared-firmware" not in debian("btusb", "btmtk")


def test_tables_of_parameters(tree: ModuleTree) -> None:
    """modinfo has the names of those that have a type, the kernel the permissions: README of usbcore's parameters."""
    table = {
        entry.name: (entry.permissions, entry.operations)
        for entry in param_table(ElfObject(tree.read(tree.by_name["usbcore"]), "usbcore"))
    }
    assert table["autosuspend"] == (0o644, "param_ops_int")
    assert table["nousb"] == (0o444, "param_ops_bool")
    told = {value.partition(":")[0] for value in tree.by_name["usbcore"].values("parmtype")}
    assert told <= table.keys()


def test_tables_of_parameters_of_32_bits() -> None:
    """32-bit Arm's relocations have no addends: what they point to stands in the table itself."""
    [path] = fetch_kernel("linux-image-armmp", "armhf").root.rglob("drbd.ko")
    table = {entry.name: entry.operations for entry in param_table(ElfObject(path.read_bytes(), "drbd"))}
    told = subprocess.run(["/sbin/modinfo", "-F", "parmtype", path], capture_output=True, text=True, check=True)
    assert {line.partition(":")[0] for line in told.stdout.split()} == set(table)
    assert table["usermode_helper"] == "param_ops_string"
    assert [finding.text for finding in lint([path]) if finding.rule.name == "path-parameter"] == [
        "usermode_helper can be written (0644)"
    ]


def test_frames_of_arm64() -> None:
    code = struct.pack("<4I", 0xD503233F, 0xD14007FF, 0xD10203FF, 0xD65F03C0)  # paciasp; sub 1<<12; sub 128; ret
    assert _aarch64(code) == 4096 + 128
    assert list(frames(ElfObject(make_ko(machine=AARCH64), "forged"))) == []


def test_damaged_modules_are_findings(tmp_path: Path, tree: ModuleTree) -> None:
    whole = tree.read(tree.by_name["via_wdt"])
    # The end is the signature's, without which the module can be read.
    for at in range(0, len(whole) * 9 // 10, len(whole) // 60):
        path = tmp_path / "cut.ko"
        path.write_bytes(whole[:at])
        assert [finding.rule.name for finding in lint([path])] == ["unreadable-module"]
        # One byte other than it was: whatever is found, nothing is raised.
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        lint([path])


def test_config(tmp_path: Path) -> None:
    rules = {rule.name: rule for rule in RULES}
    findings = [
        Finding(rules[rule], f"dir/{module}.ko", "text")
        for rule in ("no-author", "no-license")
        for module in ("my-one", "other")
    ]

    def kept(text: str) -> list[tuple[str, str, Level]]:
        path = tmp_path / "lint.conf"
        path.write_text(text)
        config = LintConfig(RULES)
        config.read(path)
        return [(each.rule.name, each.where, each.rule.level) for each in config.applied(findings)]

    assert len(kept("# nothing\n\n")) == 4
    assert kept("off no-license\nerror no-author my-*  # ours\n") == [
        ("no-author", "dir/my-one.ko", Level.ERROR),
        ("no-author", "dir/other.ko", Level.NOTE),
    ]
    assert kept("only no-license\noff no-license other\n") == [("no-license", "dir/my-one.ko", Level.ERROR)]
    assert kept("off *\nnote no-license o?her\n") == [("no-license", "dir/other.ko", Level.NOTE)]
    for text, why in (
        ("off no-licence", "2: no-licence: no such rule; nearest: no-license"),
        ("of no-license", "2: of: is none of off, only, note, warning, error"),
        ("off", "2: off: names no rule"),
    ):
        with pytest.raises(TinykmodError) as raised:
            kept(f"\n{text}\n")
        assert str(raised.value) == f"{tmp_path}/lint.conf:{why}"


def test_the_command(tmp_path: Path, run_tinykmod: Run) -> None:
    for name, modinfo in ("a", GOOD), ("b", GOOD[1:]):
        (tmp_path / f"{name}.ko").write_bytes(make_ko(modinfo))
    done = run_tinykmod("lint", tmp_path)
    assert (done.returncode, done.stdout.splitlines()) == (
        1,
        [
            f"{tmp_path}/b.ko: error: MODULE_LICENSE is missing [no-license]",
            '    mend: Add MODULE_LICENSE("GPL"), or what the code is under.',
            "2 modules: 1 error",
        ],
    )
    done = run_tinykmod("lint", tmp_path / "a.ko")
    assert (done.returncode, done.stdout) == (0, "1 module: nothing found\n")
    for options in ("--off", "no-license"), ("--only", "no-author,version-form"):
        assert run_tinykmod("lint", *options, tmp_path).returncode == 0
    (tmp_path / "lint.conf").write_text("note no-license\n")
    done = run_tinykmod("lint", "--config", tmp_path / "lint.conf", tmp_path)
    assert (done.returncode, done.stdout) == (0, "2 modules: 1 note; --notes shows the notes\n")
    assert json.loads(run_tinykmod("lint", "--json", tmp_path).stdout)["findings"][0]["rule"] == "no-license"
    [run] = json.loads(run_tinykmod("lint", "--sarif", tmp_path).stdout)["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["no-license"]
    assert len(run["tool"]["driver"]["rules"]) == len(RULES)


def test_bad_usage(tmp_path: Path, run_tinykmod: Run) -> None:
    def told(*words: str | Path) -> tuple[int, str]:
        done = run_tinykmod("lint", *words)
        assert done.stdout == ""
        return done.returncode, done.stderr

    gone = tmp_path / "gone.ko"
    assert told(gone) == (1, f"tinykmod: {gone}: No such file or directory\n")
    assert told("/dev/zero") == (1, "tinykmod: /dev/zero: is neither a file nor a directory\n")
    assert told(tmp_path) == (1, f"tinykmod: {tmp_path}: holds no module\n")
    assert told() == (1, "tinykmod: lint: names no module and no directory\n")
    assert told("--only", "nolicense", gone) == (1, "tinykmod: nolicense: no such rule; nearest: no-license\n")
    (tmp_path / "text.ko").write_text("not a module\n")
    done = run_tinykmod("lint", tmp_path)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        1,
        f"{tmp_path}/text.ko: error: not an ELF file [unreadable-module]",
    )
