"""tinykmod why over small trees and machines: modules, modaliases, devices, traces, images; its lines, exit codes."""

from __future__ import annotations

import errno
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from make_machine import Machine
from make_tree import make_tree

from tinykmod.cli import main

NET = "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00"
DISK = "pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02"
VERMAGIC = ("vermagic", "6.1.0-test SMP mod_unload ")
GOOD = [("license", "GPL"), VERMAGIC]
MODULES: dict[str, dict[str, Any]] = {
    "kernel/e1000.ko": {"modinfo": [*GOOD, ("alias", "pci:v00008086d0000100Esv*sd*bc*sc*i*"), ("parm", "debug:Level"),
                                    ("parmtype", "debug:int")]},
    "kernel/e1000-alt.ko": {"modinfo": [*GOOD, ("alias", "pci:v00008086d0000100Esv*sd*bc*sc*i*")]},
    "kernel/nvme.ko": {"modinfo": [*GOOD, ("alias", "pci:v*d*sv*sd*bc01sc08i02*"), ("depends", "nvme-core")],
                       "imports": ["nvme_init"]},
    "kernel/nvme-core.ko": {"modinfo": GOOD, "exports": ["nvme_init"]},
    "kernel/orphan.ko": {"modinfo": [*GOOD, ("depends", "gone")]},
    "kernel/sound.ko": {"modinfo": [*GOOD, ("alias", "acpi*:SND0001:*")]},
}  # fmt: skip
#: Tiny modules of no kernel's are not what this is about: struct module and signatures are tested on real ones.
SMALL = "CONFIG_MODULES=y\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a network card that has its driver and a disk that has none."""
    root = tmp_path / "root"
    make_tree(root, MODULES, release="6.1.0-test", builtin={"ext4": ["fs-ext4"]})
    (root / "boot").mkdir()
    (root / "boot/config-6.1.0-test").write_text(SMALL)
    machine = Machine(root)
    machine.device("pci0000:00/0000:00:02.0", "pci", NET, "e1000", "e1000")
    machine.device("pci0000:00/0000:00:04.0", "pci", DISK)
    machine.device("platform/soc", "platform", "of:NsocT(null)Cacme,soc")
    return root


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """run(*words): the exit code and the lines, errors included. What make_ko leaves out is not told."""
    monkeypatch.delenv("COLUMNS", raising=False)  # the tester's
    monkeypatch.setattr("tinykmod.inspect.examine._struct", lambda *_: iter(()))

    def why(*words: str | Path) -> tuple[int, list[str]]:
        code = main(["why", "--sysroot", str(root), *map(str, words)])
        told = capsys.readouterr()
        return code, [*told.out.splitlines(), *told.err.splitlines()]

    return why


def config(root: Path, text: str) -> None:
    (root / "etc/modprobe.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/modprobe.d/local.conf").write_text(text)


def test_a_module_that_a_device_asks_for(run: Run) -> None:
    code, lines = run("nvme")
    assert code == 0
    assert lines[0] == "nvme (6.1.0-test, kernel/nvme.ko): would be loaded"
    assert "  for       0000:00:04.0 (by pci:v*d*sv*sd*bc01sc08i02*)" in lines


def test_a_module_that_nothing_asks_for(run: Run) -> None:
    assert run("nvme_core") == (0, [
        "nvme_core (6.1.0-test, kernel/nvme-core.ko): can be loaded, but no device of this machine asks for it",
        "  note      it has no alias: it is loaded by name, or because another module needs it",
    ])  # fmt: skip
    assert "none of its 1 aliases matches a device here" in run("sound")[1][1]
    assert run("ext4") == (0, ["ext4: is built into 6.1.0-test: there is nothing to load"])


def test_what_a_module_needs_is_looked_at_as_well(run: Run, root: Path) -> None:
    code, lines = run("orphan")
    assert (code, lines[0]) == (1, "orphan (6.1.0-test, kernel/orphan.ko): would not be loaded")
    assert "  because   it needs gone, and this tree has no such module" in lines
    (root / "lib/modules/6.1.0-test/kernel/nvme-core.ko").write_bytes(b"")
    code, lines = run("nvme")
    assert code == 1
    assert "  because   it needs nvme_core, which would be refused: its file is no module: it is empty" in lines


def test_what_the_configuration_forbids_is_told_with_its_place(run: Run, root: Path) -> None:
    config(root, "# mine\nblacklist nvme\ninstall sound /bin/false\noptions e1000 debug=loud debgu=1\n")
    file = root / "etc/modprobe.d/local.conf"
    code, lines = run(DISK)
    assert (code, lines[0]) == (1, f"{DISK}: would not get nvme")
    assert f"  because   nvme: blacklisted at {file}:2" in lines
    assert f"  but       blacklisted at {file}:2: no device loads it, modprobe by its name does" in run("nvme")[1]
    code, lines = run("sound")
    assert code == 1
    assert f"  because   install sound /bin/false at {file}:3" in lines
    lines = run("e1000")[1]
    assert "  because   parameter debug=loud: it takes an int, and 'loud' is none (Level)" in lines
    assert any("debgu=1: the module has none of this name" in line and "nearest: debug" in line for line in lines)


