"""`tinykmod boot`: one boot, live and then as a timeline."""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from tinykmod.cli.progress import line, warn
from tinykmod.errors import TinykmodError
from tinykmod.files import check_place, replacing

if TYPE_CHECKING:
    from tinykmod.bench.machines import Emulator
    from tinykmod.bench.measured import Measured
    from tinykmod.bench.result import BootResult


def configure(parser: argparse.ArgumentParser) -> None:
    from tinykmod.bench.engines import DEFAULT
    from tinykmod.bench.machines import names

    parser.add_argument("--kernel", metavar="VMLINUZ|PACKAGE",
                        help="or Debian's meta-package of it, which is fetched (default)")  # fmt: skip
    parser.add_argument("--initrd", type=Path, metavar="IMAGE",
                        help="default: one is built, with the kernel's drivers of disks and displays")  # fmt: skip
    parser.add_argument("--disk", type=Path, action="append", default=[], metavar="FILE",
                        help="a raw image, only read; repeatable (default: a root that reports)")  # fmt: skip
    parser.add_argument("--machine", default="virtio-blk", metavar="NAME|FILE",
                        help=f"{', '.join(names())}, or a file of one; `list` says what each is"
                        " (default: %(default)s)")  # fmt: skip
    parser.add_argument("--append", default="", metavar="WORDS", help="further words for the kernel command line")
    parser.add_argument("--engine", default=DEFAULT, metavar="NAME",
                        help="qemu-icount: an instruction is a nanosecond, and figures repeat (default); qemu: by the"
                        " host's clock, two processors")  # fmt: skip
    parser.add_argument("--timeout", type=_seconds, default=180, metavar="S",
                        help="seconds of the host's clock (default: %(default)s)")  # fmt: skip
    parser.add_argument("--until", type=_pattern, metavar="REGEX",
                        help="the console's line that shows that the root's init runs, which ends the boot"
                        " (default: a login prompt, where a disk is given)")  # fmt: skip
    parser.add_argument("-o", "--output", type=Path, metavar="FILE", help="write what was measured, as JSON")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write the loader's trace, for `tinykmod trace`")
    parser.add_argument("--console", type=Path, metavar="FILE", help="write what the console said")


def run(args: argparse.Namespace) -> int:
    from tinykmod.bench import marks
    from tinykmod.bench.engines import Qemu, engine
    from tinykmod.bench.machines import load, names
    from tinykmod.bench.timeline import missing, timeline

    if args.machine == "list":
        print(*(f"{name:12} {load(name).about}" for name in names()), sep="\n")
        return 0
    machine, by = load(args.machine), engine(args.engine)
    _check(args)
    if isinstance(by, Qemu):
        by.check(machine)
    show = line()
    with tempfile.TemporaryDirectory(prefix="tinykmod-boot-") as scratch:
        given = _given(args, machine.emulator, Path(scratch), show)
        # Costs some 10 ms of a boot in QEMU, and shows where one stands; on a real serial line it is seconds. Whether
        # a root reports and an image leaves a trace is only known afterwards, so all of the log comes to the console.
        words = [f"loglevel={8 if args.initrd or args.disk else 7}"] if isinstance(by, Qemu) else []
        append = " ".join([*words, *given.words, args.append])
        # Nobody is there to answer an image that asks for help.
        ends = [marks.GAVE_UP, *([args.until or marks.LOGIN] if args.until or args.disk else [])]
        with _watched(f"booting on {machine.name}", args.timeout, show) as heard:
            result = by.boot(given.kernel, given.initrd, machine, given.disks, append, args.timeout, heard,
                             "|".join(f"(?:{end})" for end in ends))  # fmt: skip
        size = given.initrd.stat().st_size
    boot = marks.measured(result, contender=str(args.initrd or "tinykmod"), machine=machine.name, engine=by.name,
                          image_bytes=size, until=args.until)  # fmt: skip
    _keep(args, boot, result)
    image = f"{args.initrd or 'image built here'}, {size / 2**20:.1f} MiB"
    print(f"{image}, on {machine.name} by {by.name}, {result.seconds:.0f} s here\n")
    print(timeline(boot), end="")
    warn([*filter(None, [result.damage]), *missing(boot, traced=bool(result.trace))])
    if boot.ended == "root":
        return 0
    sys.stdout.flush()
    print(*boot.console, sep="\n", file=sys.stderr)
    raise TinykmodError("root's init", f"did not run: {boot.error}")


class _Given(NamedTuple):
    """What is booted, and the words that the kernel gets for it."""

    kernel: Path
    initrd: Path
    disks: list[Path]
    words: list[str]


def _check(args: argparse.Namespace) -> None:
    """Find out early what cannot be read or written. Raises OSError."""
    for place in filter(None, (args.output, args.trace, args.console)):
        check_place(place)
    for file in filter(None, (args.initrd, *args.disk)):
        file.open("rb").close()


def _given(args: argparse.Namespace, emulator: Emulator, where: Path, show: Callable[[str], None]) -> _Given:
    """What ARGS name, and below WHERE what they do not. Raises TinykmodError, OSError."""
    from tinykmod.bench import defaults, marks

    words = []
    if not re.search(r"(^|\s)root=", args.append):
        words.append(f"root={defaults.root_of(args.disk[0]) if args.disk else f'UUID={defaults.ROOT_UUID}'}")
    if not args.kernel or args.kernel.startswith("linux-image-"):
        show("fetching the kernel")
        of, kernel = defaults.kernel(args.kernel or emulator.kernel, emulator, where)
    else:
        kernel = Path(args.kernel)
        defaults.check_kernel(kernel, emulator)
        of = None
    if args.initrd or args.disk:
        words.append(marks.INITCALLS)
    initrd = args.initrd
    if initrd is None:
        initrd = defaults.image(of or defaults.tree_of(kernel), emulator, where, show).path
    show("" if args.disk else "making a root disk")
    return _Given(kernel, initrd, args.disk or [defaults.root_disk(emulator, where)], words)


def _keep(args: argparse.Namespace, boot: Measured, result: BootResult) -> None:
    """Write the files that were asked for; a trace that did not come leaves none."""
    texts = [(args.output, f"{json.dumps(boot.to_json())}\n"), (args.console, result.console)]
    if result.trace is not None:
        texts.append((args.trace, "".join(f"{json.dumps(event)}\n" for event in result.trace)))
    elif args.trace:
        warn([f"{args.trace}: not written, as the boot printed no trace"])
    for place, text in texts:
        if place:
            with replacing(place) as out:
                out.write(text.encode(errors="surrogateescape"))


@contextmanager
def _watched(what: str, limit: float, show: Callable[[str], None]) -> Iterator[Callable[[str], None]]:
    """Shows what is done, for how long, and the line that was heard last, until the block ends."""
    begin, said, ended = time.monotonic(), [""], threading.Event()

    def hear(text: str) -> None:
        if text.strip():
            said[0] = text.strip()

    def tell() -> None:
        while not ended.wait(0.5):
            text = f"{what}, {time.monotonic() - begin:.0f} s of {limit:.0f}: {said[0]}"
            show(text[: shutil.get_terminal_size().columns - 1])

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield hear
    finally:
        ended.set()
        teller.join()
        show("")


def _seconds(text: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0 < found < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return found


def _pattern(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from None
    return text
