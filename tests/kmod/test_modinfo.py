"""tinykmod modinfo beside Debian's: the same bytes for every module of real kernels."""

from __future__ import annotations

import gzip
import itertools
import lzma
import os
from pathlib import Path

import pytest
import zstandard
from beside_kmod import Ran, kmod, ours
from make_ko import make_ko

from tinykmod import core
from tinykmod.bench import debian
from tinykmod.kmod import modinfo

Capture = pytest.CaptureFixture[bytes]

#: What a parameter can be made of; a name without `:` names none.
ODD = (
    ("license", "GPL"), ("parm", "b:what it does"), ("parmtype", "a:int"), ("parm", "only:what it does"),
    ("parmtype", "b:uint"), ("parm", "b:again"), ("parmtype", "b:byte"), ("parm", "no colon"), ("parmtype", "none"),
    ("a_field_with_a_long_name", "x"), ("alias", "z"), ("license", "MIT"), ("empty", ""), ("parm", ":x"),
    ("parmtype", "e:"), ("parm", "y:"), ("parmtype", "y:int"), ("parm", "v:"), ("parm", "w:d"), ("parmtype", "w:"),
    ("author", "two\nlines"), ("latin", "\udce9"), ("import_ns", "A"), ("firmware", "x/y.bin"),
)  # fmt: skip

OPTIONS = (
    (), ("-0",), ("-a",), ("-d",), ("-l",), ("-n",), ("-p",), ("-p", "-0"), ("-F", "parm"), ("-F", "parmtype"),
    ("-F", "alias"), ("-F", "License"), ("-F", "no_such"), ("-F", "empty"), ("-0", "-F", "author"), ("-F", "name"),
    ("-F", "filename"), ("--field=license",), ("-F", "signer"), ("-l", "-F", "latin"), ("-F", "latin", "-l"),
)  # fmt: skip


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "odd.ko").write_bytes(make_ko(modinfo=ODD))
    (tmp_path / "none.ko").write_bytes(make_ko())
    (tmp_path / "32.ko").write_bytes(make_ko(modinfo=ODD, bits=32, little_endian=False))
    return tmp_path


def same(capture: Capture, *words: str | os.PathLike[str]) -> Ran:
    theirs = kmod("modinfo", *words)
    assert ours(capture, "modinfo", *words) == theirs
    return theirs


def test_every_module_of_a_kernel(kernel: debian.Kernel, capfdbinary: Capture) -> None:
    files = sorted(kernel.root.glob("lib/modules/*/**/*.ko"))
    assert len(files) > 4000
    done = same(capfdbinary, *files)
    assert done.code == 0
    assert done.out.count(b"\nsig_id:         PKCS#7\n") == len(files)


def test_compressed_modules(capfdbinary: Capture) -> None:
    files = sorted(debian.fetch_kernel("linux-image-6.12-amd64").root.glob("lib/modules/*/**/*.ko.xz"))
    assert len(files) > 4000
    done = same(capfdbinary, *files[::40])
    assert done.out.count(b"\nsigner: ") > 100


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_options(odd: Path, capfdbinary: Capture, options: tuple[str, ...]) -> None:
    done = same(capfdbinary, *options, "odd.ko", "none.ko", "./32.ko", f"{odd}/../{odd.name}/odd.ko")
    assert done.code == 0


@pytest.mark.parametrize(
    "field", ["alias", "depends", "firmware", "parm", "sig_key", "signature", "vermagic", "softdep", "license"]
)
def test_fields_of_real_modules(kernel: debian.Kernel, capfdbinary: Capture, field: str) -> None:
    names = ("btrfs", "cifs", "e1000e", "qla2xxx", "snd-hda-intel", "usb-storage", "xen-pciback")
    files = [next(kernel.root.rglob(f"{name}.ko")) for name in names]
    assert same(capfdbinary, "-F", field, *files).out


@pytest.mark.parametrize(
    "words",
    [
        ("crc32c-intel", "crc32c_intel"), ("dm_mod",), ("-n", "e1000e.ko"), ("-n", "crc32c"), ("-n", "fs-ext4"),
        ("-n", "pci:v00008086d0000100Esv00001AF4sd00001100bc02sc00i00", "nope", "ext4"), ("-n", "symbol:crc32c"),
        ("-n", "of:N-T-Cfsl,imx6q"), ("-n", "virtio:d00000001v00001AF4"), ("-n", "kernel/fs/ext4/ext4.ko"),
        ("tcp_cubic",), ("-0", "tcp-cubic"), ("-p", "usbcore"), ("-n", "unix"), ("net-pf-1",), ("firmware_class",),
        ("-F", "name", "tcp_cubic"), ("-F", "license", "tcp_cubic"), ("-F", "file", "usbcore", "ext4"),
        ("-m", "crc32c"), ("-m", "-n", "crc32c-intel"), ("-m", "e1000e.ko", "-n"), ("-m", "net-pf-1"),
        ("--modname", "tcp-cubic.x"), ("-m", "a[b"), ("a[b",), ("a]b", "-n", "ext4"), ("nope",), ("",),
    ],
    ids=" ".join,
)  # fmt: skip
def test_names_and_aliases(
    depmod_root: Path, kernel: debian.Kernel, capfdbinary: Capture, words: tuple[str, ...]
) -> None:
    same(capfdbinary, "-b", depmod_root, "-k", kernel.release, *words)