@pytest.mark.parametrize(("words", "line"), [
    ("module_blacklist=sound,nvme", "  because   nvme: module_blacklist= on the kernel command line forbids it"),
    ("modprobe.blacklist=nvme", "  because   nvme: blacklisted on the kernel command line"),
])  # fmt: skip
def test_what_the_kernel_command_line_forbids(run: Run, root: Path, words: str, line: str) -> None:
    (root / "proc/cmdline").write_text(f"quiet {words}\n")
    code, lines = run(DISK)
    assert code == 1
    assert line in lines


def test_a_kernel_that_takes_no_more_modules(run: Run, root: Path) -> None:
    (root / "proc/sys/kernel/modules_disabled").write_text("1\n")
    code, lines = run("nvme")
    assert code == 1
    assert lines[1] == "  because   the kernel takes no more modules until it is started anew (modules_disabled)"


def test_a_modalias_that_nothing_matches_has_its_nearest(run: Run) -> None:
    code, lines = run("pci:v00008086d0000100Fsv00001AF4sd00001100bc02sc00i00")
    assert code == 1
    assert lines[1] == "  because   no alias of 6.1.0-test's 6 modules matches"
    pattern, differs = "pci:v00008086d0000100Esv*sd*bc*sc*i*", "(device 0000100E, not 0000100F)"
    assert lines[2:] == [f"  near      {pattern} of {name} {differs}" for name in ("e1000", "e1000_alt")]
    assert run("pci:v00001111d00002222sv00003333sd00004444bc03sc00i00")[1][2:] == []


def test_a_device_with_a_driver_and_one_without(run: Run, root: Path) -> None:
    path = "sys/devices/pci0000:00/0000:00:02.0"
    for word in ("0000:00:02.0", "00:02.0", "/sys/bus/pci/devices/0000:00:02.0", f"/{path}", root / path):
        assert run(word) == (0, [
            "0000:00:02.0 (pci0000:00/0000:00:02.0): is bound to e1000",
            "  but       e1000_alt matches it as well: the driver that came first has it",
        ])  # fmt: skip
    code, lines = run("0000:00:04.0")
    assert (code, lines[0]) == (1, "0000:00:04.0 (pci0000:00/0000:00:04.0): has no driver")
    assert "  for       nvme has pci:v*d*sv*sd*bc01sc08i02*" in lines


def test_a_word_that_is_a_module_and_a_device_is_both(run: Run, root: Path) -> None:
    Machine.device(_at(root), "platform/sound", "platform")
    (root / "sys/devices/platform/sound/uevent").write_text("MODALIAS=platform:sound\n")
    code, lines = run("sound")
    assert code == 1
    assert [line for line in lines if line[0] != " "] == [
        "sound (6.1.0-test, kernel/sound.ko): can be loaded, but no device of this machine asks for it",
        "sound (platform/sound): has no driver",
    ]


def _at(root: Path) -> Machine:
    machine = Machine.__new__(Machine)
    machine.base = root
    return machine


def test_an_alias_stands_for_its_modules(run: Run, root: Path) -> None:
    """Also for one that is not there, and is not built in either."""
    config(root, "alias net-pf-99 gone\nalias fs-odd nvme\n")
    assert run("fs-odd")[1][0] == "nvme (6.1.0-test, kernel/nvme.ko): would be loaded"
    assert run("net-pf-99") == (1, [
        "gone: would not be loaded", "  because   there is no such module in this tree",
    ])  # fmt: skip
    file = root / "etc/modprobe.d/local.conf"
    assert run("fs-ext4")[1][0] == "ext4: is built into 6.1.0-test: there is nothing to load"
    config(root, "alias pci:v00001B36d* gone\n")
    assert run(DISK)[1][1:] == [
        "  because   there is no module gone in this tree", f"  for       gone has pci:v00001B36d*, by {file}:1",
    ]  # fmt: skip


def test_a_blacklist_does_not_count_for_what_is_needed(run: Run, root: Path) -> None:
    config(root, "blacklist nvme-core\n")
    assert run("nvme")[0] == 0
    config(root, "install nvme-core /bin/false\n")
    code, lines = run("nvme")
    assert code == 1
    assert lines[1].startswith("  because   it needs nvme_core: install nvme_core /bin/false at ")


def test_a_device_that_waits(run: Run, root: Path) -> None:
    machine = root / "sys/devices/platform"
    (machine / "soc/waiting_for_supplier").write_text("1\n")
    (root / "sys/kernel/debug").mkdir(parents=True)
    (root / "sys/kernel/debug/devices_deferred").write_text("soc\tsupplier clock not ready\nother\n")
    _at(root).device("platform/clock", "platform")
    _at(root).supplies("platform/clock", "platform/soc")
    code, lines = run("soc")
    assert code == 1
    assert "  because   it waits for platform/clock, which has no driver" in lines
    assert "  because   it waits for a supplier that has not appeared" in lines
    assert "  because   its probe was put off: supplier clock not ready" in lines


