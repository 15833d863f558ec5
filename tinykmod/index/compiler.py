"""From a module tree and its configuration to a boot index."""

from __future__ import annotations

import fnmatch
import hashlib
import struct
from collections.abc import Collection, Iterable, Mapping, Sequence

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
    TABLE,
    VALUE,
    VERSION,
    DriverClass,
    ModuleFlag,
    Section,
    checksum,
    layout,
)
from tinykmod.kmod.config import Config, parse_softdep
from tinykmod.kmod.depends import Dependencies, resolve
from tinykmod.kmod.names import module_name
from tinykmod.modules.classes import driver_class
from tinykmod.modules.tree import Module, ModuleTree

#: (pre, post, weak) as module numbers.
_Soft = tuple[list[int], list[int], list[int]]
_NO_SOFT: _Soft = ([], [], [])


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
        return self.add(text.encode("utf-8", "surrogateescape"))


def compile_index(
    tree: ModuleTree,
    config: Config,
    *,
    only: Collection[str] | None = None,
    classes: DriverClass | None = None,
    stored: Mapping[str, str] | None = None,
    byteorder: str = "little",
) -> bytes:
    """The boot index of TREE under CONFIG, reproducible to the byte.

    ONLY names the modules that are to be in it (an image's; None: all of them); what they depend on must be
    among them. CLASSES is recorded as what the index was made for. STORED gives the path of a module where the
    image stores it under another one than the tree does.
    Raises TinykmodError: a dependency cycle, a dependency that ONLY leaves out.
    """
    dependencies = resolve(tree.modules)
    compiler = _Compiler(
        tree,
        config,
        dependencies,
        classed=[driver_class(module) for module in tree.modules],
        classes=classes or DriverClass(0),
        stored=stored or {},
        byteorder=byteorder,
    )
    everything = range(len(tree.modules))
    # Softdeps name aliases as well as modules: they are looked up in an index that has none yet.
    plain = Index(compiler.compile(everything, {}), tree.release, verify=False)
    soft = _softdeps(tree.modules, config, plain)
    if only is None:
        return compiler.compile(everything, soft)
    chosen = [number for number in everything if tree.modules[number].name in only]
    return compiler.compile(chosen, soft)


def _softdeps(modules: Sequence[Module], config: Config, index: Index) -> dict[int, _Soft]:
    """Every module's softdeps and weakdeps, its own lines and the configuration's, as module numbers."""
    numbers = {module.name: number for number, module in enumerate(modules)}

    def resolved(names: Iterable[str], own: int) -> list[int]:
        found = (numbers[match.module] for name in names for match in index.lookup(name) if not match.builtin)
        return list(dict.fromkeys(number for number in found if number != own))

    out: dict[int, _Soft] = {}
    for number, module in enumerate(modules):
        pre: list[str] = []
        post: list[str] = []
        for line in module.values("softdep"):
            before, after = parse_softdep(line)
            pre += before
            post += after
        weak = [word for line in module.values("weakdep") for word in line.split()]
        for softdep in config.softdeps:
            if fnmatch.fnmatchcase(module.name, softdep.module):
                pre += softdep.pre
                post += softdep.post
        for weakdep in config.weakdeps:
            if fnmatch.fnmatchcase(module.name, weakdep.module):
                weak += weakdep.weak
        if pre or post or weak:
            out[number] = (resolved(pre, number), resolved(post, number), resolved(weak, number))
    return out


