"""From a module tree and its configuration to a boot index."""

from __future__ import annotations

import fnmatch
import hashlib
import re
import struct
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, filterfalse, starmap
from pathlib import Path

from tinykmod.errors import TinykmodError
from tinykmod.index.matcher import Nodes, Pattern
from tinykmod.index.reader import Index
from tinykmod.index.schema import (
    BYTE_ORDER,
    HEADER,
    MAGIC,
    MODULE,
    NODE,
    NONE,
    PLANNED,
    STATEMENT,
    TABLE,
    VALUE,
    VERSION,
    ModuleFlag,
    PlanFlag,
    Section,
    StatementKind,
    checksum,
    layout,
)
from tinykmod.kmod.config import Command, Config, Where, parse_softdep
from tinykmod.kmod.depends import resolve
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, module_name, normalise_pattern
from tinykmod.kmod.signature import read_signature
from tinykmod.modules import packed
from tinykmod.modules.classes import serves_devices
from tinykmod.modules.compression import decompress
from tinykmod.modules.driver_class import DriverClass
from tinykmod.modules.tree import Module, ModuleTree
from tinykmod.trace.plan import Plan

#: (pre, post, weak) as modules' names.
_Soft = tuple[list[str], list[str], list[str]]
_NO_SOFT: _Soft = ([], [], [])
#: Where a row of MODULES has what its softdeps set.
_AT_SOFT = list(MODULE).index("soft")
_SOFT = slice(list(MODULE).index("n_pre"), list(MODULE).index("n_weak") + 1)


class _Strings:
    """The STRINGS section: NUL-terminated, each text once, the empty one at offset 0."""

    def __init__(self) -> None:
        self.data = bytearray(b"\0")
        self._offsets: dict[bytes, int] = {b"": 0}

    def add(self, text: bytes) -> int:
        offset = self._offsets.get(text)
        if offset is None:
            if b"\0" in text:
                raise TinykmodError(repr(text), "holds a NUL byte")
            offset = self._offsets[text] = len(self.data)
            self.data += text + b"\0"
        return offset

    def text(self, text: str) -> int:
        return self.add(encoded(text))


def compile_index(
    tree: ModuleTree,
    config: Config,
    *,
    only: Collection[str] | None = None,
    whole: Index | None = None,
    classes: DriverClass | None = None,
    stored: Mapping[str, str] | None = None,
    plan: Plan | None = None,
    signed: bool = True,
    byteorder: str = "little",
) -> bytes:
    """The boot index of TREE under CONFIG, reproducible to the byte.

    ONLY names the modules that are to be in it (an image's; None: all of them); what they depend on must be
    among them. WHOLE is the index of the whole tree, where the caller has it already. CLASSES is recorded as what
    the index was made for. STORED gives the path at which the image stores a module, another than the tree's where it
    is decompressed or packed. PLAN is what the loader begins with; of its modules those count that are in the index.
    With SIGNED false the modules come without their signatures: none is marked as what checks these.
    Raises TinykmodError: a dependency cycle, a dependency that ONLY leaves out.
    """
    compiler = _Compiler(
        tree, config, classes or DriverClass(0), stored or {}, plan or Plan([], {}), signed, byteorder
    )
    if whole is None:
        # Softdeps name aliases as well as modules: they are looked up in an index that has none yet.
        everything = _Parts(compiler, range(len(tree.modules)))
        whole = Index(compiler.file(everything, {}), tree.release, verify=False)
        soft = _softdeps(tree.modules, config, whole)
        if only is None:
            return compiler.file(everything, soft, whole)
    else:
        records = map(whole.module, whole.names if only is None else only)
        soft = {record.name: (record.pre, record.post, record.weak) for record in records}
    wanted = set(only if only is not None else (module.name for module in tree.modules))
    chosen = [number for number, module in enumerate(tree.modules) if module.name in wanted]
    return compiler.file(_Parts(compiler, chosen), soft, whole)


#: One program, whatever its arguments; a shell's comment may follow.
_TRUE_OR_FALSE = re.compile(r"(?:/\S*/)?(true|false)(?:\s+[^;&|#]*)?(?:\s#.*)?\s*")


def install_notes(config: Config) -> list[str]:
    """A line for each install command that a boot passes over, with its place."""
    return [
        f"{item.where}: install: commands are not run at boot, {item.module} is loaded as usual"
        for item in config.installs
        if not _forbids(item)
    ]


