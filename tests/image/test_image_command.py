"""`tinykmod image`: reasons found in the image itself, lists and comparisons."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from make_tree import RELEASE, make_tree

from tinykmod import loaders
from tinykmod.bench.debian import Kernel
from tinykmod.cli import main
from tinykmod.image import cpio
from tinykmod.image.archive import read_image
from tinykmod.image.build import build
from tinykmod.image.request import Image, Request
from tinykmod.image.why import explain

Make = Callable[..., Image]


def told(capsys: pytest.CaptureFixture[str], *words: object, code: int = 0) -> list[str]:
    assert main(["image", *map(str, words)]) == code
    out, error = capsys.readouterr()
    return (out or error).splitlines()


def test_the_reasons_are_those_of_the_build(make: Make, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    image = make(compress="zstd", add=["nls_cp850", "e1000e"], busybox=busybox, files=[(tmp_path / "key", "/key")])
    found = {file.path: file for file in explain(read_image(image.path).entries)}
    assert list(found) == [file.path for file in image.files]
    known = {file.path: file.reason for file in image.files}
    differ = {path for path, file in found.items() if file.reason != known[path]}
    # Which words asked for a file is not in the image; neither are the kernel's options for character sets.
    assert {Path(path).stem for path in differ} <= {"key", "e1000e", "nls_cp850", "nls_ascii", "nls_utf8"}
    reasons = {Path(path).stem: file.reason for path, file in found.items()}
    assert reasons["e1000e"] == "asked for by name (--add)"
    assert reasons["nls_cp850"] == "a character set of the kernel's options"
    assert reasons["key"] == ""
    assert reasons["jbd2"] == "needed by ext4"
    assert all(file.reason for path, file in found.items() if path != "key")


def test_listed_modules_and_firmware_have_their_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    firmware = [("firmware", "one/a.bin"), ("firmware", "one/fw*.bin"), ("firmware", "none.bin")]
    root = make_tree(tmp_path / "root", {
        "kernel/drivers/ata/one.ko.xz": {"modinfo": firmware, "imports": ["ata_host_register"]},
        "kernel/drivers/net/two.ko": {"modinfo": firmware[:1], "imports": ["three_symbol"]},
        "kernel/drivers/net/three.ko": {"exports": ["three_symbol"]},
        "kernel/drivers/net/four.ko": {"imports": ["three_symbol"]},
    })  # fmt: skip
    for name in ("lib/firmware/one/a.bin", "lib/firmware/one/fw1.bin", "etc/modules-load.d/x.conf"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("two\n")
    output = tmp_path / "image"
    request = Request(root, RELEASE, output, loaders.find(), add=["four"], modules_load=True)
    image = build(request)
    expected = [str(file).replace("--add four", "asked for by name (--add)") for file in image.files]
    assert told(capsys, "why", output) == expected
    lines = told(capsys, "why", output, "three", "/lib/firmware/one/a.bin", "lib/firmware/one/fw1.bin", "two")
    assert [line.partition(": ")[2] for line in lines] == [
        "firmware of one, two", "firmware of one", "needed by two", "/etc/modules-load.d/x.conf",
    ]  # fmt: skip


def test_what_is_not_in_the_image_is_told(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    image = make().path
    assert main(["image", "why", str(image), "nvme", "qla2xxx", "/none"]) == 1
    out, error = capsys.readouterr()
    assert out.count("\n") == 1
    assert error == f"tinykmod: qla2xxx, /none: not in {image}\n"


def test_an_image_that_something_else_made(
    make: Make, kernel: Kernel, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its places mean nothing to us; a module whose file is missing is no reason for another."""
    entries = read_image(make().path).entries
    index = f"lib/modules/{kernel.release}/tinykmod.tki"
    foreign = explain({path: entry for path, entry in entries.items() if path != index})
    assert {file.reason for file in foreign} == {""}
    assert str(foreign[-1]).endswith(": no reason is known")
    fewer = {path: entry for path, entry in entries.items() if not path.endswith("/ext4.ko")}
    assert next(file for file in explain(fewer) if file.path.endswith("/jbd2.ko")).reason != "needed by ext4"


