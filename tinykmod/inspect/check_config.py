"""Does modprobe.d speak of modules, aliases and parameters that a tree has?"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tinykmod.inspect import check_rules as rules
from tinykmod.inspect.elf_object import ElfObject
from tinykmod.inspect.names import Names, several
from tinykmod.inspect.option_values import unknown
from tinykmod.inspect.param_table import TableEntry, param_table
from tinykmod.inspect.report import Finding, Rule
from tinykmod.kmod.config import Config, Where
from tinykmod.modules.tree import Module


def config_findings(config: Config, names: Names) -> Iterator[Finding]:
    """Lines that mean nothing, or nothing for this tree."""
    for warning in config.warnings:
        # FILE[:LINE]: why
        found = re.match(r"(.*?)(?::(\d+))?: (.*)", warning)
        if found:
            line = None if found[2] is None else int(found[2])
            yield Finding(rules.CONFIG_LINE, _shown(Path(found[1]), config), found[3], line)
    aliases = {alias.pattern for alias in config.aliases}
    for blacklist in config.blacklist:
        yield from _subject("blacklist", blacklist.module, blacklist.where, config, names)
    for options in config.options:
        if options.module in aliases:
            continue
        yield from _subject("options", options.module, options.where, config, names)
        if options.module in names.tree.by_name:
            yield from _parameters(names.tree.by_name[options.module], options.text, options.where, config, names)
    for word, commands in ("install", config.installs), ("remove", config.removes):
        for command in commands:
            # An install command may be of any name, and make it one; one that forbids a module should name one.
            if word == "remove" or Path(command.command.split()[0]).name in ("false", "true"):
                yield from _subject(word, command.module, command.where, config, names)
    for soft in config.softdeps:
        yield from _subject("softdep", soft.module, soft.where, config, names)
        yield from _targets("softdep", (*soft.pre, *soft.post), soft.where, config, names)
    for weak in config.weakdeps:
        yield from _subject("weakdep", weak.module, weak.where, config, names)
        yield from _targets("weakdep", weak.weak, weak.where, config, names)
    for alias in config.aliases:
        if alias.module != "off" and not names.stand_for(alias.module):
            text = f"alias {alias.pattern} {alias.module}: no such module{names.nearest(alias.module)}"
            yield _finding(rules.CONFIG_NOTHING, alias.where, config, text)


def _subject(word: str, name: str, where: Where, config: Config, names: Names) -> Iterator[Finding]:
    """Of the module that a statement is about."""
    if name in names.tree.by_name or re.search(r"[*?[]", name):
        return
    if name in names.builtin:
        if word in ("blacklist", "options"):
            yield _finding(rules.BUILTIN_CONFIG, where, config, f"{word} {name}: is built into the kernel")
    elif matching := names.matching(name):
        if word == "blacklist":
            text = f"blacklist {name}: is an alias of {several(matching)}"
            yield _finding(rules.BLACKLIST_ALIAS, where, config, text)
    else:
        text = f"{word} {name}: no such module{names.nearest(name)}"
        yield _finding(rules.CONFIG_NOTHING, where, config, text)


def _parameters(module: Module, text: str, where: Where, config: Config, names: Names) -> Iterator[Finding]:
    def table() -> list[TableEntry]:
        return param_table(ElfObject(names.tree.read(module), str(names.tree.directory / module.path)))

    for name, near in unknown(module.elf.modinfo, text, table):
        yield _finding(rules.PARAMETER, where, config, f"{module.name} has no parameter {name}{near}")


def _targets(word: str, targets: tuple[str, ...], where: Where, config: Config, names: Names) -> Iterator[Finding]:
    for target in dict.fromkeys(targets):
        if not names.stand_for(target):
            text = f"{word} {target}: no such module or alias{names.nearest(target)}"
            yield _finding(rules.CONFIG_SOFTDEP, where, config, text)


def _finding(rule: Rule, where: Where, config: Config, text: str) -> Finding:
    return Finding(rule, _shown(where.file, config), text, where.line)


def _shown(file: Path, config: Config) -> str:
    """A file as it is called below the configuration's root."""
    try:
        return f"/{file.relative_to(config.root)}"
    except ValueError:
        return str(file)