def _forbids(item: Command) -> ModuleFlag:
    """What an install command that is the usual way to forbid a module makes of it; 0 for any other command."""
    found = _TRUE_OR_FALSE.fullmatch(item.command)
    if found is None:
        return ModuleFlag(0)
    return ModuleFlag.REFUSED if found[1] == "false" else ModuleFlag.SKIPPED


def _softdeps(modules: Sequence[Module], config: Config, index: Index) -> dict[str, _Soft]:
    """Every module's softdeps and weakdeps, its own lines and the configuration's, as modules' names."""

    def resolved(names: Iterable[str], own: str) -> list[str]:
        found = (match.module for name in names for match in index.lookup(name) if not match.builtin)
        return list(dict.fromkeys(name for name in found if name != own))

    out: dict[str, _Soft] = {}
    for module in modules:
        pre: list[str] = []
        post: list[str] = []
        for line in module.softdeps:
            before, after = parse_softdep(line)
            pre += before
            post += after
        weak = [word for line in module.weakdeps for word in line.split()]
        for softdep in config.softdeps:
            if fnmatch.fnmatchcase(module.name, softdep.module):
                pre += softdep.pre
                post += softdep.post
        for weakdep in config.weakdeps:
            if fnmatch.fnmatchcase(module.name, weakdep.module):
                weak += weakdep.weak
        if pre or post or weak:
            out[module.name] = (resolved(pre, module.name), resolved(post, module.name), resolved(weak, module.name))
    return out


class _Parts:
    """What an index of some of a tree's modules holds whatever their softdeps are."""

    def __init__(self, compiler: _Compiler, chosen: Sequence[int]) -> None:
        tree = compiler.tree
        self.chosen = chosen  # numbers in the tree, ascending
        self.modules = [tree.modules[number] for number in chosen]
        self.positions = {module.name: position for position, module in enumerate(self.modules)}
        self.strings = _Strings()
        self.release = self.strings.text(tree.release)
        nodes = Nodes(self.strings.add)
        builtin = sorted(set(tree.builtin), key=encoded)
        config, own, built = self._patterns(compiler, {name: position for position, name in enumerate(builtin)})
        self.roots = [nodes.add(config), nodes.add(own), nodes.add(built)]
        self.stars = nodes.stars
        by_name = [self.positions[name] for name in sorted(self.positions, key=encoded)]
        builtins = [self.strings.text(name) for name in builtin]
        statements = list(self._statements(compiler.config))
        self.rows, self.links = compiler.modules(self)
        self.sections = {
            Section.STRINGS: (len(self.strings.data), bytes(self.strings.data)),
            Section.BY_NAME: (len(by_name), compiler.words(by_name)),
            Section.NODES: (len(nodes.nodes), compiler.pack(NODE, nodes.nodes)),
            Section.VALUES: (len(nodes.values), compiler.pack(VALUE, nodes.values)),
            Section.BUILTINS: (len(builtins), compiler.words(builtins)),
            Section.STATEMENTS: (len(statements), compiler.pack(STATEMENT, statements)),
        }

    def _patterns(self, compiler: _Compiler, builtin: Mapping[str, int]) -> tuple[Iterable[Pattern], ...]:
        config = compiler.config
        known = {module.name for module in compiler.tree.modules} | set(builtin)
        # Where an install command has the name of no module, kmod runs it instead of looking the name up as an alias.
        nowhere = (item.module for item in config.installs if _forbids(item) and item.module not in known)
        return (
            (
                *(
                    Pattern(alias.pattern, self.positions.get(module_name(alias.module), NONE))
                    for alias in config.aliases
                ),
                *(Pattern(name, NONE) for name in nowhere if not re.search(r"[*?[\\]", name)),
            ),
            (Pattern(alias, position) for position, module in enumerate(self.modules) for alias in module.aliases),
            (
                Pattern(value, builtin[name])
                for name, fields in sorted(compiler.tree.builtin_modinfo.items())
                if name in builtin
                for key, value in fields
                if key == "alias"
            ),
        )

    def _statements(self, config: Config) -> Iterator[tuple[int, int, int, int, StatementKind]]:
        text = self.strings.text
        for kind, name, said, where in _said(config):
            yield text(name), text(said), text(_below(config.root, where)), where.line, kind


