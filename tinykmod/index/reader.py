"""The boot index read in pure Python: the twin of cext/core/{index,match,resolve}.pxi."""

from __future__ import annotations

import struct
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

from tinykmod.errors import IndexFormatError
from tinykmod.index.matcher import LONGEST, Search
from tinykmod.index.records import Match, Planned, Statement, Step
from tinykmod.index.schema import (
    BYTE_ORDER,
    FORBIDDEN,
    HEADER,
    ITEM,
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
    NodeKind,
    PlanFlag,
    Root,
    Section,
    StatementKind,
    checksum,
    layout,
)
from tinykmod.kmod.glob import glob
from tinykmod.kmod.names import encoded, normalise_modalias
from tinykmod.modules.driver_class import DriverClass


@dataclass(frozen=True)
class ModuleRecord:
    """What an index says of one module. Lists are module names, `deps` in load order."""

    name: str
    path: str
    options: str
    deps: list[str]
    direct: list[str]
    pre: list[str]
    post: list[str]
    weak: list[str]
    classes: DriverClass
    flags: ModuleFlag
    size: int


def byteorder_of(data: bytes | memoryview, which: str) -> Literal["little", "big"]:
    """The byte order that an index was made for. Raises IndexFormatError where DATA is no index."""
    if len(data) < 16 or bytes(data[:8]) != MAGIC:
        raise IndexFormatError(which, "not a boot index (its first bytes are not an index's)")
    mark = bytes(data[8:12])
    if mark == BYTE_ORDER.to_bytes(4, "little"):
        return "little"
    if mark == BYTE_ORDER.to_bytes(4, "big"):
        return "big"
    raise IndexFormatError(which, "damaged: the byte-order mark is neither way round")


def _plain(name: str) -> str:
    """The module that NAME may be the name of. One with a dot never is: `dummy.ko` finds nothing (kmod)."""
    return "" if "." in name else name.replace("-", "_")


def _position(names: Sequence[bytes], name: str) -> int | None:
    """Where NAME is in NAMES, which are sorted."""
    wanted = encoded(name)
    position = bisect_left(names, wanted)
    return position if names[position : position + 1] == [wanted] else None


