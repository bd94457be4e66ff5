"""`rtpush worker`: do the tasks of a server with a function of the user's own."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from ..errors import RtpushError
from ..publisher.request import resolve_server
from .common import FAILED, UNREACHABLE, USAGE, Parser, add_server_options, fail

if TYPE_CHECKING:
    import argparse

    from ..client.worker import Worker

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
examples:
  rtpush worker app:draw                      the function `draw` of app.py
  rtpush worker app:draw --queue gpu --concurrency 2
  rtpush worker app:draw --url https://push.example.com --reload

The function is that of rtpush.Server(work=draw): it takes a task and a report.
The worker connects again by itself. Ctrl+C gives back the tasks that it has.
"""


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("worker", EXAMPLES)
    parser.add_argument("target", metavar="module:function", help="the function that does a task")
    parser.add_argument(
        "--queue", action="append", help="a queue whose tasks it does; repeatable [default]"
    )
    parser.add_argument(
        "--concurrency", type=int, default=1, metavar="N", help="tasks at the same time [1]"
    )
    parser.add_argument("--name", help="what the tasks show as their worker [machine:process]")
    parser.add_argument(
        "--reload", action="store_true", help="restart when a Python file in this directory changes"
    )
    add_server_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Work until SIGTERM or SIGINT; returns the exit code."""
    args = make_parser().parse(argv)
    problem = _problem(args)
    if problem is not None:
        return fail([problem], USAGE)
    if not args.reload:
        return _work(args, lambda: None)
    from .serve import run_with_reload

    return run_with_reload(partial(_work, args))


def _problem(args: argparse.Namespace) -> str | None:
    name, _, attribute = args.target.partition(":")
    if not name or not attribute or name.endswith(".py"):
        return f"{args.target!r} is not module:function; write for example app:work"
    if args.concurrency < 1:
        return "--concurrency is at least 1"
    if args.reload and not hasattr(os, "fork"):
        return "--reload needs a Unix system"
    try:
        resolve_server(args.url, args.token)
    except ValueError as exc:
        return str(exc)
    return None


def _work(args: argparse.Namespace, on_ready: Callable[[], None]) -> int:
    from ..terminal.logs import set_up_logging
    from .importer import ServerImportError, import_work

    set_up_logging("info")
    try:
        work = import_work(args.target)
    except ServerImportError as exc:
        exc.print_traceback()
        return fail([str(exc)], FAILED)
    try:
        _worker(args).run(work, on_ready)
    except RtpushError as exc:
        code = UNREACHABLE if exc.code == "unavailable" else FAILED
        return fail([f"{resolve_server(args.url, args.token)[0]}: {exc.message}"], code)
    return 0


def _worker(args: argparse.Namespace) -> Worker:
    from ..client.worker import Worker

    url, token = resolve_server(args.url, args.token)
    queues = {} if args.queue is None else {"queues": args.queue}
    return Worker(url, token=token, concurrency=args.concurrency, name=args.name, **queues)