def _said(config: Config) -> Iterator[tuple[StatementKind, str, str, Where]]:
    """Every statement as (kind, what it is about, what it says of it, its place)."""
    for blacklist in config.blacklist:
        yield StatementKind.BLACKLIST, blacklist.module, "", blacklist.where
    for install in config.installs:
        yield StatementKind.INSTALL, install.module, install.command, install.where
    for remove in config.removes:
        yield StatementKind.REMOVE, remove.module, remove.command, remove.where
    for alias in config.aliases:
        yield StatementKind.ALIAS, normalise_pattern(alias.pattern), alias.module, alias.where
    for options in config.options:
        yield StatementKind.OPTIONS, options.module, options.text, options.where
    for softdep in config.softdeps:
        around = (("pre:", softdep.pre), ("post:", softdep.post))
        words = [word for label, names in around if names for word in (label, *names)]
        yield StatementKind.SOFTDEP, softdep.module, " ".join(words), softdep.where
    for weakdep in config.weakdeps:
        yield StatementKind.WEAKDEP, weakdep.module, " ".join(weakdep.weak), weakdep.where


def _below(root: Path, where: Where) -> str:
    """The file as the root's own system names it; one that is not below the root, as it was given."""
    try:
        return f"/{where.file.relative_to(root)}"
    except ValueError:
        return str(where.file)


