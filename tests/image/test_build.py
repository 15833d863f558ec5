"""Images of a small tree: what is in them, that they repeat, and what a failure leaves behind."""

from __future__ import annotations

import gzip
import io
import lzma
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import zstandard
from make_ko import AARCH64, make_ko
from make_signature import appended, pkcs7

from tinykmod.bench.debian import Kernel
from tinykmod.cli.progress import line
from tinykmod.errors import TinykmodError
from tinykmod.image import cpio
from tinykmod.image.archive import read_image
from tinykmod.image.build import build
from tinykmod.image.request import Image, Request
from tinykmod.image.select import Selection, select
from tinykmod.index.reader import Index
from tinykmod.index.schema import ModuleFlag
from tinykmod.kmod.signature import without_signature
from tinykmod.modules.debug import without_debug
from tinykmod.modules.driver_class import DriverClass

Make = Callable[..., Image]


def unpack(image: Image) -> dict[str, cpio.Entry]:
    return {entry.path: entry for entry in cpio.read(image.path.read_bytes())}


def home(kernel: Kernel) -> str:
    return f"lib/modules/{kernel.release}"


def index_of(image: Image, kernel: Kernel) -> Index:
    return Index(unpack(image)[f"{home(kernel)}/tinykmod.tki"].data)


def compressed_copy(small: Path, kernel: Kernel, root: Path, suffix: str, compress: Callable[[bytes], bytes]) -> Path:
    """The small tree with every module compressed."""
    for path in small.rglob("*"):
        target = root / path.relative_to(small)
        if path.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        elif path.suffix == ".ko":
            target.with_name(target.name + suffix).write_bytes(compress(path.read_bytes()))
        else:
            target.write_bytes(path.read_bytes())
    return root


def test_the_image_has_what_a_boot_needs(make: Make, kernel: Kernel, program: Path) -> None:
    files = unpack(make())
    assert files["init"] == cpio.regular("init", program.read_bytes(), 0o755)
    for applet in ("modprobe", "insmod", "rmmod", "lsmod"):
        assert files[f"sbin/{applet}"] == cpio.symlink(f"sbin/{applet}", "../init")
    assert all(stat.S_ISDIR(files[name].mode) for name in ("dev", "etc", "proc", "root", "run", "sys", "tmp"))
    assert files["dev/console"].device == (5, 1)
    assert files["dev/null"].device == (1, 3)
    assert b"tinykmod" in files["etc/initrd-release"].data


def test_every_directory_is_there_before_what_is_in_it(make: Make) -> None:
    seen = {"."}
    for path, entry in unpack(make()).items():
        assert str(PurePosixPath(path).parent) in seen
        if stat.S_ISDIR(entry.mode):
            seen.add(path)


def test_each_module_of_the_index_is_in_the_image_as_it_was(make: Make, kernel: Kernel, small: Path) -> None:
    image = make()
    files, index = unpack(image), index_of(image, kernel)
    assert index.names == list(image.modules)
    assert index.release == kernel.release
    assert index.classes == DriverClass.STORAGE
    for name in index.names:
        path = f"{home(kernel)}/{index.module(name).path}"
        assert files[path].data == (small / path).read_bytes()
    modules = [path for path in files if path.endswith(".ko")]
    assert len(modules) == len(index.names)


def test_modules_are_chosen_for_a_reason(make: Make) -> None:
    modules = make().modules
    assert modules["nvme"] == "class storage"
    assert modules["virtio_pci"] == "class bus"
    assert modules["xhci_pci"] == "class usb"
    assert modules["nvme_core"] in ("class storage", "needed by nvme")
    assert modules["jbd2"] == "needed by ext4"
    assert modules["ext4"].startswith("fs-ext")
    # What softdeps, default character sets and strings have the kernel load by name.
    assert modules["crc32c_generic"].startswith("softdep of")
    assert "crc32c_intel" in modules
    assert modules["nls_cp437"].startswith("nls_cp437 for")
    assert modules["essiv"] == "crypto-essiv for dm_crypt"
    assert not {"e1000e", "nls_cp850", "cirrus"} & set(modules)