class Index:
    """A boot index held in DATA (bytes, or a mapping of the file).

    WHICH names it in errors. With VERIFY the checksum is computed; offsets are checked either way.
    Raises IndexFormatError.
    """

    def __init__(self, data: bytes | memoryview, which: str = "boot index", *, verify: bool = True) -> None:
        self.which = which
        self.data = memoryview(data)
        self.byteorder = byteorder_of(self.data, which)
        self._order = "<" if self.byteorder == "little" else ">"
        (version,) = struct.unpack_from(self._order + "I", self.data, 12)
        if version != VERSION:
            raise IndexFormatError(which, f"format version {version}, this tinykmod reads version {VERSION}")
        header = struct.Struct(self._order + layout(HEADER))
        if len(data) < header.size + len(Section) * struct.calcsize(self._order + layout(TABLE)):
            raise IndexFormatError(which, f"cut short: {len(data)} bytes do not hold the header")
        fields = header.unpack_from(self.data)
        size, total, weighted, self.digest, release, classes, *roots = fields[3:]
        self._roots, self.stars = roots[: len(Root)], roots[len(Root)]
        if size != len(data) or size % 8:
            raise IndexFormatError(which, f"cut short or grown: {len(data)} bytes, its header says {size}")
        if verify and checksum(self.data, self.byteorder) != (total, weighted):
            raise IndexFormatError(which, "damaged: the checksum does not fit")
        self._sections = [self._section(section, header.size) for section in Section]
        self._records: dict[str, ModuleRecord] = {}
        self.classes = DriverClass(classes)
        self.release = self._text(release)

    def _section(self, section: Section, directory: int) -> memoryview:
        table = struct.Struct(self._order + layout(TABLE))
        offset, count = table.unpack_from(self.data, directory + section * table.size)
        end = offset + count * ITEM[section]
        if offset % 8 or end > len(self.data):
            raise self._damaged(f"section {section.name} lies outside the file")
        return self.data[offset:end]

    def _damaged(self, why: str) -> IndexFormatError:
        return IndexFormatError(self.which, f"damaged: {why}")

    def _string(self, offset: int) -> bytes:
        strings = self._strings
        end = strings.find(b"\0", offset)
        if offset >= len(strings) or end < 0:
            raise self._damaged(f"string {offset} lies outside the strings")
        return strings[offset:end]

    @cached_property
    def _strings(self) -> bytes:
        return bytes(self._sections[Section.STRINGS])

    def _text(self, offset: int) -> str:
        return self._string(offset).decode("utf-8", "surrogateescape")

    def _rows(self, section: Section, record: dict[str, str]) -> list[tuple[Any, ...]]:
        return list(struct.iter_unpack(self._order + layout(record), self._sections[section]))

    def _words(self, section: Section) -> tuple[int, ...]:
        data = self._sections[section]
        return struct.unpack(f"{self._order}{len(data) // 4}I", data)

    @cached_property
    def _modules(self) -> list[dict[str, int]]:
        return [dict(zip(MODULE, row, strict=True)) for row in self._rows(Section.MODULES, MODULE)]

    @cached_property
    def _nodes(self) -> list[tuple[Any, ...]]:
        nodes = self._rows(Section.NODES, NODE)
        values = len(self._sections[Section.VALUES]) // ITEM[Section.VALUES]
        for number, (_, first, count, kind, _) in enumerate(nodes):
            # Children lie further on: a search ends, whatever the file says.
            if kind != NodeKind.TAIL and (first <= number or first + count > len(nodes)):
                raise self._damaged(f"node {number} has its children elsewhere")
            if kind == NodeKind.TAIL and first + count > values:
                raise self._damaged(f"node {number} has its values elsewhere")
        for root in self._roots:
            if root != NONE and (root >= len(nodes) or nodes[root][3] == NodeKind.TAIL):
                raise self._damaged(f"root {root} is no node that has children")
        return nodes

    @cached_property
    def _values(self) -> list[tuple[Any, ...]]:
        return self._rows(Section.VALUES, VALUE)

    @cached_property
    def _links(self) -> tuple[int, ...]:
        return self._words(Section.LINKS)

    @cached_property
    def _names(self) -> list[bytes]:
        """The modules' names in the order of BY_NAME."""
        if sorted(self._by_name) != list(range(len(self))):
            raise self._damaged("the names are not those of its modules")
        names = [self._string(self._row(number)["name"]) for number in self._by_name]
        if any(first >= second for first, second in pairwise(names)) or any(set(b".-") & set(name) for name in names):
            raise self._damaged("the names are not in order, or not normalised")
        return names

    @cached_property
    def _by_name(self) -> tuple[int, ...]:
        return self._words(Section.BY_NAME)

    @cached_property
    def _builtins(self) -> list[bytes]:
        return [self._string(offset) for offset in self._words(Section.BUILTINS)]

    def _row(self, number: int) -> dict[str, int]:
        if number >= len(self._modules):
            raise self._damaged(f"there is no module {number}")
        return self._modules[number]

    def _name(self, number: int) -> str:
        return self._text(self._row(number)["name"])

    def _number(self, name: str) -> int | None:
        position = _position(self._names, name)
        return None if position is None else self._by_name[position]

    def _known(self, name: str) -> int:
        number = self._number(name)
        if number is None:
            raise KeyError(name)
        return number

    def _linked(self, first: int, count: int) -> tuple[int, ...]:
        if first + count > len(self._links):
            raise self._damaged("a list of modules lies outside the links")
        return self._links[first : first + count]

    def __len__(self) -> int:
        return len(self._modules)

    @property
    def names(self) -> list[str]:
        """Every module's name, in the tree's load order (modules.order)."""
        return [self._name(number) for number in range(len(self))]

    @property
    def builtin(self) -> list[str]:
        """The names of the kernel's builtin modules, sorted."""
        return [name.decode("utf-8", "surrogateescape") for name in self._builtins]

    def flagged(self, flags: ModuleFlag) -> list[str]:
        """The modules with any of these flags, in the order of `names`."""
        return [self._text(row["name"]) for row in self._modules if row["flags"] & flags]

    def of_classes(self, classes: DriverClass) -> dict[str, DriverClass]:
        """The modules of any of these classes, in the order of `names`, and which of these."""
        return {
            self._text(row["name"]): DriverClass(served)
            for row in self._modules
            if (served := row["classes"] & classes)
        }

    def module(self, name: str) -> ModuleRecord:
        """The record of the module NAME. Raises KeyError."""
        if name not in self._records:
            self._records[name] = self._record(self._row(self._known(_plain(name))))
        return self._records[name]

    def _record(self, row: dict[str, int]) -> ModuleRecord:
        n_deps, n_pre, n_post = row["n_deps"], row["n_pre"], row["n_post"]

        def linked(first: int, count: int) -> list[str]:
            return [self._name(other) for other in self._linked(first, count)]

        return ModuleRecord(
            name=self._text(row["name"]),
            path=self._text(row["path"]),
            options=self._text(row["options"]),
            deps=linked(row["deps"], n_deps),
            direct=linked(row["deps"] + n_deps, row["n_direct"]),
            pre=linked(row["soft"], n_pre),
            post=linked(row["soft"] + n_pre, n_post),
            weak=linked(row["soft"] + n_pre + n_post, row["n_weak"]),
            classes=DriverClass(row["classes"]),
            flags=ModuleFlag(row["flags"]),
            size=row["size"],
        )

    @cached_property
    def statements(self) -> list[Statement]:
        """What modprobe.d said, kind by kind in the order in which the statements count."""
        out = []
        for name, text, file, line, kind in self._rows(Section.STATEMENTS, STATEMENT):
            if kind >= len(StatementKind):
                raise self._damaged(f"there is no statement of kind {kind}")
            out.append(Statement(StatementKind(kind), self._text(name), self._text(text), self._text(file), line))
        return out

    @property
    def planned(self) -> list[Planned]:
        """The plan with which the loader begins; empty where there is none."""
        rows = self._rows(Section.PLAN, PLANNED)
        return [Planned(self._name(module), length, PlanFlag(flags)) for module, length, flags in rows]

    def options(self, module: str, alias: str = "") -> str:
        """The options that the configuration gives to MODULE, joined with spaces.

        With ALIAS, the name or modalias that led to it, also those that are given to that name, or to the pattern of
        an `alias` statement that leads from it to MODULE, each in its place.
        """
        record = self.module(module)
        if not alias:
            return record.options
        used = normalise_modalias(alias)
        leading = {
            statement.name
            for statement in self.statements
            if statement.kind == StatementKind.ALIAS
            and statement.text == record.name
            and glob(encoded(statement.name), encoded(used))
        }
        names = {record.name, used, *leading}
        given = (item.text for item in self.statements if item.kind == StatementKind.OPTIONS and item.name in names)
        return " ".join(filter(None, given))

    def install_command(self, module: str) -> Statement | None:
        """The statement of the install command that counts for MODULE: the first whose pattern fits (kmod)."""
        name = encoded(module)
        fitting = (
            statement
            for statement in self.statements
            if statement.kind == StatementKind.INSTALL and glob(encoded(statement.name), name)
        )
        return next(fitting, None)

    def path(self, module: str) -> str:
        """MODULE's path below /lib/modules/RELEASE."""
        return self.module(module).path

    def aliases(self, root: Root = Root.ALIAS) -> list[tuple[str, str]]:
        """Every (pattern, module) of one matcher, for dumps; the module is empty where the alias leads nowhere."""
        with self._not_too_deep():
            return [(pattern, self._target(root, number)) for pattern, number in self._walk(self._roots[root], "")]

    def _walk(self, node: int, prefix: str) -> Iterator[tuple[str, int]]:
        if node == NONE:
            return
        _, first, count, _, _ = self._nodes[node]
        for child in range(first, first + count):
            text, below, values, kind, _ = self._nodes[child]
            if kind == NodeKind.TAIL:
                for module, raw in self._values[below : below + values]:
                    yield (self._text(raw) if raw else prefix + self._text(text)), module
            else:
                wildcard = {NodeKind.STAR: "*", NodeKind.ANY: "?"}.get(kind)
                yield from self._walk(child, prefix + (wildcard or self._text(text)))

    def match(self, modalias: str) -> list[Match]:
        """The modules whose aliases match MODALIAS, a literal string, in load order, with the pattern of each.

        The first kind of alias with a match wins (kmod's lookup order): configuration, modules, builtin. An
        alias of the configuration that leads nowhere (`alias x off`) gives an empty list all the same.
        """
        for root in Root:
            matches = self._search(root, modalias)
            if matches is not None:
                return matches
        return []

    def lookup(self, name: str) -> list[Match]:
        """What NAME, a module's name or an alias, leads to, in kmod's lookup order; the first that has any wins:
        the configuration's aliases, modules, the modules' aliases, builtin modules, their aliases."""
        plain = _plain(name)
        matches = self._search(Root.CONFIG, name)
        if matches is None and self._number(plain) is not None:
            matches = [Match(plain, "")]
        if matches is None:
            matches = self._search(Root.ALIAS, name)
        if matches is None and _position(self._builtins, plain) is not None:
            matches = [Match(plain, "", True)]
        if matches is None:
            matches = self._search(Root.BUILTIN, name)
        return matches or []

    def _search(self, root: Root, name: str) -> list[Match] | None:
        """The matches of NAME under one root, by module number; None where no pattern matches."""
        text = encoded(normalise_modalias(name))
        if len(text) > LONGEST:
            return None
        found = Search(self._nodes, self._string).run(self._roots[root], text)
        if not found:
            return None
        patterns: dict[int, bytes] = {}
        for value in sorted(found):
            number, raw = self._values[value]
            patterns.setdefault(number, self._string(raw) if raw else found[value])
        out = []
        for number in sorted(patterns):
            if number != NONE:
                pattern = patterns[number].decode("utf-8", "surrogateescape")
                out.append(Match(self._target(root, number), pattern, root == Root.BUILTIN))
        return out

    def _target(self, root: Root, number: int) -> str:
        """The name of what a value under ROOT leads to; empty for an alias that leads nowhere."""
        if root != Root.BUILTIN:
            return "" if number == NONE else self._name(number)
        if number >= len(self._builtins):
            raise self._damaged(f"there is no builtin module {number}")
        return self._builtins[number].decode("utf-8", "surrogateescape")

    @contextmanager
    def _not_too_deep(self) -> Iterator[None]:
        try:
            yield
        except RecursionError:
            raise self._damaged("what refers to what goes on for too long") from None

    def plan(self, wanted: Iterable[str]) -> list[Step]:
        """The modules to load for WANTED (names or modaliases), each once, in load order.

        kmod's order: for each dependency and then the module itself, first its `pre` softdeps with all that
        they need, then it, then its `post` softdeps. A blacklisted module is left out where only an alias led
        to it; dependencies and softdeps are never left out. A module that is forbidden has its place, since what
        needs it must know of it, but nothing is loaded on its behalf.
        """
        requests = []
        for name in wanted:
            for match in self.lookup(name):
                if not match.builtin and not (match.pattern and self.is_blacklisted(match.module)):
                    requests.append(Step(match.module, "modalias" if match.pattern else "request", name))
        return self.order(requests)

    def is_blacklisted(self, module: str) -> bool:
        """Whether the configuration keeps MODULE from being loaded on behalf of an alias."""
        return bool(self.module(module).flags & ModuleFlag.BLACKLISTED)

    def order(self, requests: Iterable[Step]) -> list[Step]:
        """The modules of REQUESTS and all that they need, as plan() puts them."""
        steps: dict[int, Step] = {}
        visited: set[int] = set()
        for step in requests:
            with self._not_too_deep():
                self._visit(self._known(step.module), step, steps, visited)
        return list(steps.values())

    def _visit(self, number: int, step: Step, steps: dict[int, Step], visited: set[int]) -> None:
        row = self._row(number)
        needed = () if row["flags"] & FORBIDDEN else self._linked(row["deps"], row["n_deps"])
        for other in (*needed, number):
            if other in visited:
                continue
            visited.add(other)
            own = step if other == number else Step(self._name(other), "dependency", step.module)
            around = self._row(other)
            soft = around["soft"]
            if around["flags"] & FORBIDDEN:
                steps.setdefault(other, own)
                continue
            for before in self._linked(soft, around["n_pre"]):
                self._visit(before, Step(self._name(before), "softdep", own.module), steps, visited)
            steps.setdefault(other, own)
            for after in self._linked(soft + around["n_pre"], around["n_post"]):
                self._visit(after, Step(self._name(after), "softdep", own.module), steps, visited)
