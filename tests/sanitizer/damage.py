"""Puts damaged input through every reader of the core: `damage.py PART SCRATCH`, under scripts/build_sanitized.py.

A fault ends the process with the sanitizer's report, and a case that takes too long with SIGALRM; SCRATCH/case then
tells which case it was. The same cases every time; with TINYKMOD_FUZZ=1 then random ones, for SECONDS a part.
"""

from __future__ import annotations

import sanitized  # isort: split

import ctypes
import gc
import os
import random
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle, product
from pathlib import Path
from threading import Thread
from typing import Any

import lz4.block
from boot_cases import make_sysroot
from filesystems import make_filesystems
from make_ko import make_ko
from make_tree import RELEASE, make_tree

from tinykmod.errors import BinIndexError, IndexFormatError, ModuleFormatError
from tinykmod.index.compiler import compile_index
from tinykmod.index.schema import HEADER, ITEM, Section, checksum, layout
from tinykmod.kmod import depmod
from tinykmod.kmod.binindex import BinIndex
from tinykmod.kmod.config import read_config
from tinykmod.kmod.depmod_record import pack, unpack
from tinykmod.modules import elf, packed
from tinykmod.modules.tree import read_tree
from tinykmod.trace.plan import Load, Plan

core: Any = sanitized.core
SECONDS = 100
#: One case: far above what any takes.
TOO_LONG = 20.0
WORDS = (0, 1, 7, 8, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
WIDE = (1 << 31, (1 << 32) - 1, 1 << 32, 1 << 63, (1 << 64) - 64, (1 << 64) - 1)

_runtime = ctypes.CDLL(None)
_runtime.__asan_poison_memory_region.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_runtime.__sanitizer_get_current_allocated_bytes.restype = ctypes.c_size_t


def guarded(data: bytes | bytearray) -> bytes:
    """A copy of DATA, at whose very end the sanitizer looks: the NUL that Python has there may not be read either."""
    copy = bytes(bytearray(data))
    if len(copy) > 1:  # shorter ones are Python's own
        _runtime.__asan_poison_memory_region(id(copy) + sys.getsizeof(copy) - 1, 1)
    return copy


class Cases:
    """Damaged input, case by case: what is being tried is told to whoever finds the process dead."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.count = 0
        fuzz = "TINYKMOD_FUZZ" in os.environ
        self.seed = random.SystemRandom().randrange(1 << 32) if fuzz else 0
        self.seconds = SECONDS if fuzz else 0
        self._file = os.open(scratch / "case", os.O_RDWR | os.O_CREAT | os.O_TRUNC)

    def begin(self, what: str, data: bytes = b"") -> None:
        self.count += 1
        text = f"{what} (seed {self.seed}), {len(data)} bytes: ".encode() + data + b"\n"
        os.ftruncate(self._file, os.pwrite(self._file, text, 0))
        signal.setitimer(signal.ITIMER_REAL, TOO_LONG)

    def of(self, what: str, data: bytes, *, step: int = 1, share: float = 1.0) -> Iterator[bytes]:
        """DATA cut short, its bytes and words changed, at every STEP; then random damage for a SHARE of the time.

        STEP is no divisor of a record's size, so that each of its fields has its turn.
        """
        for how, damaged in known_damage(data, step):
            self.begin(f"{what}: {how}", damaged)
            yield damaged
        rng = random.Random(f"{self.seed} {what}")
        end = time.monotonic() + self.seconds * share
        while time.monotonic() < end:
            damaged = random_damage(rng, data)
            self.begin(f"{what}: random", damaged)
            yield damaged


def known_damage(data: bytes, step: int) -> Iterator[tuple[str, bytes]]:
    yield "whole", data
    for size in range(0, len(data), step):
        yield f"cut to {size}", data[:size]
    changed = bytearray(data)
    for at in range(0, len(data), step):
        old = changed[at]
        for new in {old ^ 1, old ^ 0x80, 0xFF, 0} - {old}:
            changed[at] = new
            yield f"byte {at} is {new}", bytes(changed)
        changed[at] = old
    for form, words in (("<I", WORDS), (">I", WORDS), ("<Q", WIDE), (">Q", WIDE)):
        size = struct.calcsize(form)
        for at in range(0, len(data) - size + 1, 4 * step):
            kept = changed[at : at + size]
            for word in words:
                struct.pack_into(form, changed, at, word)
                yield f"{form} at {at} is {word:#x}", bytes(changed)
            changed[at : at + size] = kept


def random_damage(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        at = rng.randrange(len(damaged) + 1)
        match rng.randrange(6):
            case 0:
                damaged[at : at + 1] = bytes([rng.randrange(256)])
            case 1:
                damaged[at : at + 4] = struct.pack(rng.choice(("<I", ">I")), rng.choice((*WORDS, at, len(data))))
            case 2:
                damaged[at : at + 8] = struct.pack(rng.choice(("<Q", ">Q")), rng.choice((*WIDE, at, len(data))))
            case 3:
                other = rng.randrange(len(damaged) + 1)
                size = rng.randrange(64)
                damaged[at : at + size] = damaged[other : other + size]
            case 4:
                damaged[at:at] = bytes(rng.choices(b' :.*?[]-/="\n\0,#aA0', k=rng.randrange(20)))
            case _:
                del damaged[at : at + rng.choice((1, 8, len(damaged)))]
    return bytes(damaged)


SAMPLE: dict[str, Any] = {
    "modinfo": [("alias", "pci:v*d[0-9]-*"), ("alias", "devname:x"), ("alias", "char-major-10-200"), ("softdep", "a"),
                ("weakdep", "b"), ("name", "sample")],
    "exports": {"one": 0x11223344, "two": 0xFFFFFFFF},
    "imports": {"three": 5, "four": 0xDEADBEEF, "five": None},
    "weak": ["five"],
}  # fmt: skip


def samples() -> Iterator[tuple[str, bytes]]:
    for bits, little in product((32, 64), (True, False)):
        kind = {"bits": bits, "little_endian": little}
        yield f"{bits} bits, little {little}", make_ko(**SAMPLE, **kind)
    yield "extended versions", make_ko(**SAMPLE, extended_versions=True, absolute_crcs=True)
    yield "stripped", make_ko(**SAMPLE, stripped=True, machine=21)


def ending_samples() -> Iterator[tuple[str, bytes]]:
    """For each section one where it ends with the file, whole or cut: a read beyond it is a read beyond the file."""
    for extended, cut in product((False, True), (0, 1, 60)):
        data = make_ko(**SAMPLE, extended_versions=extended)
        (table,), (count,) = struct.unpack_from("<Q", data, 40), struct.unpack_from("<H", data, 60)
        headers = [list(struct.unpack_from("<IIQQQQIIQQ", data, table + 64 * number)) for number in range(count)]
        contents = [data[header[4] : header[4] + header[5]] for header in headers]
        for last in range(1, count):
            if len(contents[last]) <= cut:
                continue
            out = bytearray(data[:64] + bytes(64 * count))
            shorter = contents[last][: len(contents[last]) - cut]
            struct.pack_into("<Q", out, 40, 64)
            for number in (*range(last), *range(last + 1, count), last):
                there = shorter if number == last else contents[number]
                headers[number][4:6] = len(out), len(there)
                out += there
                struct.pack_into("<IIQQQQIIQQ", out, 64 + 64 * number, *headers[number])
            yield f"section {last} last, cut by {cut}, extended versions {extended}", bytes(out)


def part_elf(cases: Cases) -> None:
    """read_elf(), over each sample."""
    every = [(what, data, 1) for what, data in samples()] + [(what, data, 7) for what, data in ending_samples()]
    for what, data, step in every:
        for damaged in cases.of(what, data, step=step, share=1 / len(every)):
            told = ""
            try:
                core.read_elf(guarded(damaged), "x.ko")
            except ModuleFormatError as error:
                told = str(error)
            assert not told or told.startswith("x.ko: ")


def part_packed(cases: Cases) -> None:
    """unpack(), over modules whose tables and runs are of every kind."""
    table = b"".join(struct.pack("<QQq", place * 13, place << 32 | 2, -4) for place in range(40))
    module = make_ko(**SAMPLE) + b"ab" * 40 + b"abc" * 40 + bytes(300) + bytes(range(200)) * 2
    at = len(module) + -len(module) % 8
    module = module.ljust(at, b"x") + table
    block = lz4.block.compress(module, mode="high_compression", store_size=False)
    for width, word in ((24, 8), (24, 4), (12, 4), (7, 0)):
        records = len(table) // width
        head = struct.pack("<4sIIIIIHH", packed.MAGIC, len(module), 1, at, records, 0xFFFFFF, width, word)
        core.unpack(guarded(head + block), "x.ko")
        for damaged in cases.of(f"packed, {width}, {word}", head + block, step=3, share=1 / 4):
            with suppress(ModuleFormatError):
                core.unpack(guarded(damaged), "x.ko")


def read_by_depmod(file: Path, pieces: Callable[[bytes, str], list[bytes]] = lambda data, which: [data]) -> Any:
    """An engine that has read FILE; None where it told that the file is damaged."""
    engine = core.Depmod([os.fsencode(file)])
    try:
        engine.read(pieces)
    except ModuleFormatError as error:
        assert str(error).startswith(f"{file}: ")
        return None
    return engine


def part_depmod(cases: Cases) -> None:
    """The files of modules: copied ones, mapped ones, what comes from the decompressor."""
    file = cases.scratch / "x.ko"
    for what, data in samples():
        for damaged in cases.of(f"file, {what}", data, step=11, share=1 / 8):
            file.write_bytes(damaged)
            engine = read_by_depmod(file)
            if engine is not None:
                made_of(engine, [b"x"], [b"x.ko"])
    data = make_ko(**SAMPLE)
    file.write_bytes(b"packed")
    for damaged in cases.of("unpacked", data, step=11, share=1 / 8):
        read_by_depmod(file, lambda _data, _which, got=damaged: [guarded(got)])
    # Large enough to be mapped: what a section header can point to lies in front of it, and its own end at the end.
    large = make_ko([("author", "x" * 150000), *SAMPLE["modinfo"]], SAMPLE["exports"], SAMPLE["imports"])
    tail = 1600
    for damaged in cases.of("mapped", large[-tail:], step=31, share=1 / 8):
        file.write_bytes(large[:-tail] + damaged)
        engine = read_by_depmod(file)
        if engine is not None:
            made_of(engine, [b"x"], [b"x.ko"])


def made_of(engine: Any, names: list[bytes], paths: list[bytes], *kernel: object) -> bool:
    made = engine.make(names, paths, *kernel)
    if made is None:
        return False
    for name, data in made.items():
        if name.endswith(".bin"):
            try:
                BinIndex(data, name).entries()
            except BinIndexError:
                # A key or a value that a NUL cuts.
                assert any(b"\0" in text for text in (*names, *paths))
    return True


TEXTS = [b"", b"\0", b"a", b"a\0b", b"-", b"\xff", b"[", b"x" * 5000, b"a" * 5000, b"kernel/a.ko", b"a b", b"\n"]


def part_records(cases: Cases) -> None:
    """Records that make no sense, and names, paths and a kernel's symbols that no kernel has."""
    record = pack(elf.read_elf(make_ko(**SAMPLE), "x"))
    for damaged in cases.of("record", record, share=0.5):
        engine = core.Depmod([b"/none", b"/none either"])
        engine.give(0, guarded(damaged))
        engine.give(1, record)
        made_of(engine, [b"x", b"y"], [b"x.ko", b"y.ko"], {b"three": 5, b"four": None}, True)
        made_of(engine, [b"x", b"y"], [b"x.ko", b"y.ko"])
    for name, path in product(TEXTS, TEXTS):
        cases.begin(f"names {name[:9]!r} and {path[:9]!r}")
        engine = core.Depmod([b"", b""])
        for number in range(2):
            engine.give(number, record)
        made_of(engine, [guarded(name), guarded(path)], [guarded(path), guarded(name)], {name: None, path: 1}, True)
    cases.begin("more symbols than there is room for at first")
    engine = core.Depmod([b""])
    engine.give(0, guarded(b"".join(b"es%d\0" % number for number in range(40000))))
    assert made_of(engine, [b"x"], [b"x.ko"])
    rng = random.Random(f"{cases.seed} graph")
    until = time.monotonic() + cases.seconds / 2
    rounds = 0
    while rounds < 60 or time.monotonic() < until:
        rounds += 1
        count = rng.choice((0, 1, 2, 63, 64, 65, 200))
        cases.begin(f"graph {rounds} of {count}")
        engine = core.Depmod([b""] * count)
        for number in range(count):
            engine.give(number, guarded(random_record(rng, number, count)))
        files = [b"m%d" % rng.randrange(2 * count) for _ in range(count)]
        kernel = rng.choice((None, {b"s1": 1, b"s0": None}))
        made_of(engine, files, [b"kernel/%s.ko" % name for name in files], kernel)


def random_record(rng: random.Random, number: int, count: int) -> bytes:
    """Entries of a module that mostly needs modules behind it, so that a circle comes only now and then."""
    out = b""
    for _ in range(rng.randrange(12)):
        tag = rng.choice(b"asweEiIo")
        crc = rng.randbytes(4) if tag in b"EI" else b""
        text = b"s%d" % (number if tag in b"eE" else rng.randrange(number, max(count, number + 1)))
        if tag in b"asw":
            text = bytes(rng.choices(b"ab-[]*?", k=rng.randrange(9)))
        out += bytes([tag]) + crc + text + b"\0"
    return out


MODULES: dict[str, Any] = {
    "kernel/nvme-core.ko": {"exports": {"core": 7}, "modinfo": [("alias", "net-pf-1")]},
    "kernel/nvme.ko": {"imports": {"core": 7}, "modinfo": [("alias", "pci:v*d?sv[0-9]*"), ("softdep", "pre: extra")]},
    "extra/extra.ko": {"modinfo": [("alias", "of:N*T*Cx,y-zC*"), ("alias", "of:N*T*Cx,y_zC*"),
                                   ("softdep", "post: nvme")]},
}  # fmt: skip
CONFIG = "options nvme a=1 b=2\nblacklist extra\nalias mine nvme\nalias pci:mine* extra\n"
ASKED = ["nvme", "nvme-core", "extra", "absent", "mine", "pci:v1d2sv3", "pci:mine1", "of:NxTyCx,y-zC1", "fs-part",
         "kernel_part", "net-pf-1", "", "pci:" + "9" * 5000]  # fmt: skip


def make_root(root: Path) -> Path:
    """A tree with index and text files; its directory of modules."""
    make_tree(root, MODULES, builtin={"kernel_part": ["fs-part"]}, config=CONFIG)
    directory = root / "lib/modules" / RELEASE
    tree = read_tree(root, RELEASE)
    plan = Plan(["pci:v1d2sv3"], {module.name: Load(1000) for module in tree.modules})
    (directory / "tinykmod.tki").write_bytes(compile_index(tree, read_config(root), plan=plan))
    for name, data in depmod.make(tree).files.items():
        (directory / name).write_bytes(data)
    return directory


def repaired(data: bytes) -> bytes:
    """A damaged index whose size and checksum fit again, where it is long enough to have them."""
    fixed = bytearray(data[: len(data) // 8 * 8])
    if len(fixed) < 80:
        return bytes(data)
    names = list(HEADER)

    def put(name: str, form: str, *values: int) -> None:
        before = "<" + layout({key: HEADER[key] for key in names[: names.index(name)]})
        struct.pack_into(form, fixed, struct.calcsize(before), *values)

    put("size", "=Q", len(fixed))
    put("sum", "=QQ", *checksum(fixed, sys.byteorder))
    return bytes(fixed)


def ask_index(data: bytes) -> bool:
    """Everything that can be asked of an index; whether it was opened at all."""
    try:
        index = core.Index(data, "x.tki")
    except IndexFormatError as error:
        assert str(error).startswith("x.tki: ")
        return False
    assert len(index) < 1 << 20
    for name in ASKED:
        index.match(name)
        index.lookup(name)
        index.plan([name])
        for module, alias in product(("nvme", "extra"), ("", name)):
            try:
                index.path(module)
                index.options(module, alias)
            except KeyError:
                pass
    index.plan(ASKED)
    return True


DIRECTORY = struct.calcsize("=" + layout(HEADER))


def ending_index(data: bytes, section: Section) -> tuple[bytes, int]:
    """An index at whose very end a section lies, and how many records it has: one less than the rest refers to."""
    at = DIRECTORY + 8 * section
    offset, count = struct.unpack_from("=II", data, at)
    kept = (count - 1) * ITEM[section] // 8 * 8 // ITEM[section]
    while kept * ITEM[section] % 8:
        kept -= 1
    contents = bytearray(data[offset : offset + kept * ITEM[section]])
    if section is Section.STRINGS:
        contents[-1] = 0
    moved = bytearray(data + contents)
    struct.pack_into("=II", moved, at, len(data), kept)
    return repaired(moved), kept


def part_index(cases: Cases) -> None:
    """The boot index, without and with a checksum that fits the damage."""
    data = (make_root(cases.scratch / "root") / "tinykmod.tki").read_bytes()
    assert ask_index(guarded(data))
    assert ask_index(memoryview(b"x" + data)[1:])  # type: ignore[arg-type]
    for damaged in cases.of("index", data, share=0.2):
        assert damaged == data or not ask_index(guarded(damaged))
    opened = 0
    for damaged in cases.of("repaired index", data, step=3, share=0.4):
        opened += ask_index(guarded(repaired(damaged)))
    assert opened > 1000
    for section in Section:
        ending, count = ending_index(data, section)
        assert ask_index(guarded(ending))
        for at in range(0, len(ending) - 3, 4):
            changed = bytearray(ending)
            struct.pack_into("=I", changed, at, count)
            cases.begin(f"{section.name} last: {at} is {count}")
            ask_index(guarded(repaired(changed)))
        for damaged in cases.of(f"{section.name} last", ending, step=61, share=0.4 / len(Section)):
            ask_index(guarded(repaired(damaged)))


class Loader:
    """The loader over its fake seam as a library: main() with what it prints."""

    def __init__(self, scratch: Path) -> None:
        self._library = ctypes.CDLL(sanitized.DIRECTORY / "loader_fake.so")
        self._files = [os.open(scratch / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC) for name in ("in", "out", "err")]
        self._kept = [os.dup(number) for number in range(3)]

    def __call__(self, *words: str | Path, text: bytes = b"") -> tuple[int, bytes, bytes]:
        encoded = [os.fsencode(word) for word in words]
        argv = (ctypes.c_char_p * (len(encoded) + 1))(*encoded, None)
        for number, file in enumerate(self._files):
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            if number == 0:
                os.pwrite(file, text, 0)
            # What the sanitizer reports must be seen: standard error stays, unless the case ends.
            os.dup2(file, number)
        try:
            code = self._library.main(len(encoded), argv)
        finally:
            for number, file in enumerate(self._kept):
                os.dup2(file, number)
        self._library.exact_forget()
        os.closerange(max(*self._files, *self._kept) + 1, 64)
        out, err = (os.pread(file, 1 << 20, 0) for file in self._files[1:])
        return code, out, err


NAMES = ("nvme", "nvme-core", "extra", "absent", "mine", "pci:v1d2sv3", "pci:mine1", "fs-part", "kernel_part")


def in_ways(loader: Loader, root: Path) -> Iterator[Callable[[], tuple[int, bytes, bytes]]]:
    """The ways in which the tools read a root, in turn and without end."""
    where = ("-d", root, "-S", RELEASE, "--sysroot", root)
    words: list[tuple[str | Path, ...]] = [
        ("modprobe", "-aDv", *where, *NAMES),
        ("tinykmod", "coldplug", "-v", *where),
        # With a root to wait for it begins with the plan.
        ("tinykmod", "coldplug", "--wait-root", "LABEL=none", *where),
        ("modprobe", "-r", *where, *NAMES),
        ("modinfo", "-b", root, "-k", RELEASE, *NAMES),
        ("modprobe", *where, "mine", "a=b c", "d"),
        ("modprobe", "-c", *where),
        ("modprobe", "-aR", *where, *NAMES),
    ]
    return cycle([partial(loader, *way) for way in words])


def make_machine(root: Path) -> Path:
    """A root as make_root() makes it, in a machine whose kernel has one of the modules; the modules' directory."""
    directory = make_root(root)
    make_sysroot(root, {"pci/1": "pci:v1d2sv3", "pci/2": "pci:mine1", "of/3": "of:NxTyCx,y-zC1"}, "nvme.x=1 quiet")
    for name in ("nvme_core", "extra"):
        (root / "sys/module" / name).mkdir(parents=True)
        (root / "sys/module" / name / "initstate").write_text("live\n")
        (root / "sys/module" / name / "refcnt").write_text("0\n")
    return directory


def part_loader_index(cases: Cases) -> None:
    """The boot index, as the loader maps it."""
    loader = Loader(cases.scratch)
    root = cases.scratch / "root"
    index = make_machine(root) / "tinykmod.tki"
    data = index.read_bytes()
    for name in ("modules.dep", "modules.alias"):
        (index.parent / name).unlink()
    ways = in_ways(loader, root)
    answers = [next(ways)()[0] for _ in range(8)]
    assert answers == [1, 0, 0, 1, 1, 0, 0, 1], answers
    for damaged in cases.of("index", data, step=7, share=0.2):
        index.write_bytes(damaged)
        code, out, err = loader("tinykmod", "match", index, *NAMES)
        assert (code, out, err.count(b"\n")) == (1, b"", 1) or damaged == data
        assert bytes(index) in err or damaged == data
    # The loader has a mark for each star, and no more.
    for at in range(0, len(data) - 3, 4):
        changed = bytearray(data)
        changed[at : at + 4] = data[DIRECTORY - 4 : DIRECTORY]
        cases.begin(f"{at} is the number of stars")
        index.write_bytes(repaired(changed))
        assert loader("tinykmod", "match", index, *NAMES)[0] in (0, 1)
    opened = 0
    for damaged in cases.of("repaired index", data, step=11, share=0.8):
        index.write_bytes(repaired(damaged))
        code, _out, err = loader("tinykmod", "resolve", index, *NAMES)
        assert code == 0 or err.startswith(b"tinykmod: index %b: " % bytes(index))
        if code == 0:
            opened += 1
            loader("tinykmod", "match", index, *NAMES)
            assert all(next(ways)()[0] in (0, 1) for _ in range(2))
    assert opened > 200


def part_loader_files(cases: Cases) -> None:
    """The text files that stand in for the index, what sysfs and procfs tell, modules."""
    loader = Loader(cases.scratch)
    root = cases.scratch / "root"
    directory = make_machine(root)
    (directory / "tinykmod.tki").unlink()
    assert loader("modprobe", "-D", "-d", root, "-S", RELEASE, "nvme")[1].count(b"insmod") == 3
    ways = in_ways(loader, root)
    files = [directory / f"modules.{name}" for name in ("dep", "alias", "softdep")]
    files += [root / "proc/cmdline", root / "sys/bus/pci/devices/1/uevent", root / "sys/module/extra/refcnt"]
    for file in files:
        data = file.read_bytes()
        for damaged in cases.of(file.name, data, step=5, share=1 / 10):
            file.write_bytes(damaged)
            assert all(next(ways)()[0] in (0, 1) for _ in range(2))
        file.write_bytes(data)
    line = b'nvme.a=1 nvme.b="x y" "nvme.c=d e" modprobe.blacklist=a,nvme,b nvme. .x nvme.y.z=1 "'
    for damaged in cases.of("command line", line, step=3, share=1 / 10):
        assert loader("tinykmod", "cmdline", "nvme", text=damaged)[0] == 0
        # The extension's face takes the same text.
        text = damaged.decode("utf-8", "surrogateescape")
        core.cmdline_options_of(text, "nvme")
        core.cmdline_blacklists(text, "nvme")
    module = cases.scratch / "x.ko"
    for what, data in samples():
        for damaged in cases.of(f"modinfo, {what}", data, step=23, share=1 / 20):
            module.write_bytes(damaged)
            for words in ((), ("-F", "alias")):
                code, _out, err = loader("modinfo", *words, module)
                assert code == 0 or err.startswith(b"tinykmod: modinfo %b: " % bytes(module))


#: Filesystem -> where in it what is read begins and ends. Those with checksums are let off before much is read.
READ = {
    "fat12": [(0, 96), (2048, 2144)],
    "fat32": [(0, 96)],
    "exfat": [(80, 112)],
    "f2fs": [(1024, 1180)],
    "iso9660-joliet": [(32768, 32850), (34816, 34910)],
    "squashfs": [(0, 48)],
    "swap-16k": [(1024, 1060), (16374, 16384)],
    "ext4-without-checksum": [(1024, 1160)],
}


def part_blkid(cases: Cases) -> None:
    """Superblocks and partition tables."""
    loader = Loader(cases.scratch)
    make_filesystems(cases.scratch / "images", READ)
    for name, spots in READ.items():
        path = cases.scratch / "images" / name
        assert loader("tinykmod", "blkid", path)[0] == 0
        for begin, end in spots:
            with path.open("rb") as file:
                file.seek(begin)
                data = file.read(end - begin)
            for damaged in cases.of(f"{name} from {begin}", data, step=3, share=1 / 12):
                # The loader's end closes what is open.
                with path.open("r+b") as file:
                    file.seek(begin)
                    file.write(damaged)
                    if name == "exfat":
                        file.seek(0)
                        file.write(struct.pack("<I", exfat_sum(file.read(11 * 512))) * 128)
                assert loader("tinykmod", "blkid", path)[0] in (0, 2)
                with path.open("r+b") as file:
                    file.seek(begin)
                    file.write(data)
    table = cases.scratch / "table"
    for script, sectors in (
        ("label: dos\nsize=1MiB\ntype=5,size=6MiB\nsize=1MiB,type=83\nsize=1MiB,type=83\n", (0, 4096, 8192)),
        ("label: gpt\nsize=1MiB,name=one\nsize=1MiB\n", (1, 2)),
    ):
        with table.open("wb") as file:
            file.truncate(16 << 20)
        subprocess.run(["/usr/sbin/sfdisk", "-q", table], input=script, text=True, check=True, capture_output=True)
        for sector in sectors:
            whole = table.read_bytes()
            begin = sector * 512 + (446 if "dos" in script else 0)
            for damaged in cases.of(f"{script!r}, {sector}", whole[begin : begin + 96][:66], step=5, share=1 / 20):
                image = bytearray(whole)
                image[begin : begin + 66] = damaged[:66].ljust(66, b"\0")
                if "gpt" in script:
                    count, size = struct.unpack_from("<II", image, 512 + 80)
                    entries = image[1024 : 1024 + min(count * size, 1 << 14)]
                    struct.pack_into("<I", image, 512 + 88, zlib.crc32(entries))
                    image[512 + 16 : 512 + 20] = bytes(4)
                    struct.pack_into("<I", image, 512 + 16, zlib.crc32(image[512 : 512 + 92]))
                with table.open("r+b") as file:
                    file.write(image[: 34 * 512])
                    file.seek(begin)
                    file.write(image[begin : begin + 66])
                assert loader("tinykmod", "blkid", table)[0] in (0, 2)
            table.write_bytes(whole)


def exfat_sum(sectors: bytes) -> int:
    """The checksum of exFAT's boot region."""
    total = 0
    for at, byte in enumerate(sectors):
        if at not in {106, 107, 112}:
            total = ((total << 31 | total >> 1) + byte) & 0xFFFFFFFF
    return total


def part_threads(cases: Cases) -> None:
    """Files that several threads read at once, a damaged one among them or not."""
    directory = cases.scratch / "many"
    directory.mkdir()
    paths, expected = [], []
    for number in range(240):
        modinfo = [("alias", f"a{number}*{at}") for at in range(number % 7 * 100)]
        data = make_ko([*modinfo, ("author", "x" * (number % 3 * 70000))], {f"e{number}": number}, [f"e{number + 1}"])
        path = directory / f"{number}.ko"
        path.write_bytes(data if number % 5 else b"packed" + data)
        paths.append(bytes(path))
        expected.append(unpack(pack(elf.read_elf(data, "x"))))
    sys.setswitchinterval(1e-5)
    rounds = 0
    until = time.monotonic() + cases.seconds
    while rounds < 4 or time.monotonic() < until:
        rounds += 1
        damaged = [None, 0, 120, 239][rounds % 4]
        cases.begin(f"round {rounds}, damaged: {damaged}")
        kept = None
        if damaged is not None:
            kept = Path(os.fsdecode(paths[damaged])).read_bytes()
            Path(os.fsdecode(paths[damaged])).write_bytes(kept[:-20])
        engine = core.Depmod(paths)
        failures: list[BaseException] = []
        threads = [Thread(target=read_some, args=(engine, failures)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if kept is None or damaged is None:
            assert not failures
            assert [unpack(engine.record(number)) for number in range(len(paths))] == expected
            assert made_of(engine, [b"m%d" % number for number in range(len(paths))], paths)
        else:
            assert [str(error).partition(":")[0] for error in failures] == [os.fsdecode(paths[damaged])]
            Path(os.fsdecode(paths[damaged])).write_bytes(kept)


def read_some(engine: Any, failures: list[BaseException]) -> None:
    try:
        engine.read(lambda data, which: [data[6:9], guarded(data[9:])])
    except BaseException as error:
        failures.append(error)


def part_leaks(cases: Cases) -> None:
    """What was taken is given back, after a failure too."""
    root = cases.scratch / "root"
    directory = make_root(root)
    index = (directory / "tinykmod.tki").read_bytes()
    small, large, cut = (cases.scratch / name for name in ("small.ko", "large.ko", "cut.ko"))
    record = pack(elf.read_elf(make_ko(**SAMPLE), "x"))
    small.write_bytes(make_ko(**SAMPLE))
    large.write_bytes(make_ko([("author", "x" * 150000)], ["e"], ["one"]))
    cut.write_bytes(large.read_bytes()[:-8])

    def failing_pieces(data: bytes, which: str) -> Iterator[bytes]:
        yield data
        raise ModuleFormatError(which, "not to be unpacked")

    def once() -> None:
        for files in ([small, large], [small, cut], [large, cases.scratch / "none"]):
            engine = core.Depmod([bytes(file) for file in files])
            try:
                engine.read(lambda data, _which: [data])
            except (ModuleFormatError, OSError):
                continue
            assert made_of(engine, [b"small", b"large"], [b"small.ko", b"large.ko"])
            assert not made_of(engine, [b"small", b"large"], [b"small.ko", b"large.ko"], {b"three": 5}, True)
        engine = core.Depmod([bytes(directory / "modules.dep")])
        with suppress(ModuleFormatError):
            engine.read(failing_pieces)
        engine = core.Depmod([b"", b""])
        engine.give(0, record)
        engine.give(1, record[:-1])
        engine.read(failing_pieces)
        engine.make([b"a", b"b"], [b"a.ko", b"b.ko"])
        for data in (index, index[:-8], memoryview(b"x" + index)[1:]):
            ask_index(data)  # type: ignore[arg-type]
        core.read_elf(small.read_bytes(), "x")

    rounds = 40
    for _ in range(3):
        once()
    gc.collect()
    before = _runtime.__sanitizer_get_current_allocated_bytes()
    for number in range(rounds):
        cases.begin(f"round {number}")
        once()
    gc.collect()
    grown = _runtime.__sanitizer_get_current_allocated_bytes() - before
    assert grown < 16 * rounds, f"{grown} bytes in {rounds} rounds"


def main() -> None:
    part, scratch = sys.argv[1:]
    cases = Cases(Path(scratch))
    globals()[f"part_{part}"](cases)
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"{part}: {cases.count} cases")


if __name__ == "__main__":
    main()