def test_classes_are_chosen_one_by_one(make: Make) -> None:
    modules = make(classes=DriverClass.GPU | DriverClass.NETWORK).modules
    assert {"e1000e", "cirrus", "virtio_pci"} <= set(modules)
    assert not {"nvme", "ext4"} & set(modules)


def test_add_takes_names_aliases_and_modaliases(make: Make) -> None:
    added = make(add=["nls-cp850", "pci:v00001013d000000B8sv00001AF4sd00001100bc03sc00i00"]).modules
    assert added["nls_cp850"] == "--add nls-cp850"
    assert added["cirrus"].startswith("--add pci:")
    assert "drm" in added


def test_add_refuses_what_leads_nowhere_and_tells_what_is_near(make: Make) -> None:
    with pytest.raises(TinykmodError, match=r"^nvm: no such module or alias; nearest: .*\bnvme\b"):
        make(add=["nvm"])
    with pytest.raises(TinykmodError, match="^zzzzzzzz: no such module or alias$"):
        make(add=["zzzzzzzz"])


def test_add_of_a_builtin_module_is_no_error(make: Make, small: Path, kernel: Kernel) -> None:
    builtin = (small / home(kernel) / "modules.builtin").read_text().splitlines()[0]
    assert make(add=[Path(builtin).stem]).modules == make().modules


def test_add_takes_patterns_of_names(make: Make) -> None:
    modules = make(add=["nls-cp8[5-9]0", "cirr?s"]).modules
    assert modules["nls_cp850"] == "--add nls-cp8[5-9]0"
    assert modules["cirrus"] == "--add cirr?s"
    with pytest.raises(TinykmodError, match=r"^zz\*: no such module or alias$"):
        make(add=["zz*"])


def test_omit_leaves_out_what_cannot_be_loaded_without_it(make: Make, kernel: Kernel) -> None:
    whole = make()
    image = make(omit=["nvme-core", "fs-ext4"])
    # With ext4 goes what only ext4 needs.
    assert set(whole.modules) - set(image.modules) == {
        *("nvme_core", "nvme", "ext4", "mbcache", "jbd2", "crc16")
    }
    assert image.warnings == ["nvme_core is omitted, and so is what needs it: nvme"]
    files, index = unpack(image), index_of(image, kernel)
    assert not [path for path in files if path.endswith(("/nvme.ko", "/ext4.ko"))]
    for name in index.names:
        assert set(index.module(name).deps) <= set(image.modules)
    # What only asks for it stays.
    crc = make(omit=["crc32c_*"])
    assert "ext4" in crc.modules
    assert set(whole.modules) - set(crc.modules) == {"crc32c_generic", "crc32c_intel"}
    assert crc.warnings == []


def test_omit_of_what_is_not_there_is_told(make: Make, small: Path, kernel: Kernel) -> None:
    builtin = Path((small / home(kernel) / "modules.builtin").read_text().splitlines()[0]).stem
    image = make(omit=["nvm", builtin, "cirrus"])
    assert image.warnings == ["--omit nvm: no such module or alias", f"--omit {builtin}: is built into the kernel"]
    assert image.modules == make().modules


def test_what_is_added_cannot_be_omitted(make: Make) -> None:
    with pytest.raises(TinykmodError, match="^--add nvme: nvme is omitted with nvme_core, which it needs$"):
        make(add=["nvme"], omit=["nvme_core"])
    with pytest.raises(TinykmodError, match=r"^--add nvm\*: nvme is omitted$"):
        make(add=["nvm*"], omit=["nvme"])


