"""`tinykmod show`: the page, and that it is true, beside Debian's kmod and with real modules."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from make_ko import PPC64, make_ko
from make_tree import RELEASE, make_tree

from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.errors import TinykmodError
from tinykmod.image.build import build
from tinykmod.image.request import Request
from tinykmod.inspect.inspector import Inspector
from tinykmod.inspect.known import Known
from tinykmod.inspect.page import page
from tinykmod.kmod.modprobe import Found
from tinykmod.modules.driver_class import DriverClass

Run = Callable[..., "subprocess.CompletedProcess[str]"]

PAGE = """\
foo - Driver of the Foo
file        kernel/drivers/foo.ko
tree        {root}/lib/modules/6.0.0-test
class       storage: imports add_disk
version     2.1
vermagic    6.0.0-test SMP mod_unload
license     GPL; built outside of the kernel, which it taints
author      A. Nother
signature   none
size        {size} on disk; 0 B in memory, 0 B more while it initialises
state       live, 20.0 KiB in memory, 2 users, used by bar, taints the kernel: O
              (out of tree), E (unsigned)
parameters  depth (uint, may be written) = 5: How many of them, at most 64
            secret (charp)
needs       lib_foo: lib_go lib_stop
              base: base_up
            and 2 symbols of the kernel itself
needed by   no module
softdeps    pre: baz ({root}/etc/modprobe.d/test.conf:5)
            pre: crc-fast
            post: bar
weakdeps    weak: baz
wanted      before bar
aliases     pci:v00001234d00000001sv*sd*bc*sc*i*
            pci:v00001234d0000FF0[0-7]sv*sd*bc*sc*i*
            char-major-10-99
devices     pci 0000:00:02.0: bound to foo; by
              pci:v00001234d00000001sv*sd*bc*sc*i*
            pci 0000:00:03.0: no driver; by
              pci:v00001234d0000FF0[0-7]sv*sd*bc*sc*i*
firmware    foo/one.bin: {root}/lib/firmware/foo/one.bin.xz
            foo/two.bin: missing
config      {root}/etc/modprobe.d/test.conf:1: options foo depth=3
            {root}/etc/modprobe.d/test.conf:5: softdep foo pre: baz
            kernel command line: foo.depth=5
load order  6 calls of finit_module():
            1 kernel/lib/base.ko
            2 kernel/lib/lib-foo.ko
            3 kernel/drivers/baz.ko.gz (unpacked, by init_module())
            4 kernel/crypto/crc_fast.ko
            5 kernel/drivers/foo.ko "depth=3 depth=5"
            6 kernel/drivers/bar.ko.xz (unpacked, by init_module())
