"""The entry point of the command line: find the command, run it, turn its end into an exit code.

Exit codes: 0, done; 1, failed; 2, the command line or the settings are wrong;
69, the server cannot be reached; 130 after Ctrl+C. `exec` ends as its command
did. What the user can put right is one line on stderr, without a traceback.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import groupby
from typing import Final

from ..version import __version__
from .common import COMMANDS, FAILED, USAGE, fail

__all__ = ["main"]

_HELP_HEAD: Final = """\
usage: rtpush [COMMAND] [options]       or: python -m rtpush …

A real-time push server, and commands that talk to it. The default is serve.
"""

_HELP_TAIL: Final = """
Try it:
  rtpush --demo                          a server with work to watch
  rtpush publish hello world             publish an event to all clients
  rtpush exec -- pip download torch      a task, with its progress

rtpush COMMAND --help has the options, and rtpush serve --help every setting.
"""

# Errors of writing to a full disk, or to a terminal that is gone.
_WRITE_ERRORS: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# Library of the extra `cli` -> what needs it. Commands import them where they use them.
_EXTRA_FEATURES: Final = {
    "rich": "rtpush tasks (without --json)",
    "shtab": "rtpush completion",
    "watchfiles": "--reload",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command, or the server until it is told to stop; returns the exit code."""
    given = list(sys.argv[1:] if argv is None else argv)
    _prepare_streams()
    try:
        code = _run(given)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        _discard_stdout()
        return 128 + signal.SIGPIPE
    except OSError as exc:
        if exc.errno not in _WRITE_ERRORS:
            raise
        _discard_stdout()
        return fail([f"the output cannot be written: {exc.strerror}"], FAILED)
    return code


def _prepare_streams() -> None:
    # With a closed descriptor 0, 1 or 2, the next file or socket that we open would get its number.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    # A character that the terminal's encoding lacks is escaped.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _discard_stdout() -> None:
    # Otherwise Python would report the error again when it flushes stdout at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    first = given[0] if given else "serve"
    if first in ("-h", "--help"):
        print(_help(), end="")
        return 0
    if first == "--version":
        print("rtpush", __version__)
        return 0
    if first in COMMANDS:
        return _call(first, given[1:])
    if first.startswith("-") or ":" in first:
        return _call("serve", given)
    return fail([_unknown_command(first)], USAGE)


def _call(name: str, argv: Sequence[str]) -> int:
    try:
        code: int = import_module(f".{name}", __package__).main(argv)
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA_FEATURES:
            raise
        need = f"{_EXTRA_FEATURES[exc.name]} needs {exc.name}"
        return fail([f"{need}; install it: pip install 'rtpush[cli]'"], FAILED)
    return code


def _help() -> str:
    return _HELP_HEAD + "".join(_command_lists()) + _HELP_TAIL


def _command_lists() -> Iterator[str]:
    for group, commands in groupby(COMMANDS.values(), lambda command: command.group):
        yield f"\n{group}:\n"
        yield from (f"  {command.name:<12}{command.summary}\n" for command in commands)


def _unknown_command(word: str) -> str:
    from ..config.kinds import did_you_mean

    hint = did_you_mean(word, COMMANDS) or "rtpush --help lists all"
    return f"there is no command {word!r}; {hint}"