def test_a_damaged_index_or_module_is_named(make: Make, kernel: Kernel, tmp_path: Path) -> None:
    entries = read_image(make().path).entries
    for end in ("tinykmod.tki", "kernel/fs/jbd2/jbd2.ko"):
        path = f"lib/modules/{kernel.release}/{end}"
        out = io.BytesIO()
        cpio.write(out, [*entries.values(), cpio.regular(path, entries[path].data[:1000])])
        (tmp_path / "damaged").write_bytes(out.getvalue())
        with pytest.raises(Exception, match=f"^/{path}: "):
            explain(read_image(tmp_path / "damaged").entries)


def test_a_list_has_every_file_as_cpio_lists_it(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    image = make(compress="gzip")
    *lines, part = told(capsys, "list", image.path)
    assert len(lines) == len(image.files)
    assert "crw-------      5, 1  /dev/console" in lines
    assert "lrwxrwxrwx         0  /sbin/modprobe -> ../init" in lines
    assert "drwxrwxrwt         0  /tmp" in lines
    assert sum(int(line.split()[1]) for line in lines if line[0] == "-") == sum(file.size for file in image.files)
    packed, unpacked = map(int, re.fullmatch(r"gzip: (\d+) bytes, (\d+) unpacked", part).groups())  # type: ignore[union-attr]
    assert packed == image.size
    assert unpacked > packed


def test_two_images_are_compared(make: Make, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = make(output=tmp_path / "one", omit=["nvme"], compress="gzip").path
    two = make(output=tmp_path / "two").path
    assert told(capsys, "diff", one, one)[0].startswith("0 only in the first, 0 only in the second, 0 differ; ")
    *lines, summary = told(capsys, "diff", one, two, code=1)
    signs = {Path(line.split()[-1]).name: line[0] for line in lines}
    assert {name for name, sign in signs.items() if sign == "+"} >= {"nvme.ko"}
    assert "-" not in signs.values()
    assert signs["tinykmod.tki"] == signs["modules.dep"] == "!"
    sizes = [next(file.size for file in image.files if file.path.endswith("/modules.dep"))
             for image in (make(output=one, omit=["nvme"]), make(output=two))]  # fmt: skip
    assert next(line for line in lines if line.endswith("/modules.dep")).split()[1:4] == [
        str(sizes[0]), "->", str(sizes[1]),
    ]  # fmt: skip
    counts = [list(signs.values()).count(sign) for sign in "-+!"]
    assert summary.startswith("{} only in the first, {} only in the second, {} differ; ".format(*counts))


def test_images_for_two_kernels_are_compared_file_by_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    modules = {"kernel/drivers/ata/one.ko": {"imports": ["ata_host_register"]}}
    for release in ("6.0.0-1", "6.0.0-2"):
        more = {"kernel/drivers/ata/two.ko": modules["kernel/drivers/ata/one.ko"]} if release.endswith("2") else {}
        root = make_tree(tmp_path / release, {**modules, **more}, release=release)
        build(Request(root, release, tmp_path / f"{release}.img", loaders.find()))
    lines = told(capsys, "diff", tmp_path / "6.0.0-1.img", tmp_path / "6.0.0-2.img", code=1)
    assert [line.split()[-1] for line in lines if line.endswith(".ko.tkp")] == [
        "/lib/modules/VERSION/kernel/drivers/ata/two.ko.tkp"
    ]


@pytest.mark.parametrize("action", ["list", "why", "diff"])
def test_what_is_no_image_is_one_line(action: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "text").write_text("text")
    for path in (tmp_path / "text", tmp_path / "absent", tmp_path):
        assert main(["image", action, *[str(path)] * (1 + (action == "diff"))]) == 1
        out, error = capsys.readouterr()
        assert (out, error.count("\n")) == ("", 1)
        assert str(path) in error