"""


def show(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["show", *map(str, words)]) == 0
    return capsys.readouterr().out


def shown_json(*words: str | Path, capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(show("--json", *words, capsys=capsys))


def test_the_page(root: Path, sysroot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = show("foo", "-b", root, "--sysroot", sysroot, capsys=capsys)
    size = f"{(root / 'lib/modules' / RELEASE / 'kernel/drivers/foo.ko').stat().st_size / 1024:.2f} KiB"
    # A long path takes a line of its own; where, depends on where the test runs.
    assert out.split() == PAGE.format(root=root, size=size).split()


def test_the_load_order_is_modprobes(kernel: Kernel, depmod_root: Path, tmp_path: Path) -> None:
    """Of many modules of Debian's, by depmod's files and without them."""
    empty = tmp_path / "empty.conf"
    empty.touch()
    sides = [Inspector(Known(root, kernel.release, [empty]), None) for root in (depmod_root, kernel.root)]
    read = sides[1].known
    assert read is not None
    several = {item.module for item in read.config.softdeps if
               sum(other.module == item.module for other in read.config.softdeps) > 1}  # fmt: skip
    names = sorted(set(read.files.names()[::80]) | set("nvme iwlmvm usb_storage ext4 cfg80211 virtio_blk".split()))
    compared = 0
    for name in names:
        words = ["modprobe", "-D", "-C", empty, "-d", depmod_root, "-S", kernel.release, name]
        printed = subprocess.run(
            words, capture_output=True, text=True, check=True, env={**os.environ, "PATH": "/sbin"}
        )
        ours = []
        for side in sides:
            assert side.known is not None
            about = side.about(Found(name))
            prefix = {"finit_module": f"insmod {depmod_root}/lib/modules/{kernel.release}/", "builtin": "builtin "}
            ours.append([f"{prefix[step.how]}{step.what or step.name}" for step in about.load])
        assert ours[0] == ours[1], name
        # kmod 30 knows only the first of a module's softdep lines; and -D names what is needed twice twice.
        if not several & {step.name for step in about.load}:
            assert ours[0] == list(dict.fromkeys(line.rstrip() for line in printed.stdout.splitlines())), name
            compared += 1
    assert compared > 50


def test_no_line_is_wider_than_a_narrow_terminal(kernel: Kernel, depmod_root: Path) -> None:
    inspector = Inspector(Known(depmod_root, kernel.release, []), None)
    assert inspector.known is not None
    for name in [*inspector.known.files.names()[::100], "amdgpu", "iwlwifi", "usbcore"]:
        for columns in 80, 60:
            text = page(inspector.about(Found(name)), columns, bold=False)
            for line in text.splitlines():
                # A path or an alias that is longer cannot be parted without spoiling it for a copy.
                assert len(line) <= columns or max(map(len, line.split())) > columns - 36, line
            assert "\033" not in text


def test_what_it_says_is_what_kmod_says(
    kernel: Kernel, depmod_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = shown_json("mac80211", "-b", depmod_root, "-k", kernel.release, capsys=capsys)
    dep = (depmod_root / "lib/modules" / kernel.release / "modules.dep").read_text().splitlines()
    lines = [line.split(":") for line in dep]
    users = [Path(file).stem.replace("-", "_") for file, needed in lines if "/mac80211.ko" in needed]
    assert sorted(found["needed_by"]) == sorted(users)
    file = depmod_root / "lib/modules" / kernel.release / found["file"]

    def told(field: str) -> list[str]:
        words = ["/sbin/modinfo", "-F", field, file]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.splitlines()

    assert [each["name"] for each in found["needs"]] == sorted(
        told("depends")[0].split(","), key=[each["name"] for each in found["needs"]].index
    )
    assert {each["name"] for each in found["parameters"]} == {line.partition(":")[0] for line in told("parm")}
    assert (found["vermagic"], found["license"]) == (told("vermagic")[0].strip(), told("license")[0])
    assert found["signature"]["signer"] == told("signer")[0]
    symbols = subprocess.run(["nm", "-u", file], capture_output=True, text=True, check=True).stdout.split()[1::2]
    from_modules = {symbol for each in found["needs"] for symbol in each["symbols"]}
    assert from_modules <= set(symbols)
    assert from_modules | set(found["kernel_symbols"]) | {"module_layout"} >= set(symbols)


def test_symbols_that_nobody_has_are_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "boot").mkdir()
    (root / "boot" / f"System.map-{RELEASE}").write_text("0 R __ksymtab_printk\n0 R __ksymtab_other\n")
    found = shown_json("foo", "-b", root, capsys=capsys)
    assert found["wrong_symbols"] == {"unknown": ["add_disk"], "other_crc": [], "gpl_only": [], "namespace": []}
    assert found["kernel_symbols"] == ["printk"]
    assert "unknown to this kernel and its modules: add_disk\n" in show("foo", "-b", root, capsys=capsys)


def test_a_driver_that_was_built_for_another_kernel(
    kernel: Kernel, depmod_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By Debian's kernel image, which has the CRCs, and who may use what."""
    boot = depmod_root / "boot" / f"vmlinuz-{kernel.release}"
    boot.parent.mkdir(exist_ok=True)
    if not boot.exists():
        boot.symlink_to(kernel.vmlinuz)
    file = tmp_path / "mine.ko"
    imports = {"_printk": 1, "no_such_symbol": 2, "nvme_start_ctrl": 3, "__this_module": None}
    file.write_bytes(make_ko([("license", "Proprietary")], imports=imports))
    found = shown_json(file, "-b", depmod_root, capsys=capsys)["wrong_symbols"]
    assert found == {
        "unknown": ["no_such_symbol"], "other_crc": ["_printk", "nvme_start_ctrl"], "gpl_only": ["nvme_start_ctrl"],
        "namespace": [],
    }  # fmt: skip
    out = show(file, "-b", depmod_root, capsys=capsys)
    assert "GPL-only, which its license does not get: nvme_start_ctrl\n" in out


