"""`rtpush exec`: any command as a task.

Rules that hold here:

- The command comes first: a server that is away, or says no, changes nothing
  about it but a line on stderr.
- Its exit code is ours. It has failed when that is not 0.
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
from .common import FAILED, USAGE, Parser, add_server, clean, complain, tell

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
examples:
  rtpush exec -- make -j4
  rtpush exec --title Backup -- rsync -a --info=progress2 data/ /mnt/backup/

What it prints last is the task's message. Per cents that it prints are its
progress: those of tqdm, pip, rsync, ffmpeg, curl, make, cmake, ninja and all
who write 42%. The output passes through, and Ctrl+C and signals reach the
command. The exit code is the command's: 128 + N after signal N, 127 when there
is no such command, 126 when it cannot be run.
"""

NOT_FOUND: Final = 127
NOT_RUN: Final = 126
# Of the command line, as far as it is the task's title.
_TITLE: Final = 120


def make_parser() -> Parser:
    """The options before the command."""
    parser = Parser("exec", EXAMPLES)
    parser.usage = "rtpush exec [options] -- COMMAND [ARGUMENT ...]"
    parser.add_argument("--title", help="what the task is called [the command]")
    parser.add_argument("--room", help="who sees it: those in this room [everybody]")
    parser.add_argument("--id", help="the task's id [a new one]")
    add_server(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Run a command; its exit code."""
    parser = make_parser()
    own, command = _parted(argv)
    args = parser.parse(own)
    if not command:
        parser.error("write -- and the command behind it, as in rtpush exec -- make")
    if not hasattr(os, "posix_spawn"):
        return complain(["exec needs a Unix system"], FAILED)
    try:
        resolve_server(args.url, args.token)
    except ValueError as exc:
        return complain([str(exc)], USAGE)
    return _run(args, command)


def _parted(argv: Sequence[str]) -> tuple[Sequence[str], Sequence[str]]:
    """Our own arguments, and the command."""
    if "--" not in argv:
        return argv, ()
    border = list(argv).index("--")
    return argv[:border], argv[border + 1 :]


def _run(args: argparse.Namespace, command: Sequence[str]) -> int:
    from .passthrough import Child
    from .progress_parser import Meter, Stream

    try:
        child = Child(command)
    except OSError as exc:
        missing = isinstance(exc, FileNotFoundError | NotADirectoryError)
        why = "there is no such command" if missing else f"it cannot be run: {exc.strerror}"
        return complain([f"{command[0]}: {why}"], NOT_FOUND if missing else NOT_RUN)
    logging.basicConfig(handlers=[_Told()], level=logging.WARNING)
    reporter = TaskReporter(
        args.title or _title(command),
        mode="exec",
        url=args.url,
        key=args.token,
        room=args.room,
        id=args.id,
    )
    meter = Meter()
    streams = {1: Stream(meter), 2: Stream(meter)}

    def take(fd: int, data: bytes) -> None:
        streams[fd].feed(data)
        progress = None if meter.progress is None else round(meter.progress, 1)
        reporter.update(progress, meter.message)

    code = child.relay(take)
    with suppress(KeyboardInterrupt):
        _end(reporter, code, meter.message)
    return code


class _Told(logging.Handler):
    """What goes wrong with the task, as everything else is told."""

    def emit(self, record: logging.LogRecord) -> None:
        tell(record.getMessage())


def _title(command: Sequence[str]) -> str:
    title = clean(shlex.join(command))
    return title if len(title) <= _TITLE else title[: _TITLE - 1] + "…"


def _end(reporter: TaskReporter, code: int, message: str) -> None:
    if code == 0:
        reporter.complete({"exit_code": 0})
        return
    reporter.fail(": ".join(filter(None, [_reason(code), message])))


def _reason(code: int) -> str:
    with suppress(ValueError):
        if code > 128:
            return f"ended by {signal.Signals(code - 128).name}"
    return f"exit code {code}"
