"""`rtpush listen`: what happens, a line for each event.

Rules that hold here:

- Each line is written out at once, also into a pipe.
- A connection that is lost is taken up where it was: nothing is missing between
  two lines but what the server says is gone, and that is told on stderr.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import orjson

from ..errors import Reason, RtpushError
from ..patterns import matches_any
from ..publisher.request import encode_envelope, resolve_server
from ..terminal.text import BOLD, CYAN, DIM, escape, has_colours, paint
from .common import AWAY, FAILED, USAGE, Parser, add_server, complain, tell

if TYPE_CHECKING:
    from ..client.async_client import Client, Event

__all__ = ["connect", "main", "make_parser", "run"]

EXAMPLES: Final = """\
examples:
  rtpush listen --event 'task_*' --room lobby
  rtpush listen --json --since 5979ab3243cf-17 | jq .data
  rtpush listen --event deployed --count 1 && make test      wait for an event

Without --since it begins now. The position of the last line is where to go on
from. Exit code 69 when the server cannot be reached at first; later it is
waited for.
"""


def make_parser() -> Parser:
    """What is listened to, and how it is shown."""
    parser = Parser("listen", EXAMPLES)
    parser.add_argument(
        "--room", action="append", default=[], help="a room to be in, too; repeatable"
    )
    parser.add_argument(
        "--event", action="append", default=[], help="a name or a pattern; repeatable [all]"
    )
    parser.add_argument("--since", metavar="POSITION", help="begin behind it, not now")
    parser.add_argument("--json", action="store_true", help="an envelope of JSON on each line")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many")
    add_server(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Print events until somebody stops us; the exit code."""
    args = make_parser().parse(argv)
    if args.count is not None and args.count < 1:
        return complain(["--count is at least 1"], USAGE)
    return run(args, _listen)


def run(
    args: argparse.Namespace, work: Callable[[Client, argparse.Namespace], Awaitable[None]]
) -> int:
    """Do some work with a client, for the server that `args` name; the exit code."""
    try:
        resolve_server(args.url, args.token)
    except ValueError as exc:
        return complain([str(exc)], USAGE)
    from ..client.async_client import Client

    async def begin() -> None:
        async with Client() as client:
            await work(client, args)

    try:
        asyncio.run(begin())
    except RtpushError as exc:
        url, _ = resolve_server(args.url, args.token)
        return complain([f"{url}: {exc.message}"], AWAY if exc.code == "unavailable" else FAILED)
    return 0


async def connect(client: Client, args: argparse.Namespace, last: str | None = None) -> None:
    """Connect, and tell when that is lost and when it is back. Raises RtpushError."""
    url, token = resolve_server(args.url, args.token)
    await client.connect(url, auth=token, rooms=args.room, last=last)
    client.on("disconnect", _tell_of_loss)
    client.on("connect", lambda: tell("the connection is back"))


def _tell_of_loss(reason: str) -> None:
    # Whoever has been sent away does not come back, and why is told at the end.
    if reason not in (Reason.CLIENT_DISCONNECT, Reason.SERVER_DISCONNECT):
        tell(f"the connection is lost ({reason}); trying again")


async def _listen(client: Client, args: argparse.Namespace) -> None:
    show = _as_json if args.json else _as_text(has_colours())
    events = client.events()
    await connect(client, args, args.since)
    shown = 0
    async for event in events:
        if event.event == "resync":
            tell("what happened meanwhile is gone; going on from now")
        if _is_wanted(event, args.event):
            print(show(event), flush=True)
            shown += 1
        if shown == args.count:
            return


def _is_wanted(event: Event, patterns: Sequence[str]) -> bool:
    if patterns:
        return matches_any(patterns, event.event)
    # The whole board at each start is more than who listens has asked for.
    return event.event != "active_tasks"


def _as_json(event: Event) -> str:
    return encode_envelope(asdict(event)).decode()


def _as_text(colour: bool) -> Callable[[Event], str]:
    def show(event: Event) -> str:
        parts = [
            paint(escape(event.id or "-"), DIM, colour),
            paint(escape(event.event), BOLD, colour),
            paint(escape(event.room or ""), CYAN, colour),
            "" if event.data is None else escape(orjson.dumps(event.data).decode()),
        ]
        return "  ".join(filter(None, parts))

    return show
