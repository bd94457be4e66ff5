"""`rtpush tasks`: the board of tasks, live in a terminal.

Rules that hold here:

- What is no terminal gets the board as it is now, once, and plain.
- The terminal is left as it was found, however this ends, and while it is stopped.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

from ..terminal.task_table import Overview
from ..terminal.text import has_colours
from .common import Parser, add_server
from .listen import connect, run

if TYPE_CHECKING:
    from ..client.async_client import Client, Event

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
In a terminal the table is live, until Ctrl+C. In a pipe it is printed once;
with --json that is a task on each line, with its status and all its fields:

  rtpush tasks --json | jq -r 'select(.status == "active") | .id'
"""

# A screen of its own, without a cursor; and back.
_ENTER: Final = "\033[?1049h\033[?25l"
_LEAVE: Final = "\033[?25h\033[?1049l"
_HOME, _ERASE_LINE, _ERASE_REST = "\033[H", "\033[K", "\033[J"
# Windows has the first alone.
_ENDS: Final = ("SIGTERM", "SIGHUP", "SIGQUIT")
# Seconds between two pictures: at least, and at most.
_SHORTEST: Final = 0.1
_LONGEST: Final = 1.0


def make_parser() -> Parser:
    """Whose tasks, and how they are shown."""
    parser = Parser("tasks", EXAMPLES)
    parser.add_argument(
        "--room", action="append", default=[], help="a room whose tasks to see, too; repeatable"
    )
    parser.add_argument("--json", action="store_true", help="once, as a line of JSON for each")
    add_server(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Show the board; the exit code."""
    args = make_parser().parse(argv)
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not args.json
    return run(args, _live if live else _once)


async def _once(client: Client, args: argparse.Namespace) -> None:
    overview = Overview()
    events = client.events("active_tasks")
    await connect(client, args)
    overview.take("active_tasks", (await anext(events)).data, time.time())
    if args.json:
        lines: Iterator[str] = (orjson.dumps(task).decode() for task in overview.tasks())
    else:
        lines = overview.table(time.time())
    for line in lines:
        print(line)


async def _live(client: Client, args: argparse.Namespace) -> None:
    overview, changed = Overview(), asyncio.Event()
    events = client.events("active_tasks", "task_*")
    await connect(client, args)
    with _screen():
        following = asyncio.create_task(_follow(events, overview, changed))
        while not following.done():
            _draw(overview)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LONGEST):
                    await changed.wait()
            changed.clear()
            await asyncio.sleep(_SHORTEST)
        following.result()


async def _follow(events: AsyncIterator[Event], overview: Overview, changed: asyncio.Event) -> None:
    try:
        async for event in events:
            overview.take(event.event, event.data, time.time(), event.room)
            changed.set()
    finally:
        changed.set()


def _draw(overview: Overview) -> None:
    size = shutil.get_terminal_size()
    picture = overview.screen(time.time(), size.columns - 1, size.lines - 1, has_colours())
    lines = "".join(f"{line}{_ERASE_LINE}\n" for line in picture)
    print(f"{_HOME}{lines}{_ERASE_REST}", end="", flush=True)


@contextmanager
def _screen() -> Iterator[None]:
    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for name in _ENDS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    if hasattr(signal, "SIGTSTP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, _pause)
    print(_ENTER, end="", flush=True)
    try:
        yield
    finally:
        print(_LEAVE, end="", flush=True)


def _pause() -> None:
    """Until `fg`."""
    print(_LEAVE, end="", flush=True)
    os.kill(os.getpid(), signal.SIGSTOP)
    print(_ENTER, end="", flush=True)