def test_the_tree_and_the_reverse(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert show("foo", "--tree", "-b", root, capsys=capsys) == (
        "foo\n  lib_foo: 2 symbols\n      lib_go lib_stop\n    base: 1 symbol\n        base_up\n"
    )
    assert show("base", "--reverse", "-b", root, capsys=capsys) == (
        "base\n  lib_foo: 1 symbol\n      base_up\n    bar: 1 symbol\n        lib_go\n"
        "    baz: 1 symbol\n        lib_more\n    foo: 2 symbols\n        lib_go lib_stop\n"
    )
    assert show("foo", "--reverse", "-b", root, capsys=capsys) == "foo - no module needs it\n"
    users = shown_json("base", "--reverse", "-b", root, capsys=capsys)["users"]
    assert [each["name"] for each in users[0]["needs"]] == ["bar", "baz", "foo"]


def test_a_module_of_several_trees_below_is_named_once(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What a module needs in two ways has what it needs itself where it comes first."""
    make_tree(root / "again", {
        "kernel/a.ko": {"exports": ["a1"]},
        "kernel/b.ko": {"exports": ["b1"], "imports": ["a1"]},
        "kernel/c.ko": {"exports": ["c1"], "imports": ["b1"]},
        "kernel/d.ko": {"imports": ["c1", "b1"]},
    })  # fmt: skip
    out = show("d", "-b", root / "again", capsys=capsys)
    needs = out[out.index("needs") : out.index("needed by")].splitlines()
    assert [line[12:] for line in needs] == [
        "c: c1", "  b: b1", "    a: a1", "b (see above): b1", "and 0 symbols of the kernel itself"
    ]  # fmt: skip


def test_a_file_beside_the_tree(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A new build of a driver: its own imports count, whatever it is called."""
    file = tmp_path / "new.ko"
    modinfo = [("name", "foo"), ("vermagic", "6.0.1 SMP"), ("license", "GPL"), ("softdep", "pre: crc_fast")]
    file.write_bytes(make_ko(modinfo, imports=["lib_more"]))
    found = shown_json(file, "-b", root, capsys=capsys)
    assert (found["name"], found["file"]) == ("foo", str(file))
    assert [step["what"] for step in found["load"]] == [
        "kernel/lib/base.ko", "kernel/lib/lib-foo.ko", "kernel/drivers/baz.ko.gz", "kernel/crypto/crc_fast.ko",
        str(file),
    ]  # fmt: skip
    assert "vermagic    6.0.1 SMP (which is not the tree's 6.0.0-test)" in show(file, "-b", root, capsys=capsys)


def test_a_file_without_any_tree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "alone.ko"
    file.write_bytes(make_ko([("license", "GPL")], imports=["x"], bits=64, little_endian=False, machine=PPC64))
    out = show(file, capsys=capsys)
    assert "needs       no module; 1 symbol, and no tree to find them in\n" in out
    assert "load order" not in out
    assert show(file, "--tree", capsys=capsys) == "alone - needs no module\n"
    assert main(["show", str(file), "--reverse"]) == 1
    message = "tinykmod: alone: there is no module tree to look in for those that need it\n"
    assert capsys.readouterr().err == message


def test_a_signature_that_is_damaged(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "signed.ko"
    file.write_bytes(make_ko([("license", "GPL")]) + b"~Module signature appended~\n")
    assert "\nsignature   damaged: its signature cannot have " in show(file, capsys=capsys)


def test_a_file_in_its_tree_is_of_the_tree(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root / "lib/modules" / RELEASE / "kernel/drivers/baz.ko.gz"
    assert shown_json(file, capsys=capsys) == shown_json("baz", "-b", root, capsys=capsys)


def test_an_alias_has_a_page_for_each_of_its_modules(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modalias = "pci:v00001234d0000FF05sv00000000sd00000000bc01sc00i00"
    found = shown_json(modalias, "-b", root, capsys=capsys)
    assert (found["name"], found["alias"]) == ("foo", modalias)
    make_tree(root / "two", {f"kernel/{name}.ko": {"modinfo": [("alias", "x:*")]} for name in "ab"})
    assert [each["name"] for each in shown_json("x:y", "-b", root / "two", capsys=capsys)] == ["a", "b"]
    assert show("x:y", "-b", root / "two", capsys=capsys).count("found by    the alias x:y\n") == 2


def test_what_is_built_in(kernel: Kernel, depmod_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = show("tcp_cubic", "-b", depmod_root, capsys=capsys)
    assert "file        none: the kernel has it built in\n" in out
    assert "hystart" in out
    assert out.endswith("load order  1 tcp_cubic is built in\n")


def test_an_image_with_packed_modules(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loader = tmp_path / "loader"
    loader.write_bytes(make_ko())
    image = tmp_path / "image"
    build(Request(root, RELEASE, image, loader, DriverClass(0), ["foo"]))
    there, packed = (shown_json("foo", "-b", each, capsys=capsys) for each in (root, image))
    assert packed["compression"] == "packed"
    assert packed["tree"] == f"{image}:/lib/modules/{RELEASE}"
    assert packed["file"] == "kernel/drivers/foo.ko.tkp"
    same = ("name", "release", "memory", "parameters", "needs", "aliases", "unpacked", "class")
    assert {key: packed[key] for key in same} == {key: there[key] for key in same}


def test_another_machines_snapshot(
    root: Path, sysroot: Path, tmp_path: Path, run_tinykmod: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "board.json"
    assert run_tinykmod("snapshot", "--sysroot", sysroot, "-o", taken).returncode == 0
    found = shown_json("foo", "-b", root, "--for", taken, capsys=capsys)
    assert [(each["path"], each["driver"]) for each in found["devices"]] == [
        ("pci0000:00/0000:00:02.0", "foo"), ("pci0000:00/0000:00:03.0", None)
    ]  # fmt: skip
    assert found["state"]["state"] == "live"
    assert [each["value"] for each in found["parameters"]] == [None, None]


def test_another_kernel_runs(root: Path, sysroot: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (sysroot / "proc/sys/kernel/osrelease").write_text("5.5.5\n")
    out = show("foo", "-b", root, "--sysroot", sysroot, capsys=capsys)
    assert "state       not known: 5.5.5 is running, not 6.0.0-test\n" in out


WRONG = {
    "fooo": r"fooo: no module or alias of this name in 6.0.0-test; nearest: foo",
    "qqqq": r"qqqq: no module or alias of this name in 6.0.0-test",
    "": r"'': no module or alias of this name in 6.0.0-test",
    "pci:v00001234d00000009sv0": r"pci:v00001234d00000009sv0: no module has an alias that matches in 6.0.0-test;"
    r" nearest: pci:v00001234d00000001sv\*sd\*bc\*sc\*i\* of foo",
    "pci:x[": r"pci:x\[: no module has an alias that matches in 6.0.0-test",
    "./nowhere.ko": r"./nowhere.ko: no such file",
    "nowhere.ko.xz": r"nowhere.ko.xz: no such file",
    "/dev/null/x.ko": r"/dev/null/x.ko: no such file",
    __file__: r".*test_show.py: not an ELF file",
}


@pytest.mark.parametrize("word", WRONG)
def test_what_is_nowhere_is_one_line(word: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", word, "-b", str(root)]) == 1
    done = capsys.readouterr()
    assert re.fullmatch(f"tinykmod: {WRONG[word]}\n", done.err)
    assert done.out == ""


def test_roots_that_do_not_do(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_tree(root, {}, release="7.0")
    (tmp_path / "no-image").write_bytes(b"\x1f\x8bx")
    for words, message in (
        (["-b", root], f"{root}: no modules of the running kernel {os.uname().release}; there is 6.0.0-test, 7.0"),
        (["-b", root, "-k", "8"], f"8: no modules of this kernel below {root}; there is 6.0.0-test, 7.0"),
        (["-b", tmp_path / "no-image"], f"{tmp_path / 'no-image'}: gzip data at byte 0 are "),
        (["-b", root, "--sysroot", root], f"{root}/sys/bus: No such file or directory"),
        (["-b", root, "--for", __file__], f"{__file__}: "),
    ):
        assert main(["show", "foo", *map(str, words)]) == 1
        assert capsys.readouterr().err.startswith(f"tinykmod: {message}")


@given(st.data())
def test_a_damaged_module_is_told_or_shown(data: st.DataObject) -> None:
    """A file of noise in a real frame: never a crash, and nothing that would act on a terminal."""
    image = bytearray(make_ko([("license", "GPL"), ("parm", "a:\033[31mred")], ["one"], ["two"]))
    for _ in range(data.draw(st.integers(1, 8))):
        image[data.draw(st.integers(0, len(image) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))
    with NamedTemporaryFile(suffix=".ko") as file:
        file.write(image[:end])
        file.flush()
        try:
            text = page(Inspector(None, None).about_file(Path(file.name)), 80, bold=False)
        except TinykmodError as error:
            assert "\n" not in str(error)
        else:
            assert all(char.isprintable() or char == "\n" for char in text)


def seen_on_a_terminal(root: Path, **environment: str) -> str:
    """What a terminal of 60 columns gets."""
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "tinykmod", "show", "foo", "-b", root]
    base = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS")}
    packages = os.pathsep.join(filter(None, sys.path))
    with subprocess.Popen(
        words, stdout=theirs, env={**base, "TERM": "xterm", "COLUMNS": "60", "PYTHONPATH": packages, **environment}
    ) as process:
        os.close(theirs)
        text = b""
        try:
            while piece := os.read(ours, 1 << 16):
                text += piece
        except OSError:  # so Linux tells the end
            pass
    os.close(ours)
    assert process.returncode == 0
    return text.decode()


def test_bold_and_width_on_a_terminal(root: Path) -> None:
    text = seen_on_a_terminal(root)
    assert "\033[1mfoo\033[m - Driver of the Foo\r\n" in text
    assert "\033[1mversion\033[m     2.1\r\n" in text
    assert "parameters\033[m  depth (uint): How many of them, at most 64\r\n" in text
    assert "\033" not in seen_on_a_terminal(root, NO_COLOR="1")
    assert "\033" not in seen_on_a_terminal(root, TERM="dumb")


def test_many_parameters_have_a_line_each(
    kernel: Kernel, depmod_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parameters = shown_json("amdgpu", "-b", depmod_root, capsys=capsys)["parameters"]
    assert len(parameters) > 24
    lines = show("amdgpu", "-b", depmod_root, capsys=capsys).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("parameters"))
    named = [line[12:].split(" ")[0] for line in lines[start : start + len(parameters)]]
    assert named == [each["name"] for each in parameters]


def test_a_tree_may_be_named_itself(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tree = root / "lib/modules" / RELEASE
    assert show("foo", "-b", tree, capsys=capsys) == show("foo", "-b", root, capsys=capsys)


def test_what_modprobe_d_keeps_from_being_loaded(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `modprobe -D`: a blacklist is for what an alias leads to, and an alias comes before a module's name."""
    (root / "etc/modprobe.d/test.conf").write_text("blacklist foo\nalias lib-foo off\ninstall only /bin/true\n")
    out = show("pci:v00001234d00000001sv0sd0bc0sc0i0", "-b", root, capsys=capsys)
    assert out.endswith("load order  none: it is blacklisted, which counts where an alias leads to it\n")
    assert f"{root}/etc/modprobe.d/test.conf:1: blacklist foo" in " ".join(out.split())
    assert " kernel/drivers/foo.ko\n" in show("foo", "-b", root, capsys=capsys)
    for word, name in (("lib_foo", "off"), ("only", "only")):
        assert main(["show", word, "-b", str(root)]) == 1
        message = f"{word}: modprobe.d makes it {name}, and there is no such module"
        assert capsys.readouterr().err == f"tinykmod: {message}\n"
