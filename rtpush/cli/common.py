"""What the commands share: their names, the parser, exit codes and messages.

A command is a module with `make_parser()` and `main(argv) -> exit code`. Its
name and summary stand here and its arguments in its parser: help, completion
and suggestions for typos are made from them. Commands that talk to a server do
not import one, so that they start fast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

__all__ = [
    "COMMANDS",
    "FAILED",
    "UNREACHABLE",
    "USAGE",
    "Command",
    "Parser",
    "add_server_options",
    "decode",
    "duration",
    "fail",
    "print_message",
]

# Exit codes. `exec` ends with its command's.
FAILED: Final = 1
USAGE: Final = 2
# EX_UNAVAILABLE of sysexits.h: a later attempt may succeed.
UNREACHABLE: Final = 69


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as `rtpush --help` lists it."""

    name: str
    group: str
    summary: str


_SERVER: Final = "Run a server"
_CLIENT: Final = "Talk to a server"
_SHELL: Final = "Your shell"

COMMANDS: Final = {
    command.name: command
    for command in (
        Command("serve", _SERVER, "run the server, or one of your own: rtpush serve app:server"),
        Command("check", _SERVER, "check whether it would start here, and is safe to expose"),
        Command("token", _SERVER, "make a token for a client, or a key for a publisher"),
        Command("bench", _SERVER, "measure memory, latency and throughput in a few seconds"),
        Command("publish", _CLIENT, "publish an event, or one for each line of a stream"),
        Command("listen", _CLIENT, "print events, one on a line"),
        Command("tasks", _CLIENT, "watch the tasks and their progress"),
        Command("worker", _CLIENT, "do tasks with a function of yours: rtpush worker app:work"),
        Command("exec", _CLIENT, "run any command as a task, with its progress"),
        Command("completion", _SHELL, "print the completion script for bash, zsh or fish"),
    )
}


class Parser(argparse.ArgumentParser):
    """A parser of one command, whose errors look like all others."""

    def __init__(self, name: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"rtpush {name}",
            description=f"{COMMANDS[name].summary.capitalize()}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise SystemExit(fail([f"{message}; see {self.prog} --help"], USAGE))

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """`parse_args`, with a suggestion for an unknown option."""
        found, unknown = self.parse_known_args([decode(arg) for arg in argv])
        if unknown:
            self.error(_unknown_argument(unknown[0].partition("=")[0], self))
        return found


def _unknown_argument(word: str, parser: argparse.ArgumentParser) -> str:
    from ..config.kinds import did_you_mean

    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    flags = [flag for action in parser._actions for flag in action.option_strings]
    return f"unknown option {word}; {did_you_mean(word, flags)}".rstrip("; ")


def decode(argument: str) -> str:
    """An argument of the command line as valid text: bytes that are not UTF-8 become U+FFFD."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add the options `--url` and `--token`."""
    group = parser.add_argument_group("server")
    group.add_argument("--url", help="the server's address [http://127.0.0.1:5000; RTPUSH_URL]")
    group.add_argument(
        "--token", help="a token or an API key; safer in the environment [RTPUSH_KEY]"
    )


def duration(text: str) -> float:
    """A duration in seconds, as the type of an argument."""
    from ..config.kinds import duration

    kind = duration(0)
    try:
        return kind.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind.allowed}") from None


def fail(problems: Iterable[str], code: int) -> int:
    """Print each problem to stderr; returns the exit code."""
    for problem in problems:
        print_message(problem)
    return code


def print_message(text: str) -> None:
    """Print a line to stderr. It may quote a client's text, so control characters are escaped."""
    from ..terminal.text import escape

    print("rtpush:", escape(" ".join(text.split())), file=sys.stderr, flush=True)
