"""What `tinykmod show` prints of a module: one page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tinykmod.inspect.about import About, Around, Load, Need
from tinykmod.inspect.devices import Served
from tinykmod.inspect.params import Parameter
from tinykmod.inspect.symbols import Export
from tinykmod.terminal import Page, plural, printable, shown, size

#: Lines of a list that may be long; --json has all of it.
MOST = 6
#: Parameters above which each has one line.
MANY = 24
#: Aliases of one bus that are shown.
EXAMPLES = 3
#: Of the fields of WrongSymbols.
WRONG = (
    "unknown to this kernel and its modules",
    "in another version than they are exported (CRC)",
    "GPL-only, which its license does not get",
    "in a namespace that it does not import",
)
#: Documentation/admin-guide/tainted-kernels.rst, as far as modules have them.
TAINTS = {
    "P": "proprietary", "O": "out of tree", "F": "forced", "C": "staging", "E": "unsigned", "K": "live patch",
    "X": "auxiliary", "T": "randstruct plugin", "N": "in-kernel test", "R": "forced removal",
}  # fmt: skip


def page(about: About, columns: int | None = None, bold: bool | None = None) -> str:
    """The page of a module, without a newline at its end."""
    out = Page(columns, bold)
    description = about.value("description")
    out.title(f"{about.name}{f' - {description}' if description else ''}")
    if about.alias:
        out.add("found by", f"the alias {about.alias}")
    out.add("file", about.file or "none: the kernel has it built in")
    out.add("tree" if not about.file.startswith("/") else "beside", about.tree)
    if not about.builtin:
        out.add("class", [f"{str(kind.name).lower()}: {why}" for kind, why in about.classes] or "other")
    if about.builtin:
        out.add("license", about.value("license") or "not told")
    else:
        _itself(about, out)
    out.add("state", _state(about))
    out.add("parameters", list(_parameters(about.parameters, out.room)))
    if not about.builtin:
        out.add("needs", list(_needs(about, out.room)))
    if about.tree and not about.builtin:
        out.add("needed by", _needed_by(about, out.room))
    out.add("softdeps", list(_deps(about.deps, ("pre", "post"))))
    out.add("weakdeps", list(_deps(about.deps, ("weak",))))
    out.add("wanted", list(_deps_of(about.deps_of)))
    out.add("aliases", list(_aliases(about, out.room)))
    out.add("devices", list(_devices(about)))
    out.add("firmware", list(_firmware(about)))
    out.add("config", [f"{each.where}: {each.text}" for each in about.config])
    out.add("load order", list(_load(about)), hanging=4)
    return str(out)


def tree(name: str, needs: Sequence[Need], what: str, columns: int | None = None, bold: bool | None = None) -> str:
    """NAME and below it NEEDS, each with the symbols that make the dependency. WHAT is said where there are none."""
    out = Page(columns, bold)
    out.title(name if needs else f"{name} - {what}")
    for line in _branches(needs, out.columns, 1, None):
        out.lines += [line]
    return str(out)


def _itself(about: About, out: Page) -> None:
    """What its file tells."""
    source = about.value("srcversion")
    out.add("version", (about.value("version") or "none") + (f" (srcversion {source})" if source else ""))
    vermagic = about.value("vermagic").strip()
    other = bool(vermagic and about.release) and vermagic.split()[0] != about.release
    out.add("vermagic", (vermagic or "none") + (f" (which is not the tree's {about.release})" if other else ""))
    foreign = "" if about.value("intree") == "Y" else "; built outside of the kernel, which it taints"
    out.add("license", f"{', '.join(about.values('license')) or 'none, and so no GPL-only symbol'}{foreign}")
    out.add("author", ", ".join(about.values("author")))
    signed = about.signature
    key = f", key {signed.key.hex(':').upper()}" if signed is not None else ""
    unsigned = f"damaged: {about.signature_fault}" if about.signature_fault else "none"
    out.add("signature", unsigned if signed is None else f"{signed.hash}, by {signed.signer or 'a key'}{key}")
    assert about.size is not None and about.unpacked is not None and about.memory is not None
    unpacked = f" ({about.compression}, {size(about.unpacked)} unpacked)" if about.compression else ""
    memory = f"{size(about.memory.core)} in memory, {size(about.memory.init)} more while it initialises"
    out.add("size", f"{size(about.size)} on disk{unpacked}; {memory}")
    out.add("exports", _exports(about.exports, out.room))
    out.add("imports of", " ".join(about.values("import_ns")))


def _exports(exports: Sequence[Export], room: int) -> str:
    if not exports:
        return ""
    gpl = sum(each.gpl_only is True for each in exports)
    namespaces = sorted({each.namespace for each in exports if each.namespace})
    kinds = [f"{gpl} of them GPL-only"] * bool(gpl) + [f"in namespace {' '.join(namespaces)}"] * bool(namespaces)
    begin = ", ".join([plural(len(exports), "symbol"), *kinds])
    return f"{begin}: {shown([each.name for each in exports], 2 * room - len(begin) - 8)}"


def _state(about: About) -> str:
    if about.running is None:
        return "not known: no system was looked at"
    if about.running != about.kernel:
        return f"not known: {about.running} is running, not {about.kernel or 'what it was built for'}"
    state = about.state
    if state is None:
        return "not loaded"
    if state.state == "builtin":
        return "in the kernel"
    parts = [state.state]
    parts += [f"{size(state.size)} in memory"] if state.size is not None else []
    parts += [plural(state.users, "user")] if state.users is not None else []
    parts += [f"used by {' '.join(sorted(state.holders))}"] if state.holders else []
    parts += [f"taints the kernel: {', '.join(f'{each} ({TAINTS.get(each, each)})' for each in state.taint)}"] * bool(
        state.taint
    )
    return ", ".join(parts)


def _parameters(parameters: Sequence[Parameter], room: int) -> Iterator[str]:
    if len(parameters) <= MANY:
        yield from map(_parameter, parameters)
        return
    texts = [printable(_parameter(each)) for each in parameters]
    yield from (text if len(text) <= room else f"{text[: room - 3].rstrip()}..." for text in texts)


def _parameter(each: Parameter) -> str:
    now = "" if each.value is None else f" = {each.value or '(empty)'}"
    writable = ", may be written" if each.writable else ""
    description = f": {each.description.strip()}" if each.description else ""
    kind = f" ({each.type or 'of its own type'}{writable})"
    return f"{each.name}{kind}{now}{description}"


def _needs(about: About, room: int) -> Iterator[str]:
    kernel = plural(len(about.kernel_symbols), "symbol")
    source = f"{kernel} of the kernel itself" if about.tree else f"{kernel}, and no tree to find them in"
    if about.wrong_symbols is not None:
        for symbols, what in zip(about.wrong_symbols, WRONG, strict=True):
            if symbols:
                yield f"{what}: {shown(symbols, 2 * room - len(what) - 4)}"
    if not about.needs:
        yield f"no module; {source}"
        return
    yield from _branches(about.needs, room, 0, 2)
    yield f"and {source}"


def _branches(needs: Sequence[Need], room: int, depth: int, lines: int | None) -> Iterator[str]:
    """Each of NEEDS with its symbols, of which LINES lines at most (None: all), and below it what it needs."""
    for need in needs:
        indent = "  " * depth
        symbols = sorted(need.symbols)
        again = " (see above)" if need.again else ""
        begin = f"{indent}{need.name}{again}: "
        if lines is not None:
            text = shown(symbols, room - len(begin))
            yield begin + text
        else:
            yield f"{begin}{plural(len(symbols), 'symbol')}"
            line = ""
            for symbol in symbols:
                if line and len(indent) + 4 + len(line) + 1 + len(symbol) > room:
                    yield f"{indent}    {line}"
                    line = ""
                line = f"{line} {symbol}".strip()
            yield f"{indent}    {line}"
        yield from _branches(need.needs, room, depth + 1, lines)


def _needed_by(about: About, room: int) -> str:
    if not about.needed_by:
        return "no module"
    return f"{plural(len(about.needed_by), 'module')}: {shown(sorted(about.needed_by), 2 * room - 20)}"


def _deps(deps: Sequence[Around], kinds: Sequence[str]) -> Iterator[str]:
    """The modules of each kind, by who says so."""
    groups: dict[tuple[str, str], list[str]] = {}
    for each in deps:
        if each.kind in kinds:
            groups.setdefault((each.kind, f" ({each.where})" if each.where else ""), []).append(each.module)
    yield from (f"{kind}: {' '.join(dict.fromkeys(names))}{where}" for (kind, where), names in groups.items())


def _deps_of(deps: Sequence[Around]) -> Iterator[str]:
    for kind, what in (("pre", "before"), ("post", "after"), ("weak", "perhaps by")):
        names = [f"{each.module} ({each.where})" if each.where else each.module for each in deps if each.kind == kind]
        if names:
            yield f"{what} {' '.join(dict.fromkeys(names))}"


def _aliases(about: About, room: int) -> Iterator[str]:
    for bus, aliases in about.aliases.items():
        if bus:
            rest = len(aliases) - EXAMPLES
            yield from aliases[:EXAMPLES]
            if rest > 0:
                yield f"and {rest} more ({bus})"
        else:
            yield shown(aliases, 2 * room - 20)


def _devices(about: About) -> Iterator[str]:
    if about.devices is None or (not about.devices and not about.aliases):
        return
    if not about.devices and any(about.aliases):
        yield "none of this machine"
    for served in about.devices[:MOST]:
        yield _device(served, about.name)
    if len(about.devices) > MOST:
        yield f"and {len(about.devices) - MOST} more"


def _device(served: Served, name: str) -> str:
    device = served.device
    driver = f"bound to {device.driver}" if device.driver else "no driver"
    if device.driver and device.module not in ("", name):
        driver += f" of {device.module}"
    by = f"by {served.alias}" if served.alias else "by no alias"
    return f"{device.bus} {device.path.rpartition('/')[2]}: {driver}; {by}"


def _firmware(about: About) -> Iterator[str]:
    missing = [name for name, file in about.firmware.items() if file is None]
    there = [f"{name}: {file}" for name, file in about.firmware.items() if file is not None]
    if not about.tree:
        yield from missing[:MOST]
        return
    yield from there[:MOST]
    if len(there) > MOST:
        yield f"and {len(there) - MOST} more that are there"
    yield from (f"{name}: missing" for name in missing[:MOST])
    if len(missing) > MOST:
        yield f"and {len(missing) - MOST} more that are missing"


def _load(about: About) -> Iterator[str]:
    if about.blocked:
        yield "none: it is blacklisted, which counts where an alias leads to it"
    calls = sum(step.how.endswith("init_module") for step in about.load)
    if calls:
        yield f"{plural(calls, 'call')} of finit_module():"
    for number, step in enumerate(about.load, 1):
        yield f"{number:>{len(str(len(about.load)))}} {_step(step)}"


def _step(step: Load) -> str:
    given = f' "{step.parameters}"' if step.parameters else ""
    match step.how:
        case "install":
            return f"runs: {step.what} {step.parameters}".rstrip()
        case "builtin":
            return f"{step.name} is built in"
        case "init_module":
            return f"{step.what}{given} (unpacked, by init_module())"
    return f"{step.what}{given}{f' flags {step.flags}' if step.flags else ''}"
