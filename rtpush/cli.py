"""The command line: from settings to a running server and back to an exit code.

Rules that hold here:

- Without a command the server runs; `rtpush.commands` has the others.
- What the user can put right is told in one line on stderr that says how,
  without a traceback. Exit code 2: the settings are wrong; 1: the server could
  not start; 0: it ran and was stopped.
- stdout carries the banner, once the server really answers; messages go to
  stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Final

from .config import ConfigError, Settings, load

__all__ = ["main"]

# Each is a module of `rtpush.commands`, loaded when it is asked for.
COMMANDS: Final = ("check", "token")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or the server until it is told to stop; returns the exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] in COMMANDS:
        command = import_module(f".commands.{given[0]}", __package__)
        code: int = command.main(given[1:])
        return code
    try:
        settings = load(given, os.environ, Path.cwd())
    except ConfigError as exc:
        return _complain(exc.problems, 2)
    try:
        return _run(settings)
    except KeyboardInterrupt:
        return 130


def _run(settings: Settings) -> int:
    # Here and not above, so that --help and a typo are answered at once.
    from .server import Server, StartError

    try:
        Server(settings).run()
    except StartError as exc:
        return _complain([str(exc)], 1)
    return 0


def _complain(problems: Iterable[str], code: int) -> int:
    for problem in problems:
        print("rtpush:", " ".join(problem.split()), file=sys.stderr)
    return code
