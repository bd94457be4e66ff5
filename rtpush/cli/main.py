"""The command line: which command is meant, and what becomes of its end.

Rules that hold here:

- Without a command the server runs: `rtpush --port 8080`, `rtpush app:server`.
- What the user can put right is told in one line on stderr that says how,
  without a traceback.
- Exit codes: 0, it is done; 1, it could not be done; 2, the command line or the
  settings are wrong; 69, the server is away, and the same may succeed later;
  130 after Ctrl+C. `exec` ends as its command did.
- Output that nobody reads any more ends a command quietly. What the terminal's
  encoding has no character for is written out.
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
from .common import COMMANDS, FAILED, USAGE, complain

__all__ = ["main"]

HEAD: Final = """\
usage: rtpush [COMMAND] [options]       or: python -m rtpush …

A real-time push server, and what talks to it. Without a command it serves.
"""

TAIL: Final = """
Try it:
  rtpush --demo                          a server, and work to watch
  rtpush publish hello world             everybody who is connected gets it
  rtpush exec -- pip download torch      its progress, on every screen

rtpush COMMAND --help tells more, and rtpush serve --help every setting.
"""

# What becomes of writing to a disk that is full, or a terminal that is gone.
_NOT_WRITTEN: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)

# What each library of the extra `cli` is for. Commands import them where they use them.
_EXTRA: Final = {
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
        _give_stdout_up()
        return 128 + signal.SIGPIPE
    except OSError as exc:
        if exc.errno not in _NOT_WRITTEN:
            raise
        _give_stdout_up()
        return complain([f"the output cannot be written: {exc.strerror}"], FAILED)
    return code


def _prepare_streams() -> None:
    # Of what was closed before we began, a file or socket of ours would take the place.
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _give_stdout_up() -> None:
    # Python would complain about it once more when it ends.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(given: list[str]) -> int:
    first = given[0] if given else "serve"
    if first in ("-h", "--help"):
        print(_overview(), end="")
        return 0
    if first == "--version":
        print("rtpush", __version__)
        return 0
    if first in COMMANDS:
        return _call(first, given[1:])
    if first.startswith("-") or ":" in first:
        return _call("serve", given)
    return complain([_unknown(first)], USAGE)


def _call(name: str, argv: Sequence[str]) -> int:
    try:
        code: int = import_module(f".{name}", __package__).main(argv)
    except ModuleNotFoundError as exc:
        if exc.name not in _EXTRA:
            raise
        need = f"{_EXTRA[exc.name]} needs {exc.name}; install it: pip install 'rtpush[cli]'"
        return complain([need], FAILED)
    return code


def _overview() -> str:
    return HEAD + "".join(_lists()) + TAIL


def _lists() -> Iterator[str]:
    for group, commands in groupby(COMMANDS.values(), lambda command: command.group):
        yield f"\n{group}:\n"
        yield from (f"  {command.name:<12}{command.summary}\n" for command in commands)


def _unknown(word: str) -> str:
    from ..config.kinds import did_you_mean

    hint = did_you_mean(word, COMMANDS) or "rtpush --help lists all"
    return f"there is no command {word!r}; {hint}"
