"""The commands, each a module with `make_parser()` and `main(argv) -> exit code`.

Rules that hold here:

- A command's name and summary stand here, its arguments in its parser, and
  nowhere else: the help, the guesses at a mistyped word and the completion of
  shells come from them.
- Errors are lines on stderr that begin with "rtpush: " and say what to do.
- Commands that talk to a server do not import one: they start at once.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NoReturn

__all__ = [
    "AWAY",
    "COMMANDS",
    "FAILED",
    "USAGE",
    "Command",
    "Parser",
    "add_server",
    "clean",
    "complain",
    "duration",
    "tell",
]

# Exit codes. `exec` has its command's own besides.
FAILED: Final = 1
USAGE: Final = 2
# EX_UNAVAILABLE of sysexits.h: the same may succeed later.
AWAY: Final = 69


@dataclass(frozen=True, slots=True)
class Command:
    """One command, as the overview lists it."""

    name: str
    group: str
    summary: str


_SERVER: Final = "Run a server"
_CLIENT: Final = "Talk to one"
_SHELL: Final = "Your shell"

COMMANDS: Final = {
    command.name: command
    for command in (
        Command("serve", _SERVER, "run the server, or one of your own: rtpush serve app:server"),
        Command("check", _SERVER, "would it start here, and is it fit for others?"),
        Command("token", _SERVER, "make a token for a client, or a key for a publisher"),
        Command("bench", _SERVER, "measure what this machine can do, in a few seconds"),
        Command("publish", _CLIENT, "publish an event, or one for each line of a stream"),
        Command("listen", _CLIENT, "print what happens, a line for each event"),
        Command("tasks", _CLIENT, "watch the tasks, and how far they are"),
        Command("exec", _CLIENT, "run any command, and show how far it is on every screen"),
        Command("completion", _SHELL, "print what lets bash, zsh or fish complete all of this"),
    )
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are told like all others."""

    def __init__(self, name: str, epilog: str | None = None) -> None:
        super().__init__(
            prog=f"rtpush {name}",
            description=f"{COMMANDS[name].summary.capitalize()}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )

    def error(self, message: str) -> NoReturn:
        raise SystemExit(complain([f"{message}; see {self.prog} --help"], USAGE))

    def parse(self, argv: Sequence[str]) -> argparse.Namespace:
        """As `parse_args`, with a guess at what was meant."""
        found, unknown = self.parse_known_args([clean(arg) for arg in argv])
        if unknown:
            self.error(_unknown(unknown[0].partition("=")[0], self))
        return found


def _unknown(word: str, parser: argparse.ArgumentParser) -> str:
    from ..config.kinds import did_you_mean

    if not word.startswith("-"):
        return f"unexpected argument {word!r}"
    flags = [flag for action in parser._actions for flag in action.option_strings]
    return f"unknown option {word}; {did_you_mean(word, flags)}".rstrip("; ")


def clean(argument: str) -> str:
    """An argument as text, also where its bytes are no UTF-8."""
    return argument.encode(errors="surrogateescape").decode(errors="replace")


def add_server(parser: argparse.ArgumentParser) -> None:
    """The options that say which server a command talks to: `url` and `token`."""
    group = parser.add_argument_group("which server")
    group.add_argument("--url", help="its address [http://127.0.0.1:5000; RTPUSH_URL]")
    group.add_argument(
        "--token", help="a token or an API key for it; better in the environment [RTPUSH_KEY]"
    )


def duration(text: str) -> float:
    """Seconds, as the type of an argument."""
    from ..config.kinds import duration

    kind = duration(0)
    try:
        return kind.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not {kind.allowed}") from None


def complain(problems: Iterable[str], code: int) -> int:
    """Tell each; returns the exit code."""
    for problem in problems:
        tell(problem)
    return code


def tell(news: str) -> None:
    """A line on stderr. It may quote what a stranger has said."""
    from ..terminal.text import escape

    print("rtpush:", escape(" ".join(news.split())), file=sys.stderr, flush=True)
