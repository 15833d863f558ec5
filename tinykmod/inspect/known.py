"""A module tree as one asks about it: by depmod's files where there are any, few modules being read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.inspect.kernel import Kernel
from tinykmod.inspect.roots import release_below, told
from tinykmod.kmod import depmod
from tinykmod.kmod.config import Softdep, Weakdep, Where, parse_softdep, read_config
from tinykmod.kmod.lookup import ModuleFiles
from tinykmod.modules.directory import module_directory, releases
from tinykmod.modules.files import ModuleFile
from tinykmod.modules.tree import Module, read_modules, read_tree


class Known:
    """The modules of RELEASE below ROOT with the configuration there, or that in CONFIG.

    Where depmod has not been, what it would write is made of all the modules; progress is read_tree()'s then. SHOWN
    is what ROOT was opened for, as roots.told() has it.
    Raises TinykmodError, OSError.
    """

    def __init__(
        self,
        root: Path,
        release: str,
        config: Sequence[Path] | None = None,
        progress: Callable[[int, int], None] | None = None,
        shown: Path | None = None,
    ) -> None:
        self.root = root
        self.shown = shown or root
        self.release = release
        self.directory = module_directory(root.absolute(), release)
        self.files = ModuleFiles(self.directory)
        self._read: dict[str, Module] = {}
        #: That of the files that depmod has written of the modules' own softdeps and weakdeps.
        self.own = [self.directory / name for name in ("modules.softdep", "modules.weakdep")]
        if self.files.exists():
            self.config = read_config(root, paths=config, also=self.own)
            return
        tree = read_tree(root, release, progress=progress)
        self.files = ModuleFiles(self.directory, depmod.make(tree).files)
        self._read = tree.by_name
        self.config = read_config(root, paths=config)
        for module in tree.modules:
            self.add_own(module)

    def told(self, path: str | Path) -> str:
        """How a user knows a file of the tree or its root."""
        return told(path, self.root, self.shown)

    def add_own(self, module: Module) -> None:
        """Have the configuration hold the softdeps and weakdeps of a module, as depmod would list them."""
        soft, weak = (Where(path, 0) for path in self.own)
        for text in module.softdeps:
            pre, post = parse_softdep(text)
            self.config.softdeps.append(Softdep(module.name, tuple(pre), tuple(post), soft))
        for text in module.weakdeps:
            self.config.weakdeps.append(Weakdep(module.name, tuple(text.split()), weak))

    def add(self, module: Module) -> None:
        """A module by its file, whose path is absolute: it counts instead of the tree's own of that name."""
        self._read[module.name] = module
        self.config.softdeps = [
            item for item in self.config.softdeps if (item.module, item.where.file) != (module.name, self.own[0])
        ]
        self.add_own(module)

    def modules(self, names: Iterable[str]) -> list[Module]:
        """Those of NAMES that are modules, read. Raises ModuleFormatError, OSError naming the file."""
        wanted = [(name, needs) for name in names if (needs := self.files.needs(name)) is not None]
        unread = [ModuleFile(name, self._relative(needs.path)) for name, needs in wanted if name not in self._read]
        self._read.update((module.name, module) for module in read_modules(self.directory, unread, None))
        return [self._read[name] for name, _ in wanted]

    def _relative(self, path: str) -> str:
        return path.removeprefix(f"{self.directory}/")

    @cached_property
    def kernel(self) -> Kernel:
        """The kernel that the modules are for."""
        return Kernel(self.root, self.release)


def tree_around(file: Path) -> tuple[Path, str] | None:
    """The root and release of the module tree that FILE lies in: ROOT/lib/modules/RELEASE/..., or below ROOT/usr."""
    for directory in file.absolute().parents:
        if directory.parent.name == "modules" and directory.parent.parent.name == "lib":
            root = directory.parent.parent.parent
            return (root.parent if root.name == "usr" else root), directory.name
    return None


def chosen_tree(root: Path, release: str | None, shown: Path) -> tuple[Path, str]:
    """The root and release that a user means by both; ROOT may be a module tree's own directory.

    Raises as roots.release_below().
    """
    around = tree_around(root / "modules.dep")
    if release is None and around is not None and not releases(root):
        return around
    return root, release_below(root, release, shown)


def tree_at(directory: Path) -> tuple[Path, str]:
    """The root and release of a module tree by its directory. Raises TinykmodError for one that is none."""
    found = tree_around(directory / "modules.dep")
    if found is None or not directory.is_dir():
        raise TinykmodError(directory, "no module tree: it is a directory ROOT/lib/modules/VERSION")
    return found