def test_each_file_has_a_reason(make: Make, kernel: Kernel, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret")
    image = make(busybox=busybox, files=[(tmp_path / "key", "/etc/keys/key")])
    files = unpack(image)
    assert [file.path for file in image.files] == list(files)
    for file in image.files:
        assert file.mode == files[file.path].mode
        assert file.reason
    reasons = {file.path: file.reason for file in image.files}
    assert reasons[f"{home(kernel)}/kernel/fs/jbd2/jbd2.ko"] == image.modules["jbd2"] == "needed by ext4"
    assert reasons["etc/keys/key"] == f"--file {tmp_path / 'key'}"
    assert reasons[f"{home(kernel)}/tinykmod.tki"] == "the boot index"
    modprobe = next(file for file in image.files if file.path == "sbin/modprobe")
    assert str(modprobe) == "        0  /sbin/modprobe -> ../init: the loader, by the name that the kernel calls"


def test_the_text_files_are_depmods(make: Make, kernel: Kernel, tmp_path: Path) -> None:
    """depmod, run on what was unpacked, writes the same dependencies and aliases."""
    image = make()
    subprocess.run(["cpio", "-id", "--quiet", "lib/*"], input=image.path.read_bytes(), cwd=tmp_path, check=True)
    ours = {name: (tmp_path / home(kernel) / name).read_text() for name in ("modules.dep", "modules.alias")}
    done = subprocess.run(
        ["depmod", "-b", str(tmp_path), kernel.release], capture_output=True, text=True, check=True,
        env={**os.environ, "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin"},
    )  # fmt: skip
    assert "missing" not in done.stderr.replace("could not open modules.builtin", "").replace("modules.order", "")
    theirs = {name: (tmp_path / home(kernel) / name).read_text() for name in ours}

    def dependencies(text: str) -> dict[str, set[str]]:
        return {path: set(needed.split()) for path, _, needed in (line.partition(":") for line in text.splitlines())}

    def lines(text: str) -> list[str]:
        return sorted(line for line in text.splitlines() if line and not line.startswith("#"))

    assert dependencies(ours["modules.dep"]) == dependencies(theirs["modules.dep"])
    assert lines(ours["modules.alias"]) == lines(theirs["modules.alias"])


def test_modules_dep_names_what_is_loaded_first_last(make: Make, kernel: Kernel) -> None:
    text = unpack(make())[f"{home(kernel)}/modules.dep"].data.decode()
    files = {line.partition(":")[0]: line.partition(":")[2].split() for line in text.splitlines()}
    for path, needed in files.items():
        for position, other in enumerate(needed):
            assert set(files[other]) <= set(needed[position + 1 :]), path


def test_softdeps_are_in_the_text_as_the_index_has_them(make: Make, kernel: Kernel) -> None:
    image = make()
    index, text = index_of(image, kernel), unpack(image)[f"{home(kernel)}/modules.softdep"].data.decode()
    softdeps = {line.split()[1]: line.split()[3:] for line in text.splitlines() if not line.startswith("#")}
    assert softdeps["ext4"] == index.module("ext4").pre
    assert set(softdeps["ext4"]) == {"crc32c_generic", "crc32c_intel"}


@pytest.mark.parametrize("compress", ["zstd", "xz", "gzip"])
def test_each_compression_unpacks_to_the_same_archive(make: Make, tmp_path: Path, compress: str) -> None:
    plain = make(output=tmp_path / "plain").path.read_bytes()
    data = make(compress=compress).path.read_bytes()
    if compress == "xz":
        decoder = lzma.LZMADecompressor()
        assert decoder.decompress(data) == plain
        assert decoder.check == lzma.CHECK_CRC32  # the only one that the kernel knows
    elif compress == "gzip":
        assert gzip.decompress(data) == plain
    else:
        assert zstandard.ZstdDecompressor().decompressobj().decompress(data) == plain
    assert len(data) < len(plain) / 2


@pytest.mark.parametrize("compress", ["zstd", "gzip"])
def test_two_builds_are_the_same_bytes(
    small: Path, kernel: Kernel, program: Path, tmp_path: Path, compress: str
) -> None:
    script = (
        "import sys; from pathlib import Path; from tinykmod.image.build import build\n"
        "from tinykmod.image.request import Request\n"
        "root, release, loader, output, compress = sys.argv[1:]\n"
        "build(Request(Path(root), release, Path(output), Path(loader), compress=compress))"
    )
    images = []
    for number, (seed, zone, mask) in enumerate([("1", "UTC", 0o022), ("77", "Asia/Tokyo", 0o077)]):
        here = tmp_path / str(number)
        here.mkdir()
        subprocess.run(
            [sys.executable, "-c", script, small, kernel.release, program, "image", compress], cwd=here, check=True,
            env={**os.environ, "PYTHONHASHSEED": seed, "TZ": zone, "PYTHONPATH": os.pathsep.join(sys.path)},
            umask=mask,
        )  # fmt: skip
        images.append((here / "image").read_bytes())
    assert images[0] == images[1]


def test_times_are_source_date_epoch(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    data = make().path.read_bytes()
    assert data[46:54] == b"%08X" % 1000000000


@pytest.mark.parametrize("word", ["yesterday", "-1", "99999999999"])
def test_an_epoch_that_is_none_is_an_error(make: Make, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", word)
    with pytest.raises(TinykmodError, match="SOURCE_DATE_EPOCH"):
        make()


class TestCompressedModules:
    """Where the kernel cannot decompress, modules are stored plain."""

    def xz(self, data: bytes) -> bytes:
        return lzma.compress(data, check=lzma.CHECK_CRC32, preset=0)

    def config(self, root: Path, kernel: Kernel, *lines: str) -> None:
        (root / "boot" / f"config-{kernel.release}").write_text("\n".join(["CONFIG_RD_ZSTD=y", *lines, ""]))

    def check(self, image: Image, kernel: Kernel, small: Path, suffix: str) -> None:
        files, index = unpack(image), index_of(image, kernel)
        dep = files[f"{home(kernel)}/modules.dep"].data.decode()
        for name in index.names:
            record = index.module(name)
            data = files[f"{home(kernel)}/{record.path}"].data
            assert record.path.endswith(suffix)
            assert bool(record.flags & ModuleFlag.COMPRESSED) == (suffix != ".ko")
            plain = (small / home(kernel) / record.path.removesuffix(".xz")).read_bytes()
            assert data == (plain if suffix == ".ko" else self.xz(plain))
            assert f"{record.path}:" in dep

    @pytest.mark.parametrize(
        "options",
        [
            None,
            [],
            ["CONFIG_MODULE_COMPRESS_XZ=y"],
            ["CONFIG_MODULE_DECOMPRESS=y", "CONFIG_MODULE_COMPRESS_ZSTD=y"],
            ["# CONFIG_MODULE_DECOMPRESS is not set", "CONFIG_MODULE_COMPRESS_XZ=y"],
        ],
    )
    def test_are_stored_plain(
        self, make: Make, small: Path, kernel: Kernel, tmp_path: Path, options: list[str] | None
    ) -> None:
        root = compressed_copy(small, kernel, tmp_path / "root", ".xz", self.xz)
        if options is None:
            (root / "boot" / f"config-{kernel.release}").unlink()
        else:
            self.config(root, kernel, *options)
        self.check(make(root=root), kernel, small, ".ko")

    def test_are_kept_where_the_kernel_knows_their_compression(
        self, make: Make, small: Path, kernel: Kernel, tmp_path: Path
    ) -> None:
        root = compressed_copy(small, kernel, tmp_path / "root", ".xz", self.xz)
        self.config(root, kernel, "CONFIG_MODULE_DECOMPRESS=y", "CONFIG_MODULE_COMPRESS_XZ=y")
        self.check(make(root=root), kernel, small, ".ko.xz")


def test_a_compression_that_the_kernel_cannot_unpack_is_refused(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    (root / "boot" / f"config-{kernel.release}").write_text("# CONFIG_RD_ZSTD is not set\nCONFIG_RD_GZIP=y\n")
    with pytest.raises(TinykmodError, match="cannot unpack zstd .CONFIG_RD_ZSTD is not set"):
        make(root=root, compress="zstd")
    make(root=root, compress="gzip")


def test_a_busybox_gives_a_shell(make: Make, busybox: Path) -> None:
    files = unpack(make(busybox=busybox))
    assert files["bin/busybox"] == cpio.regular("bin/busybox", busybox.read_bytes(), 0o755)
    assert files["bin/sh"] == cpio.symlink("bin/sh", "busybox")


def test_a_busybox_that_cannot_run_in_the_image_is_refused(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TinykmodError, match="not static: it needs /"):
        make(busybox=Path("/bin/sh").resolve())
    (tmp_path / "text").write_text("#!/bin/sh\n")
    with pytest.raises(TinykmodError, match="not a program"):
        make(busybox=tmp_path / "text")


def test_files_are_put_in_with_their_mode(make: Make, tmp_path: Path) -> None:
    source = tmp_path / "key"
    source.write_text("secret")
    source.chmod(0o640)
    files = unpack(make(files=[(source, "/etc/keys/disk.key")]))
    assert files["etc/keys/disk.key"] == cpio.regular("etc/keys/disk.key", b"secret", 0o640)
    assert stat.S_ISDIR(files["etc/keys"].mode)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("etc/x", "no absolute path"),
        ("/etc/../../x", "no absolute path"),
        ("/", "no absolute path"),
        ("/init", "the image has a file of its own there"),
        ("/init/x", "/init is not a directory"),
        ("/run", "the image has a file of its own there"),
    ],
)
def test_files_cannot_go_everywhere(make: Make, tmp_path: Path, target: str, why: str) -> None:
    (tmp_path / "x").write_text("x")
    with pytest.raises(TinykmodError, match=re.escape(why)):
        make(files=[(tmp_path / "x", target)])


def test_only_regular_files_are_put_in(make: Make, tmp_path: Path) -> None:
    with pytest.raises(TinykmodError, match="not a regular file"):
        make(files=[(tmp_path, "/etc/x")])


class TestFailure:
    """The image that was there before is there still, and nothing lies beside it."""

    @pytest.fixture
    def old(self, tmp_path: Path) -> Path:
        output = tmp_path / "out" / "image"
        output.parent.mkdir()
        output.write_text("the old image")
        return output

    def check(self, old: Path) -> None:
        assert old.read_text() == "the old image"
        assert list(old.parent.iterdir()) == [old]

    def test_of_a_damaged_module(self, make: Make, small: Path, kernel: Kernel, old: Path, tmp_path: Path) -> None:
        root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
        ext4 = next(root.rglob("ext4.ko"))
        ext4.write_bytes(ext4.read_bytes()[:1000])
        with pytest.raises(TinykmodError, match=r"ext4\.ko: "):
            make(root=root, output=old)
        self.check(old)

    def test_of_a_module_that_went_away_meanwhile(
        self, make: Make, small: Path, kernel: Kernel, old: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)

        def select_and_unlink(*args: Any) -> Selection:
            selection = select(*args)
            next(root.rglob("ext4.ko")).unlink()
            return selection

        monkeypatch.setattr("tinykmod.image.build.select", select_and_unlink)
        with pytest.raises(FileNotFoundError):
            make(root=root, output=old)
        self.check(old)

    @pytest.mark.parametrize("compress", ["none", "zstd", "xz", "gzip"])
    def test_of_a_full_disk(self, small: Path, kernel: Kernel, program: Path, old: Path, compress: str) -> None:
        """A limit on the size of files fails like a full disk: in the middle of a write."""
        script = (
            "import resource, sys; from pathlib import Path; from tinykmod.image.build import build\n"
            "from tinykmod.image.request import Request\n"
            "root, release, loader, output, compress = sys.argv[1:]\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "build(Request(Path(root), release, Path(output), Path(loader), compress=compress))"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, small, kernel.release, program, old, compress],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert "File too large" in done.stderr.splitlines()[-1]
        self.check(old)


def test_debug_sections_stay_out_unless_they_are_signed(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    file = next(root.rglob("nls_utf8.ko"))
    bare = without_signature(file.read_bytes(), "")
    file.write_bytes(bare)
    (tmp_path / "debug").write_bytes(bytes(range(250)) * 1000)
    subprocess.run(["objcopy", "--add-section", f".debug_info={tmp_path / 'debug'}", file], check=True)
    path = f"{home(kernel)}/{file.relative_to(root / home(kernel))}"
    with_debug = file.read_bytes()
    stored = unpack(make(root=root))[path].data
    assert len(stored) <= len(with_debug) - 250_000
    assert stored == without_debug(with_debug)
    signed = with_debug + appended(pkcs7())
    file.write_bytes(signed)
    assert unpack(make(root=root))[path].data == signed
    assert unpack(make(root=root, drop_signatures=True))[path].data == stored


def test_a_loader_for_another_machine_is_refused(make: Make, program: Path, kernel: Kernel) -> None:
    program.write_bytes(make_ko(machine=AARCH64))
    with pytest.raises(TinykmodError, match=r"loader: is for EM_AARCH64, the modules of .* are for EM_X86_64$"):
        make()
    program.write_bytes(b"#!/bin/sh\n")
    with pytest.raises(TinykmodError, match="loader: not a program"):
        make()


def test_what_is_being_done_is_told(small: Path, kernel: Kernel, program: Path, tmp_path: Path) -> None:
    request = Request(small, kernel.release, tmp_path / "image", program)
    told: list[str] = []
    image = build(request, told.append)
    stages = [re.sub(r": (\d+) of (\d+)$", "", text) for text in told]
    assert list(dict.fromkeys(stages)) == [
        "reading modules", "choosing modules", "writing files", "checking the image", ""
    ]  # fmt: skip
    assert told[-1] == ""
    assert f"writing files: {len(image.files) - 1} of {len(image.files)}" in told
    # An error's line does not stand behind it.
    with pytest.raises(TinykmodError):
        build(replace(request, add=["no_such_module"]), told.append)
    assert told[-2:] == ["choosing modules", ""]


def test_a_terminal_shows_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stderr", Terminal())
    show = line()
    show("reading modules: 10 of 12")
    show("choosing")
    show("")
    assert sys.stderr.getvalue() == "\r\033[Kreading modules: 10 of 12\r\033[Kchoosing\r\033[K"
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    line()("nothing")
    assert sys.stderr.getvalue() == ""


def test_an_unknown_compression_is_an_error(make: Make) -> None:
    with pytest.raises(TinykmodError, match="lzo: no such compression; there are modules, zstd, xz, gzip, lz4, none"):
        make(compress="lzo")


def test_lz4_is_the_kernels_frame(make: Make, small: Path, kernel: Kernel, tmp_path: Path) -> None:
    plain = make().path.read_bytes()
    archive = read_image(make(compress="lz4").path)
    assert [(part.compression, part.unpacked) for part in archive.parts] == [("lz4", len(plain))]
    assert list(archive.entries.values()) == cpio.read(plain)
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    (root / "boot" / f"config-{kernel.release}").write_text("CONFIG_RD_ZSTD=y\n")
    with pytest.raises(TinykmodError, match="cannot unpack lz4 .CONFIG_RD_LZ4 is not set"):
        make(root=root, compress="lz4")


def test_the_kernels_options_may_be_beside_its_modules(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    (root / home(kernel) / "config").write_text("CONFIG_RD_ZSTD=y\n")
    with pytest.raises(TinykmodError, match=f"{home(kernel)}/config: the kernel cannot unpack gzip"):
        make(root=root, compress="gzip")


class TestInit:
    """A program of the user's as /init: the loader is beside it."""

    def test_is_there_and_the_tools_are_the_loader(
        self, make: Make, program: Path, busybox: Path, kernel: Kernel
    ) -> None:
        files = unpack(make(init=busybox))
        assert files["init"] == cpio.regular("init", busybox.read_bytes(), 0o755)
        assert files["sbin/tinykmod"] == cpio.regular("sbin/tinykmod", program.read_bytes(), 0o755)
        for applet in ("modprobe", "insmod", "rmmod", "lsmod", "modinfo"):
            assert files[f"sbin/{applet}"] == cpio.symlink(f"sbin/{applet}", "tinykmod")

    def test_needs_what_starts_it(self, make: Make, busybox: Path, tmp_path: Path) -> None:
        script = tmp_path / "script"
        script.write_text("#!/bin/sh -e\n/sbin/tinykmod coldplug\n")
        with pytest.raises(TinykmodError, match=f"^{script}: needs /bin/sh, which the image lacks$"):
            make(init=script)
        assert unpack(make(init=script, busybox=busybox))["init"].data == script.read_bytes()
        with pytest.raises(TinykmodError, match="needs /lib.*, which the image lacks"):
            make(init=Path("/bin/sh").resolve())
        (tmp_path / "text").write_text("no program")
        with pytest.raises(TinykmodError, match="text: not a program"):
            make(init=tmp_path / "text")


def test_the_image_tells_of_config_lines_that_mean_nothing(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    (root / "etc/modprobe.d").mkdir(parents=True)
    (root / "etc/modprobe.d/x.conf").write_text("optoins nvme io_queue_depth=2\noptions nvme io_queue_depth=3\n")
    image = make(root=root)
    assert [warning.partition(": ")[0] for warning in image.warnings] == [f"{root}/etc/modprobe.d/x.conf:1"]
    assert index_of(image, kernel).options("nvme") == "io_queue_depth=3"


def test_a_softdep_of_the_configuration_is_in_the_image(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    (root / "etc/modprobe.d").mkdir(parents=True)
    (root / "etc/modprobe.d/x.conf").write_text("softdep nvme pre: nls_cp850\n")
    assert make(root=root).modules["nls_cp850"] == "softdep of nvme"


def test_modules_load_d_goes_in_with_its_modules_when_asked(
    make: Make, small: Path, kernel: Kernel, tmp_path: Path
) -> None:
    root = compressed_copy(small, kernel, tmp_path / "root", "", bytes)
    listed = {
        "etc/modules-load.d/a.conf": "# e1000e\n\n  nls-cp850 \nnot-there\n",
        "etc/modules-load.d/b.conf": "",
        "etc/modules-load.d/README": "cirrus\n",
        "usr/lib/modules-load.d/a.conf": "cirrus\n",
        "usr/lib/modules-load.d/b.conf": "cirrus\n",
        "usr/lib/modules-load.d/c.conf": "cirrus\n",
        "srv/real.conf": "; all of it\ne1000e\n",
    }
    for name, text in listed.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "etc/modules-load.d/c.conf").symlink_to("/dev/null")
    (root / "etc/modules-load.d/d.conf").symlink_to("/srv/real.conf")
    without = make(root=root)
    assert not [path for path in unpack(without) if "modules-load" in path]
    image = make(root=root, modules_load=True)
    assert image.warnings == ["/etc/modules-load.d/a.conf: not-there: no such module"]
    files = {path: entry.data.decode() for path, entry in unpack(image).items() if path.endswith(".conf")}
    assert files == {
        "etc/modules-load.d/a.conf": listed["etc/modules-load.d/a.conf"],
        "etc/modules-load.d/d.conf": listed["srv/real.conf"],
    }
    assert image.modules["nls_cp850"] == "/etc/modules-load.d/a.conf"
    assert image.modules["e1000e"] == "/etc/modules-load.d/d.conf"
    assert "cirrus" not in image.modules