class _Compiler:
    def __init__(
        self,
        tree: ModuleTree,
        config: Config,
        classes: DriverClass,
        stored: Mapping[str, str],
        plan: Plan,
        signed: bool,
        byteorder: str,
    ) -> None:
        self.tree = tree
        self.config = config
        self.classes = classes
        self.stored = stored
        self.plan = plan
        self.signed = signed
        self._flagged: dict[str, ModuleFlag] = {}
        self.order = "<" if byteorder == "little" else ">"
        self.byteorder = byteorder
        self.dependencies = resolve(tree.modules)
        self.blacklist = {item.module for item in config.blacklist}

    def file(self, parts: _Parts, soft: Mapping[str, _Soft], whole: Index | None = None) -> bytes:
        """The whole index. WHOLE, which knows the tree's aliases, tells what of the plan leads to the root."""
        rows, links = self._with_softdeps(parts, soft)
        planned = list(self._planned(parts, soft, whole)) if whole is not None else []
        sections = {
            **parts.sections,
            Section.MODULES: (len(rows), self.pack(MODULE, rows)),
            Section.LINKS: (len(links), self.words(links)),
            Section.PLAN: (len(planned), self.pack(PLANNED, planned)),
        }
        table = struct.calcsize(self.order + layout(TABLE))
        header = struct.Struct(self.order + layout(HEADER))
        body = bytearray(header.size + len(Section) * table)
        directory = b""
        for section in Section:
            count, data = sections[section]
            body += bytes(-len(body) % 8)
            directory += struct.pack(self.order + layout(TABLE), len(body), count)
            body += data
        body += bytes(-len(body) % 8)
        body[header.size : header.size + len(directory)] = directory

        def head(total: int, weighted: int) -> bytes:
            return header.pack(
                MAGIC, BYTE_ORDER, VERSION, len(body), total, weighted, self._digest(), parts.release,
                int(self.classes), *parts.roots, parts.stars,
            )  # fmt: skip

        body[: header.size] = head(0, 0)
        body[: header.size] = head(*checksum(body, self.byteorder))
        return bytes(body)

    def modules(self, parts: _Parts) -> tuple[list[list[int]], list[int]]:
        """The MODULES and LINKS sections of modules without softdeps."""
        renumber = {number: position for position, number in enumerate(parts.chosen)}
        text = parts.strings.text
        links: list[int] = []
        rows = []
        for number, module in zip(parts.chosen, parts.modules, strict=True):
            closure = self.dependencies.closure[number]
            missing = next(filterfalse(renumber.__contains__, closure), None)
            if missing is not None:
                raise TinykmodError(module.name, f"needs {self.tree.modules[missing].name}, which is left out")
            direct = self.dependencies.direct[number]
            given = (item.text for item in self.config.options if item.module == module.name)
            options = " ".join(filter(None, given))
            path = self.stored.get(module.name, module.path)
            flags = self._flags(module)
            if path.endswith(packed.SUFFIX) if path != module.path else module.compression:
                flags |= ModuleFlag.COMPRESSED
            rows.append([
                text(module.name), text(path), text(options), len(links), 0, module.size,
                int(self.tree.classes[module.name]), int(flags), len(closure), len(direct), 0, 0, 0, 0,
            ])  # fmt: skip
            links += [renumber[other] for other in closure]
            links += [renumber[other] for other in direct]
        return rows, links

    def _with_softdeps(self, parts: _Parts, soft: Mapping[str, _Soft]) -> tuple[list[list[int]], list[int]]:
        """The MODULES and LINKS sections; softdeps lie behind all dependencies."""
        rows, links = parts.rows.copy(), parts.links.copy()
        for name, around in soft.items():
            if name in parts.positions:
                found = [[parts.positions[other] for other in part if other in parts.positions] for part in around]
                row = rows[parts.positions[name]].copy()
                row[_AT_SOFT] = len(links)
                row[_SOFT] = map(len, found)
                rows[parts.positions[name]] = row
                links += chain.from_iterable(found)
        return rows, links

    def _flags(self, module: Module) -> ModuleFlag:
        """All but COMPRESSED, which hangs on how the module is stored."""
        if module.name not in self._flagged:
            aliases = module.aliases
            flags = ModuleFlag(0)
            if module.name in self.blacklist:
                flags |= ModuleFlag.BLACKLISTED
            if any(alias.startswith("cpu:") for alias in aliases):
                flags |= ModuleFlag.PROCESSOR
                if self.signed and self._implements_its_hash(module):
                    flags |= ModuleFlag.HASH
            if serves_devices(aliases):
                flags |= ModuleFlag.DRIVER
            name = encoded(module.name)
            # The first that fits counts (kmod); their names are patterns.
            install = next((item for item in self.config.installs if glob(encoded(item.module), name)), None)
            if install is not None:
                flags |= ModuleFlag.INSTALL | _forbids(install)
            self._flagged[module.name] = flags
        return self._flagged[module.name]

    def _implements_its_hash(self, module: Module) -> bool:
        """Whether MODULE implements the hash with which it, and so every module of its kernel, is signed."""
        if not any(alias.startswith("crypto-") for alias in module.aliases):
            return False
        path = self.tree.directory / module.path
        try:
            signature = read_signature(decompress(path.read_bytes(), str(path)), str(path))
        except (OSError, TinykmodError):
            # The kernel will say what is wrong with it, if it is asked to load it at all.
            return False
        return signature is not None and f"crypto-{signature.hash}" in module.aliases

    def _planned(self, parts: _Parts, soft: Mapping[str, _Soft], whole: Index) -> Iterator[tuple[int, int, PlanFlag]]:
        """The PLAN section."""
        names = [module.name for module in self.tree.modules]
        numbers = {name: number for number, name in enumerate(names)}
        loads = {name: load for name, load in self.plan.modules.items() if name in parts.positions}

        def before(name: str) -> list[str]:
            needs = [names[other] for other in self.dependencies.closure[numbers[name]]]
            return needs + soft.get(name, _NO_SOFT)[0]

        flags = dict.fromkeys(names, PlanFlag(0))
        for alias in self.plan.root:
            flag = PlanFlag.FILESYSTEM if alias.startswith("fs-") else PlanFlag.ROOT
            pending = [match.module for match in whole.lookup(alias) if not match.builtin]
            while pending:
                name = pending.pop()
                if name in flags and not flags[name] & flag:
                    flags[name] |= flag
                    pending += before(name)
        # name -> what waits for it, and how much longer
        waits: dict[str, list[tuple[str, int]]] = {name: [] for name in loads}
        for name, load in loads.items():
            for other in loads.keys() & before(name):
                waits[other].append((name, 0))
            if load.maker in loads:
                waits[load.maker].append((name, load.after))
        length: dict[str, int] = {}

        def measure(name: str) -> int:
            if name not in length:
                length[name] = 0  # softdeps and a plan made by hand may go in a circle
                behind = max((after + measure(other) for other, after in waits[name]), default=0)
                length[name] = loads[name].took + behind
            return length[name]

        for name in loads:
            yield parts.positions[name], min(measure(name), NONE), flags[name]

    def _digest(self) -> bytes:
        """Of the tree and of what the configuration and the plan say, wherever their files lie."""
        said = [(int(kind), name, text) for kind, name, text, _ in _said(self.config)]
        plan = encoded(repr(self.plan)) if self.plan.modules else b""
        return hashlib.sha256(self.tree.digest + encoded(repr(said)) + plan).digest()

    def pack(self, record: dict[str, str], rows: Iterable[Sequence[int]]) -> bytes:
        pack = struct.Struct(self.order + layout(record)).pack
        return b"".join(starmap(pack, rows))

    def words(self, words: Sequence[int]) -> bytes:
        return struct.pack(f"{self.order}{len(words)}I", *words)