def test_a_module_that_is_not_in_the_image(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tinykmod.image import cpio

    image = tmp_path / "small.img"
    entry = cpio.Entry("lib/modules/6.1.0-test/kernel/nvme.ko", 0o100644, b"x")
    with image.open("wb") as out:
        cpio.write(out, [entry])
    code, lines = run("--image", image, "nvme")
    assert code == 1
    assert f"  because   it needs nvme_core, which is not in {image}" in lines
    assert f"  because   it is not in {image}" in run("--image", image, "sound")[1]


def test_what_a_trace_tells(run: Run, tmp_path: Path) -> None:
    def event(ev: str, **keys: object) -> dict[str, object]:
        return {"t": 5, "ev": ev, "why": "modalias", "by": DISK, "dur": 2_500_000, **keys}

    trace = tmp_path / "trace.jsonl"
    trace.write_text("".join(f"{json.dumps(each)}\n" for each in (
        {"t": 1, "ev": "start", "version": "0", "release": "6.1.0-test"},
        event("module", name="nvme", result=0),
        event("module", name="sound", result=-errno.ETIMEDOUT),
        event("dropped", name="e1000_alt"),
        event("left", name="nvme_core", worker=1),
    )))  # fmt: skip
    assert run("--trace", trace, "nvme")[1][:2] == [
        "nvme (6.1.0-test, kernel/nvme.ko): was loaded", f"  note      it took 2.5 ms (modalias {DISK})",
    ]  # fmt: skip
    code, lines = run("--trace", trace, "sound")
    assert code == 1
    assert lines[:3] == [
        "sound (6.1.0-test, kernel/sound.ko): was not loaded",
        "  because   its device did not answer in time",
        "  note      the kernel's answer was ETIMEDOUT (Connection timed out)",
    ]
    assert "  because   the root was mounted before its turn came" in run("--trace", trace, "e1000_alt")[1]
    assert "timed out" in run("--trace", trace, "nvme_core")[1][1]
    assert "  note      in the boot of the trace nothing asked for it" in run("--trace", trace, "orphan")[1]


def test_the_kernels_log_alone_is_enough(run: Run, tmp_path: Path) -> None:
    log = tmp_path / "dmesg"
    log.write_text("[    1.2] usb 1-1: new device\n[    1.3] nvme: Unknown symbol nvme_gone (err -2)\n")
    code, lines = run("--log", log, "nvme")
    assert code == 1
    assert lines[1] == "  because   unknown symbol nvme_gone: no module of this tree exports it"
    log.write_text("nvme 0000:00:04.0: Direct firmware load for a.bin failed with error -2\n")
    code, lines = run("--log", log, "nvme")
    assert (code, lines[1]) == (0, "  note      firmware a.bin is not there")


def test_a_name_that_is_nowhere_has_the_nearest(run: Run, root: Path) -> None:
    assert run("nvm") == (1, [f"tinykmod: nvm: no module, alias or device of 6.1.0-test below {root}; nearest: "
                                  "nvme, nvme_core"])  # fmt: skip
    assert run("zzzzzz") == (1, [f"tinykmod: zzzzzz: no module, alias or device of 6.1.0-test below {root}"])
    assert "there are none of any kernel" in run("--sysroot", root / "boot", "nvme")[1][0]


def test_files_that_are_no_modules(run: Run, tmp_path: Path) -> None:
    """One clear line, whatever the file is."""
    for name, data, words in (
        ("text.ko", b"hello\n", "text that begins with 'hello'"),
        ("zeros.ko", bytes(4096), "it is all zeros"),
        ("cut.ko.xz", b"\xfd7zXZ\0\0\0", "compressed data are damaged"),
        ("elf.ko", b"\x7fELF\x02\x01\x01", "its file is damaged: cut short"),
    ):
        (tmp_path / name).write_bytes(data)
        code, lines = run(tmp_path / name)
        assert code == 1
        assert [line for line in lines if words in line and line.startswith("  because   ")], lines


def on_a_terminal(root: Path, **environment: str) -> str:
    ours, theirs = pty.openpty()
    base = {key: value for key, value in os.environ.items() if key != "NO_COLOR"}
    words = [sys.executable, "-m", "tinykmod", "why", "--sysroot", root, "orphan"]
    subprocess.run(words, stdout=theirs, check=False, env={**base, "COLUMNS": "44", "TERM": "xterm", **environment})
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    return text


def test_bold_words_are_for_terminals(root: Path) -> None:
    seen = on_a_terminal(root)
    assert "\033[1m  because\033[m   " in seen
    lines = on_a_terminal(root, NO_COLOR="1").splitlines()
    assert lines[0] == "orphan (6.1.0-test, kernel/orphan.ko): would"
    assert all(len(line) <= 44 for line in lines)


def test_lines_are_wrapped_to_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "50")
    lines = run("pci:v00008086d0000100Fsv00001AF4sd00001100bc02sc00i00")[1]
    # A modalias is not broken: it is there to be copied.
    assert all(len(line) <= 50 or " pci:" in f" {line.strip()}" for line in lines)
    assert len(lines) > 4
