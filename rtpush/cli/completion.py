"""`rtpush completion`: what lets a shell complete commands and options.

Rules that hold here:

- All words come from the commands' own parsers: what a command takes is
  completed, and nothing else.
- The script stands alone: a shell that has read it starts no Python for a Tab.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from .common import COMMANDS, Parser

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
bash   eval "$(rtpush completion bash)"      in ~/.bashrc
zsh    eval "$(rtpush completion zsh)"       in ~/.zshrc, behind compinit
fish   rtpush completion fish | source       in ~/.config/fish/config.fish
"""


def make_parser() -> Parser:
    """The shell's name."""
    parser = Parser("completion", EXAMPLES)
    parser.add_argument("shell", metavar="SHELL", choices=[*SHELLS], help=", ".join(SHELLS))
    return parser


def main(argv: Sequence[str]) -> int:
    """Print the script."""
    write = SHELLS[make_parser().parse(argv).shell]
    print("\n".join(write([_words(name) for name in COMMANDS])))
    return 0


@dataclass(frozen=True, slots=True)
class _Option:
    flags: Sequence[str]
    help: str
    takes_value: bool
    # What the value is one of; empty for anything.
    values: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class _Words:
    """What can be said to one command."""

    name: str
    summary: str
    options: Sequence[_Option]
    # What its arguments are one of; empty for anything.
    arguments: Sequence[str]

    @property
    def flags(self) -> list[str]:
        return [flag for option in self.options for flag in option.flags]

    @property
    def valued(self) -> list[str]:
        return [flag for option in self.options if option.takes_value for flag in option.flags]


def _words(name: str) -> _Words:
    parser: argparse.ArgumentParser = import_module(f".{name}", __package__).make_parser()
    options = [_option(action) for action in parser._actions if action.option_strings]
    arguments = [
        str(word)
        for action in parser._actions
        if not action.option_strings
        for word in action.choices or ()
    ]
    return _Words(name, COMMANDS[name].summary, options, arguments)


def _option(action: argparse.Action) -> _Option:
    text = (action.help or "").replace("%%", "%").partition(" [")[0]
    values = (action.metavar or "") if isinstance(action.metavar, str) else ""
    return _Option(
        action.option_strings,
        text,
        action.nargs != 0,
        [*map(str, action.choices or ())] or (values.split("|") if "|" in values else ()),
    )


# ---- bash --------------------------------------------------------------------

_BASH: Final = """\
_rtpush() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} before=${{COMP_WORDS[COMP_CWORD-1]}}
    local command=${{COMP_WORDS[1]}} words= i
    COMPREPLY=()
    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ $command == exec && ${{COMP_WORDS[i]}} == -- ]]; then
            # From here on it is another program's line.
            if declare -F _command_offset >/dev/null; then _command_offset $((i + 1)); else
                COMPREPLY=($(compgen -c -- "$word")); fi
            return
        fi
    done
    if ((COMP_CWORD == 1)) && [[ $word != -* ]]; then
        COMPREPLY=($(compgen -W '{commands}' -- "$word"))
        return
    fi
    case $command in
        {names}) ;;
        *) command=serve ;;
    esac
    case $command:$before in
{values}
    esac
    case $command in
{flags}
    esac
    [[ -n $words ]] && COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _rtpush rtpush"""


def _bash(commands: Sequence[_Words]) -> Iterator[str]:
    yield _BASH.format(
        commands=" ".join(words.name for words in commands),
        names="|".join(words.name for words in commands),
        values="\n".join(_bash_values(commands)),
        flags="\n".join(
            f"        {words.name}) words='{' '.join([*words.flags, *words.arguments])}' ;;"
            for words in commands
        ),
    )


def _bash_values(commands: Sequence[_Words]) -> Iterator[str]:
    for words in commands:
        for option in words.options:
            if option.values:
                cases = "|".join(f"{words.name}:{flag}" for flag in option.flags)
                choices = " ".join(option.values)
                reply = f"COMPREPLY=($(compgen -W '{choices}' -- \"$word\"))"
                yield f"        {cases}) {reply}; return ;;"
        free = [o for o in words.options if o.takes_value and not o.values]
        if free:
            cases = "|".join(f"{words.name}:{flag}" for option in free for flag in option.flags)
            # Anything: files, where these are.
            yield f"        {cases}) return ;;"


# ---- zsh ---------------------------------------------------------------------


_ZSH: Final = """\
#compdef rtpush
_rtpush() {{
    local -a commands=(
{commands}
    )
    local command=$words[2] border=${{words[(i)--]}}
    if [[ $command == exec ]] && ((CURRENT > border)); then
        # From here on it is another program's line.
        shift $border words; ((CURRENT -= border))
        _normal
        return
    fi
    if ((CURRENT == 2)) && [[ $PREFIX != -* ]]; then
        _describe command commands
        return
    fi
    if ((${{commands[(I)$command:*]}})); then
        shift words; ((CURRENT--))
    else
        command=serve
    fi
    case $command in
{cases}
    esac
}}
compdef _rtpush rtpush"""


def _zsh(commands: Sequence[_Words]) -> Iterator[str]:
    yield _ZSH.format(
        commands="\n".join(f"        {_quoted(f'{w.name}:{w.summary}')}" for w in commands),
        cases="\n".join(map(_zsh_case, commands)),
    )


def _zsh_case(words: _Words) -> str:
    rest = f"({' '.join(words.arguments)})" if words.arguments else "_default"
    specs = [f"*:argument:{rest}", *_zsh_specs(words)]
    lines = " \\\n".join(f"            {_quoted(spec)}" for spec in specs)
    return f"    {words.name}) _arguments \\\n{lines} ;;"


def _zsh_specs(words: _Words) -> Iterator[str]:
    for option in words.options:
        text = option.help.translate({ord(c): f"\\{c}" for c in "[]:\\"})
        value = ""
        if option.takes_value:
            value = f":value:({' '.join(option.values)})" if option.values else ":value:_default"
        for flag in option.flags:
            yield f"*{flag}[{text}]{value}"


# ---- fish --------------------------------------------------------------------


def _fish(commands: Sequence[_Words]) -> Iterator[str]:
    names = " ".join(words.name for words in commands)
    without = f"not __fish_seen_subcommand_from {names}"
    for words in commands:
        summary = _quoted(words.summary)
        yield f"complete -c rtpush -n '__fish_is_first_arg' -f -a {words.name} -d {summary}"
    for words in commands:
        seen = f"__fish_seen_subcommand_from {words.name}"
        where = f"{seen}; or {without}" if words.name == "serve" else seen
        if words.arguments:
            yield f"complete -c rtpush -n '{where}' -f -a '{' '.join(words.arguments)}'"
        for option in words.options:
            yield f"complete -c rtpush -n '{where}' {_fish_option(option)}"
    others = "(__fish_complete_subcommand --fcs-skip=3)"
    yield f"complete -c rtpush -n '__fish_seen_subcommand_from exec' -xa '{others}'"


def _fish_option(option: _Option) -> str:
    parts = [
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}" for flag in option.flags
    ]
    if option.values:
        parts.append(f"-x -a '{' '.join(option.values)}'")
    elif option.takes_value:
        parts.append("-r")
    return " ".join([*parts, "-d", _quoted(option.help)])


def _quoted(text: str) -> str:
    # As all three shells read it.
    return "'" + text.replace("'", "'\\''") + "'"


SHELLS: Final[dict[str, Callable[[Sequence[_Words]], Iterator[str]]]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
