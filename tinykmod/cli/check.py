"""`tinykmod check`: is a whole module tree in order, with its kernel, its indexes, its firmware and modprobe.d?"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from tinykmod.cli.config import add_config
from tinykmod.cli.findings import add_report, report
from tinykmod.cli.progress import counter
from tinykmod.errors import TinykmodError
from tinykmod.inspect.check import check
from tinykmod.inspect.check_rules import RULES
from tinykmod.inspect.report import Finding
from tinykmod.kmod.config import read_config
from tinykmod.modules.directory import PARENTS, module_directory


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-b", "--root", type=Path, metavar="ROOT",
                        help="where lib/modules, modprobe.d, boot and lib/firmware are (default: /)")  # fmt: skip
    add_config(parser)
    add_report(parser, RULES)
    parser.add_argument(
        "tree", nargs="?", metavar="VERSION|TREE", help="release or its modules' directory (default: running kernel)"
    )


def run(args: argparse.Namespace) -> int:
    return report(args, "check", RULES, lambda: _check(args))


def _check(args: argparse.Namespace) -> tuple[list[Finding], dict[str, object]]:
    directory, root = _place(args.root, args.tree or os.uname().release)
    # A tree by itself has no configuration.
    paths = args.config if root is not None or args.config is not None else []
    config = read_config(root, paths=paths)
    checked = check(directory, root, config, progress=counter("reading modules"))
    about = {
        "tree": str(directory),
        "modules": checked.modules,
        "kernel": None if checked.kernel.source is None else str(checked.kernel.source),
    }
    return checked.findings, about


def _place(root: Path | None, word: str) -> tuple[Path, Path | None]:
    """The tree's directory, and the root that it is below; None for one that is in no lib/modules.

    Raises TinykmodError where there is no such tree.
    """
    if "/" not in word:
        root = root or Path("/")
        return module_directory(root, word), root
    directory = Path(word).absolute()
    if not directory.is_dir():
        raise TinykmodError(word, "no such directory")
    if root is not None:
        return directory, root
    for parent in PARENTS:
        depth = len(Path(parent).parts)
        if directory.parts[-depth - 1 : -1] == Path(parent).parts:
            above = directory.parents[depth]
            # ROOT/usr/lib/modules ends as ROOT/lib/modules does.
            return directory, above.parent if parent == PARENTS[0] and above.name == "usr" else above
    return directory, None