def test_every_builtin_module(depmod_root: Path, kernel: debian.Kernel, capfdbinary: Capture) -> None:
    listed = (depmod_root / "lib/modules" / kernel.release / "modules.builtin").read_text().splitlines()
    names = [Path(line).stem for line in listed]
    assert len(names) > 150
    assert same(capfdbinary, "-b", depmod_root, "-k", kernel.release, "-m", *names).code == 0


def test_no_words(capfdbinary: Capture) -> None:
    assert same(capfdbinary).err == b"modinfo: ERROR: missing module or filename.\n"


def test_what_is_no_module_file(odd: Path, capfdbinary: Capture) -> None:
    """A directory, a missing file, a name without .ko: all count as names, and are not found."""
    (odd / "directory.ko").mkdir()
    (odd / "plain").write_bytes(make_ko())
    words = ("directory.ko", "absent.ko", "./plain", "odd.ko")
    theirs = kmod("modinfo", "-n", "-b", odd, *words)
    (odd / "lib/modules" / os.uname().release).mkdir(parents=True)
    assert ours(capfdbinary, "modinfo", "-n", "-b", odd, *words) == theirs
    assert theirs.code == 1


def test_no_tree(tmp_path: Path, capfdbinary: Capture) -> None:
    words = ("-b", tmp_path, "-k", "9.9", "ext4")
    theirs, mine = kmod("modinfo", *words), ours(capfdbinary, "modinfo", *words)
    assert (mine.code, mine.out) == (theirs.code, theirs.out) == (1, b"")
    assert mine.err.startswith(b"modinfo: ERROR: %s/lib/modules/9.9: no such directory" % bytes(tmp_path))
    os.mkfifo(tmp_path / "fifo.ko")
    for path in (f"{tmp_path}/none.ko", "./none", f"{tmp_path}/fifo.ko", "/"):
        theirs = same(capfdbinary, *words[:-1], path)
        assert theirs == (1, b"", f"modinfo: ERROR: Module {path} not found.\n".encode())


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress, zstandard.compress], ids=["gz", "xz", "zst"])
def test_compression_is_told_by_the_first_bytes(odd: Path, capfdbinary: Capture, compress: object) -> None:
    assert callable(compress)
    plain = ours(capfdbinary, "modinfo", odd / "odd.ko").out
    for name in ("odd.ko.gz", "odd.ko.xz", "odd.ko.zst", "odd2.ko"):
        (odd / name).write_bytes(compress((odd / "odd.ko").read_bytes()))
        assert ours(capfdbinary, "modinfo", odd / name).out == plain.replace(b"odd.ko", name.encode())


def test_a_damaged_file_is_one_line_and_the_next_is_shown(
    kernel: debian.Kernel, tmp_path: Path, capfdbinary: Capture
) -> None:
    """What kmod prints of such files stays; the line says which file it was, and why."""
    whole = next(kernel.root.rglob("dummy.ko")).read_bytes()
    good = tmp_path / "good.ko"
    good.write_bytes(whole)
    for size in (0, 3, 40, 700, len(whole) // 2):
        cut = tmp_path / "cut.ko"
        cut.write_bytes(whole[:size])
        theirs, mine = kmod("modinfo", cut, good), ours(capfdbinary, "modinfo", cut, good)
        assert (mine.code, mine.out) == (theirs.code, theirs.out)
        assert mine.code == 1
        assert mine.err.startswith(b"modinfo: ERROR: %s: " % bytes(cut))
        assert mine.err.count(b"\n") == 1
    cut.write_bytes(lzma.compress(whole)[:-50])
    mine = ours(capfdbinary, "modinfo", cut)
    assert (mine.code, mine.err.count(b"\n")) == (1, 1)
    assert mine.err.startswith(b"modinfo: ERROR: %s: compressed data are damaged" % bytes(cut))


def test_a_file_that_cannot_be_read(tmp_path: Path, capfdbinary: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "x.ko"
    file.touch()

    def denied(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "read_bytes", denied)
    mine = ours(capfdbinary, "modinfo", file)
    assert (mine.code, mine.err) == (1, f"modinfo: ERROR: {file}: Permission denied\n".encode())


def test_a_builtin_module_without_modinfo(tmp_path: Path, capfdbinary: Capture) -> None:
    directory = tmp_path / "lib/modules/1"
    directory.mkdir(parents=True)
    (directory / "modules.builtin").write_text("kernel/x.ko\n")
    (directory / "modules.builtin.modinfo").write_bytes(b"y.license=GPL\0")
    mine = ours(capfdbinary, "modinfo", "-b", tmp_path, "-k", "1", "x")
    assert (mine.code, mine.out) == (1, b"name:           x\nfilename:       (builtin)\n")
    assert mine.err == f"modinfo: ERROR: {directory}/modules.builtin.modinfo: says nothing of x\n".encode()


def test_the_twin_gives_the_same_fields(kernel: debian.Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    files = list(itertools.islice(kernel.root.glob("lib/modules/*/**/*.ko"), 0, None, 400))
    images = [(modinfo.read_image(file), str(file)) for file in files]
    fast = [modinfo.module_fields(*image) for image in images]
    monkeypatch.setattr(core, "extension", None)
    assert [modinfo.module_fields(*image) for image in images] == fast
