"""`rtpush tasks`: the task table, live in a terminal, once in a pipe."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Final, NoReturn

import orjson

from ..terminal.task_table import TaskTable
from .common import Parser, add_server_options
from .listen import connect, connect_silently, run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from ..client.async_client import Client, Event

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
In a terminal the table is live, until Ctrl+C. In a pipe it is printed once.
With --json each line is a task, with its status and all its fields:

  rtpush tasks --json | jq -r 'select(.status == "active") | .id'
"""

# Signals that end it, beside Ctrl+C. Windows has the first alone.
_END_SIGNALS: Final = ("SIGTERM", "SIGHUP", "SIGQUIT")
# Seconds between two refreshes: at least, so that a burst of events costs little, and at
# most, because run times go on.
_MIN_REFRESH: Final = 0.1
_MAX_REFRESH: Final = 1.0


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("tasks", EXAMPLES)
    parser.add_argument("--room", action="append", default=[], help="a room to join; repeatable")
    parser.add_argument(
        "--json", action="store_true", help="print once, a JSON object on each line"
    )
    add_server_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Show the tasks; returns the exit code."""
    args = make_parser().parse(argv)
    if not args.json:
        # Where the extra is missing, that is told before anything else is tried.
        import_module("rich")
    live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and not args.json
    return run(args, _show_live if live else _print_once)


async def _print_once(client: Client, args: argparse.Namespace) -> None:
    table = TaskTable()
    events = client.events("active_tasks")
    await connect(client, args)
    table.apply("active_tasks", (await anext(events)).data, time.time())
    for line in _json_lines(table) if args.json else _columns(table):
        print(line)


def _json_lines(table: TaskTable) -> Iterator[str]:
    return (orjson.dumps(task).decode() for task in table.tasks())


def _columns(table: TaskTable) -> Iterator[str]:
    from ..terminal.task_view import columns

    return columns(table.rows(time.time()))


class _Away:
    """Since when the server is away, in seconds since 1970; None while it is connected."""

    def __init__(self, client: Client, changed: asyncio.Event) -> None:
        self.since: float | None = None
        self._changed = changed
        client.on("disconnect", lambda _reason: self._set(time.time()))
        client.on("connect", lambda: self._set(None))

    def _set(self, since: float | None) -> None:
        self.since = since
        self._changed.set()


async def _show_live(client: Client, args: argparse.Namespace) -> None:
    table, changed = TaskTable(), asyncio.Event()
    events = client.events("active_tasks", "task_*")
    # A message would land in the middle of the screen, which tells it itself.
    await connect_silently(client, args)
    with _full_screen(table, _Away(client, changed)) as live:
        following = asyncio.create_task(_follow(events, table, changed))
        while not following.done():
            live.refresh()
            with suppress(TimeoutError):
                async with asyncio.timeout(_MAX_REFRESH):
                    await changed.wait()
            changed.clear()
            await asyncio.sleep(_MIN_REFRESH)
        following.result()


async def _follow(events: AsyncIterator[Event], table: TaskTable, changed: asyncio.Event) -> None:
    try:
        async for event in events:
            table.apply(event.event, event.data, time.time(), event.room)
            changed.set()
    finally:
        changed.set()


@contextmanager
def _full_screen(table: TaskTable, away: _Away) -> Iterator[Live]:
    """The table on the terminal's alternate screen, which is left however the block ends."""
    from rich.console import Console
    from rich.live import Live

    from ..terminal.task_view import screen

    def view() -> RenderableType:
        # Run times stand still while nothing is heard of the tasks.
        return screen(table, away.since or time.time(), *console.size, away=bool(away.since))

    console = Console()
    live = Live(
        console=console,
        screen=True,
        get_renderable=view,
        auto_refresh=False,
        redirect_stderr=False,
    )
    _handle_signals(live)
    with live:
        yield live


def _handle_signals(live: Live) -> None:
    def end(number: int, _frame: object) -> NoReturn:
        raise SystemExit(128 + number)

    for name in _END_SIGNALS:
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), end)
    if hasattr(signal, "SIGTSTP"):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, _suspend, live)


def _suspend(live: Live) -> None:
    """Give the terminal back until `fg`."""
    live.stop()
    os.kill(os.getpid(), signal.SIGSTOP)
    live.start(refresh=True)
