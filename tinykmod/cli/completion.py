"""`tinykmod completion`: what makes a shell complete the command line, from the table of commands and the parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from typing import Any

from tinykmod.errors import TinykmodError

SHELLS = ("bash", "zsh", "fish")

#: What prints the candidates, in the shell of POSIX; the arguments are the words before the one to complete.
#: It has no single quote, so that each shell can take it in such.
_SCRIPTS = {
    "modules": r"""
base= version=$(uname -r)
while [ $# -gt 1 ]; do
  case $1 in
    -b|-d|--basedir|--dirname) [ -d "$2/lib/modules" ] && base=$2 ;;
    -k|-S|--set-version) version=$2 ;;
  esac
  shift
done
sed -n "s|^\([^:]*/\)*\([^/:]*\)\.ko[^/:]*:.*|\2|p" "$base/lib/modules/$version/modules.dep" 2>/dev/null
""",
    "loaded": 'sed "s| .*||" /proc/modules 2>/dev/null',
    "versions": "ls /lib/modules 2>/dev/null",
}

#: The first word of a metavar -> one of _SCRIPTS, or what shtab has.
_KINDS = {
    "BASE": "DIRECTORY",
    "DIR": "DIRECTORY",
    "ROOT": "DIRECTORY",
    "FILE": "FILE",
    "IMAGE": "FILE",
    "PATH": "FILE",
    "MODULE": "modules",
    "VERSION": "versions",
}

#: By shell: a function that offers what a script prints, and files as soon as the word looks like a path.
_FUNCTIONS = {
    "bash": """\
_tinykmod_{name}_files() {{
  case $1 in
    */*|.*) compgen -f -- "$1" ;;
    *) compgen -W "$(sh -c '{script}' sh "${{COMP_WORDS[@]:0:COMP_CWORD}}")" -- "$1" ;;
  esac
}}
""",
    "zsh": """\
_tinykmod_{name}_files() {{
  case $PREFIX in
    */*|.*) _files ;;
    *) compadd -- ${{(f)"$(sh -c '{script}' sh "${{(@)words[1,CURRENT-1]}}")"}} ;;
  esac
}}
""",
    "fish": """\
function _tinykmod_{name}_files
  switch (commandline -ct)
    case '*/*' '.*'
      __fish_complete_path (commandline -ct)
    case '*'
      sh -c '{script}' sh (commandline -opc)
  end
end
""",
}

#: By shell: the names of kmod's tools are completed as well, each only if it is a link to tinykmod.
_LINKS = {
    "bash": """\
_tinykmod_link() {{
  COMP_WORDS=(tinykmod "${{COMP_WORDS[0]##*/}}" "${{COMP_WORDS[@]:1}}")
  COMP_CWORD=$((COMP_CWORD + 1))
  _shtab_tinykmod
}}
for _tinykmod_tool in {tools}; do
  if [[ $(type -P tinykmod) && $(type -P "$_tinykmod_tool") -ef $(type -P tinykmod) ]]; then
    complete -o bashdefault -F _tinykmod_link "$_tinykmod_tool"
  fi
done
unset _tinykmod_tool
""",
    "zsh": """\
_tinykmod_link() {{
  words=(tinykmod "${{words[1]:t}}" "${{(@)words[2,-1]}}")
  (( CURRENT++ ))
  _shtab_tinykmod
}}
for _tinykmod_tool in {tools}; do
  if [[ -n $commands[tinykmod] && $commands[$_tinykmod_tool] -ef $commands[tinykmod] ]]; then
    compdef _tinykmod_link $_tinykmod_tool
  fi
done
unset _tinykmod_tool
""",
    "fish": """\
for tool in {tools}
  if type -q tinykmod; and type -q $tool; and test (realpath (type -P $tool)) = (realpath (type -P tinykmod))
    complete -c $tool --wraps "tinykmod $tool"
  end
end
""",
}


def configure(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=SHELLS, help='in its startup file: eval "$(tinykmod completion bash)"')


def run(args: argparse.Namespace) -> int:
    print(script(args.shell), end="")
    return 0


def script(shell: str) -> str:
    """The completion script for one of SHELLS. Raises TinykmodError where the package that writes it is missing."""
    from tinykmod.cli import COMMANDS, parser_of

    try:
        import shtab
    except ImportError:
        raise TinykmodError("completion", "takes the Python package shtab, which is not installed") from None
    parser = argparse.ArgumentParser(prog="tinykmod")
    parser.add_argument("--version", action="store_true", help="print the version and the core in use, and exit")
    commands = parser.add_subparsers()
    for command in COMMANDS:
        # What is a parent here is shared, not copied: its actions are marked by _mark() below.
        commands.add_parser(command.name, help=command.help, parents=[parser_of(command)], add_help=False)
    _mark(parser, {word: getattr(shtab, kind, _functions(kind)) for word, kind in _KINDS.items()})
    _mark(commands.choices["rmmod"], {"MODULE": _functions("loaded")})
    preamble = "".join(_FUNCTIONS[shell].format(name=name, script=text) for name, text in _SCRIPTS.items())
    tools = " ".join(command.name for command in COMMANDS if command.kmod)
    text = str(shtab.complete(parser, shell, preamble=preamble))
    if shell == "zsh":
        # shtab 1.13 marks what may be repeated so that only the first is completed; see _arguments in zshcompsys(1).
        text = text.replace('"(*)::', '"*:').replace('"(*):', '"*:')
    return f"{text}\n\n{_LINKS[shell].format(tools=tools)}"


def _functions(kind: str) -> dict[str, str]:
    name = f"_tinykmod_{kind}_files"
    return {"bash": name, "zsh": name, "fish": f"({name})"}


def _mark(parser: argparse.ArgumentParser, completions: Mapping[str, Any]) -> None:
    """Tell shtab how the values of each argument are completed: by the first word of its metavar."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                _mark(each, completions)
        elif isinstance(action.metavar, str):
            word = re.split(r"\W", action.metavar)[0]
            if word in completions:
                action.complete = completions[word]  # type: ignore[attr-defined]