class _Compiler:
    def __init__(
        self,
        tree: ModuleTree,
        config: Config,
        dependencies: Dependencies,
        *,
        classed: Sequence[DriverClass],
        classes: DriverClass,
        stored: Mapping[str, str],
        byteorder: str,
    ) -> None:
        self.tree = tree
        self.config = config
        self.dependencies = dependencies
        self.classed = classed
        self.classes = classes
        self.stored = stored
        self.order = "<" if byteorder == "little" else ">"
        self.word_order = byteorder
        self.blacklist = {item.module for item in config.blacklist}

    def compile(self, chosen: Sequence[int], soft: Mapping[int, _Soft]) -> bytes:
        """The index of the modules CHOSEN (numbers in the tree, ascending)."""
        strings = _Strings()
        modules = [self.tree.modules[number] for number in chosen]
        renumber = {number: position for position, number in enumerate(chosen)}
        release = strings.text(self.tree.release)
        rows, links = self._modules(chosen, renumber, soft, strings)
        positions = {module.name: position for position, module in enumerate(modules)}
        nodes = Nodes(strings.add)
        builtin = sorted(set(self.tree.builtin), key=lambda name: name.encode("utf-8", "surrogateescape"))
        roots = self._roots(nodes, modules, positions, builtin)
        by_name = sorted(range(len(modules)), key=lambda position: modules[position].name.encode())
        builtins = [strings.text(name) for name in builtin]
        sections = {
            Section.STRINGS: (len(strings.data), bytes(strings.data)),
            Section.MODULES: (len(rows), self._pack(MODULE, rows)),
            Section.BY_NAME: (len(by_name), self._words(by_name)),
            Section.LINKS: (len(links), self._words(links)),
            Section.NODES: (len(nodes.nodes), self._pack(NODE, nodes.nodes)),
            Section.VALUES: (len(nodes.values), self._pack(VALUE, nodes.values)),
            Section.BUILTINS: (len(builtins), self._words(builtins)),
        }
        return self._file(sections, release, roots, nodes.stars)

    def _modules(
        self, chosen: Sequence[int], renumber: Mapping[int, int], soft: Mapping[int, _Soft], strings: _Strings
    ) -> tuple[list[list[int]], list[int]]:
        links: list[int] = []
        rows = []
        for number in chosen:
            module = self.tree.modules[number]
            closure = self.dependencies.closure[number]
            missing = next((other for other in closure if other not in renumber), None)
            if missing is not None:
                raise TinykmodError(module.name, f"needs {self.tree.modules[missing].name}, which is left out")
            deps = [renumber[other] for other in closure]
            direct = [renumber[other] for other in self.dependencies.direct[number]]
            around = [[renumber[other] for other in part if other in renumber] for part in soft.get(number, _NO_SOFT)]
            options = " ".join(item.text for item in self.config.options if item.module == module.name)
            path = self.stored.get(module.name, module.path)
            flags = ModuleFlag(0)
            if module.name in self.blacklist:
                flags |= ModuleFlag.BLACKLISTED
            if not path.endswith(".ko"):
                flags |= ModuleFlag.COMPRESSED
            at = len(links)
            links += deps + direct
            at_soft = len(links)
            links += [other for part in around for other in part]
            rows.append([
                strings.text(module.name), strings.text(path), strings.text(options), at, at_soft, module.size,
                int(self.classed[number]), int(flags), len(deps), len(direct), *map(len, around), 0,
            ])
        return rows, links

    def _roots(
        self, nodes: Nodes, modules: Sequence[Module], positions: Mapping[str, int], builtin: Sequence[str]
    ) -> list[int]:
        config = (
            Pattern(alias.pattern, positions.get(module_name(alias.module), NONE)) for alias in self.config.aliases
        )
        own = (Pattern(alias, position) for position, module in enumerate(modules) for alias in module.aliases)
        numbers = {name: position for position, name in enumerate(builtin)}
        built = (
            Pattern(value, numbers[name])
            for name, fields in sorted(self.tree.builtin_modinfo.items())
            if name in numbers
            for key, value in fields
            if key == "alias"
        )
        return [nodes.add(config), nodes.add(own), nodes.add(built)]

    def _file(
        self, sections: Mapping[Section, tuple[int, bytes]], release: int, roots: Sequence[int], stars: int
    ) -> bytes:
        table = struct.calcsize(self.order + layout(TABLE))
        body = bytearray(struct.calcsize(self.order + layout(HEADER)) + len(Section) * table)
        directory = b""
        for section in Section:
            count, data = sections[section]
            body += bytes(-len(body) % 8)
            directory += struct.pack(self.order + layout(TABLE), len(body), count)
            body += data
        body += bytes(-len(body) % 8)
        header = struct.Struct(self.order + layout(HEADER))
        body[header.size : header.size + len(directory)] = directory

        def head(total: int, weighted: int) -> bytes:
            return header.pack(
                MAGIC, BYTE_ORDER, VERSION, len(body), total, weighted, self._digest(), release,
                int(self.classes), *roots, stars,
            )

        body[: header.size] = head(0, 0)
        body[: header.size] = head(*checksum(body, self.word_order))
        return bytes(body)

    def _digest(self) -> bytes:
        source = hashlib.sha256(self.tree.digest)
        source.update(repr(self.config).encode("utf-8", "surrogateescape"))
        return source.digest()

    def _pack(self, record: dict[str, str], rows: Iterable[Sequence[int]]) -> bytes:
        pack = struct.Struct(self.order + layout(record)).pack
        return b"".join(pack(*row) for row in rows)

    def _words(self, words: Sequence[int]) -> bytes:
        return struct.pack(f"{self.order}{len(words)}I", *words)
