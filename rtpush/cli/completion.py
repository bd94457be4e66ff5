"""`rtpush completion`: completion scripts for bash, zsh and fish, made by shtab.

All words come from the commands' own parsers. The script stands alone: a shell
that has read it starts no Python when Tab is pressed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from importlib import import_module
from typing import Final

from .common import COMMANDS, Parser

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
bash   eval "$(rtpush completion bash)"      in ~/.bashrc
zsh    eval "$(rtpush completion zsh)"       in ~/.zshrc, behind compinit
fish   rtpush completion fish | source       in ~/.config/fish/config.fish
"""

SHELLS: Final = ("bash", "zsh", "fish")

# Behind `rtpush exec --` stands the line of another program, which has completions of its own.
# shtab lets bash treat what a function prints as files, with / behind a directory, when the
# function's name says so.
_PREAMBLE: Final = {
    "bash": """\
_rtpush_exec_file() {
    local first=2 word
    until [[ ${COMP_WORDS[first++]} == -- ]]; do ((first < COMP_CWORD)) || return 0; done
    if declare -F _command_offset >/dev/null; then
        _command_offset "$first"
        for word in "${COMPREPLY[@]}"; do echo "$word"; done
    else
        compgen -c -- "$1" || true
    fi
}""",
    "zsh": """\
_rtpush_exec() {
    [[ $words[1] == -- ]] && shift words && ((CURRENT--))
    _normal
}""",
    "fish": """\
function _rtpush_exec
    set -l words (commandline -opc) (commandline -ct)
    set -l border (contains -i -- -- $words); or return
    complete -C "$words[$(math $border + 1)..]"
end""",
}
# shtab's script for zsh takes the first word for a command, as in `rtpush app:server --reload`.
_ZSH_DEFAULT: Final = """\
_rtpush() {
    if [[ $words[2] == *:* ]] && ((CURRENT > 2)); then
        words=(rtpush serve "${words[@]:1}")
        ((CURRENT++))
    fi
    _shtab_rtpush
}
compdef _rtpush rtpush"""


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("completion", EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help=", ".join(SHELLS))
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the script; returns the exit code."""
    import shtab

    shell = make_parser().parse(argv).shell
    print(shtab.complete(_whole_parser(), shell, preamble=_PREAMBLE[shell]))
    if shell == "zsh":
        print(_ZSH_DEFAULT)
    return 0


def _whole_parser() -> argparse.ArgumentParser:
    """All commands as the subcommands of one parser, which takes the options of `serve` itself."""
    whole = argparse.ArgumentParser("rtpush", add_help=False)
    for action in _parser("serve")._actions:
        if action.option_strings:
            whole._add_action(action)
    commands = whole.add_subparsers(parser_class=argparse.ArgumentParser)
    for command in COMMANDS.values():
        commands.add_parser(
            command.name,
            help=command.summary,
            description=command.summary,
            parents=[_parser(command.name)],
            add_help=False,
        )
    return whole


def _parser(name: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = import_module(f".{name}", __package__).make_parser()
    for action in parser._actions:
        _describe_value(action)
    if name == "exec":
        _add_command(parser)
    return parser


def _describe_value(action: argparse.Action) -> None:
    """Tell shtab what may stand as an option's value. Its door for that is an attribute."""
    import shtab

    values = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    metavar = action.metavar if isinstance(action.metavar, str) else ""
    if metavar in values:
        action.complete = values[metavar]  # type: ignore[attr-defined]
    elif "|" in metavar:
        action.choices = metavar.split("|")


def _add_command(parser: argparse.ArgumentParser) -> None:
    """The command of `exec`, which its own parser does not see."""
    command = parser.add_argument("command", nargs=argparse.REMAINDER, help="the command")
    command.complete = {  # type: ignore[attr-defined]
        "bash": "_rtpush_exec_file",
        "zsh": "_rtpush_exec",
        "fish": "(_rtpush_exec)",
    }
