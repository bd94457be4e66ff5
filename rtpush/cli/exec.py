"""`rtpush exec`: run a command as a task.

The command comes first: a server that is away, or refuses the task, changes
nothing about it but a line on stderr.
"""

from __future__ import annotations

import argparse
import logging
import os
import shlex
import signal
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from ..publisher.request import resolve_server
from ..publisher.task_reporter import TaskReporter
from .common import FAILED, USAGE, Parser, add_server_options, decode, fail, print_message

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
examples:
  rtpush exec -- make -j4
  rtpush exec --title Backup -- rsync -a --info=progress2 data/ /mnt/backup/

The last line of output is the task's message. Its progress is parsed from the
output of tqdm, pip, rsync, ffmpeg, curl, make, cmake, ninja, and any program
that prints 42%. Output passes through, and Ctrl+C and signals reach the
command. The exit code is the command's: 128 + N after signal N, 127 when there
is no such command, 126 when it cannot be run.
"""

# The exit codes of POSIX shells (sh, 2.8.2).
NOT_FOUND: Final = 127
NOT_EXECUTABLE: Final = 126
# Characters of the command line in the task's title: about one line on a screen.
_MAX_TITLE: Final = 120


def make_parser() -> Parser:
    """The parser of the options before the command."""
    parser = Parser("exec", EXAMPLES)
    parser.usage = "rtpush exec [options] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("--title", help="the task's title [the command]")
    parser.add_argument("--room", help="show the task in this room only [all clients]")
    parser.add_argument("--id", help="the task's id [a new one]")
    add_server_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command; returns its exit code."""
    parser = make_parser()
    own, command = _split_command(argv)
    args = parser.parse(own)
    if not command:
        parser.error("write -- and the command behind it, as in rtpush exec -- make")
    if not hasattr(os, "posix_spawn"):
        return fail(["exec needs a Unix system"], FAILED)
    try:
        resolve_server(args.url, args.token)
    except ValueError as exc:
        return fail([str(exc)], USAGE)
    return _run(args, command)


def _split_command(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Our own arguments, and the command behind `--`."""
    if "--" not in argv:
        return argv, ()
    border = list(argv).index("--")
    return argv[:border], argv[border + 1 :]


def _run(args: argparse.Namespace, command: Sequence[str]) -> int:
    from .passthrough import PassthroughProcess
    from .progress_parser import OutputParser, Progress

    try:
        process = PassthroughProcess(command)
    except OSError as exc:
        missing = isinstance(exc, FileNotFoundError | NotADirectoryError)
        why = "there is no such command" if missing else f"it cannot be run: {exc.strerror}"
        return fail([f"{command[0]}: {why}"], NOT_FOUND if missing else NOT_EXECUTABLE)
    logging.basicConfig(handlers=[_StderrHandler()], level=logging.WARNING)
    reporter = TaskReporter(
        args.title or _title(command),
        mode="exec",
        url=args.url,
        key=args.token,
        room=args.room,
        id=args.id,
    )
    progress = Progress()
    parsers = {1: OutputParser(progress), 2: OutputParser(progress)}

    def on_output(fd: int, data: bytes) -> None:
        parsers[fd].feed(data)
        percent = None if progress.percent is None else round(progress.percent, 1)
        reporter.update(percent, progress.message)

    code = process.relay(on_output)
    with suppress(KeyboardInterrupt):
        _finish(reporter, code, progress.message)
    return code


class _StderrHandler(logging.Handler):
    """Prints warnings of the task reporter like the command line's own messages."""

    def emit(self, record: logging.LogRecord) -> None:
        print_message(record.getMessage())


def _title(command: Sequence[str]) -> str:
    title = decode(shlex.join(command))
    return title if len(title) <= _MAX_TITLE else title[: _MAX_TITLE - 1] + "…"


def _finish(reporter: TaskReporter, code: int, message: str) -> None:
    if code == 0:
        reporter.complete({"exit_code": 0})
        return
    reporter.fail(": ".join(filter(None, [_reason(code), message])))


def _reason(code: int) -> str:
    with suppress(ValueError):
        if code > 128:
            return f"ended by {signal.Signals(code - 128).name}"
    return f"exit code {code}"
