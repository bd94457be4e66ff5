"""`rtpush listen`: print events, one on a line."""

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
from .common import FAILED, UNREACHABLE, USAGE, Parser, add_server_options, fail, print_message

if TYPE_CHECKING:
    from ..client.async_client import Client, Event

__all__ = ["connect", "connect_silently", "main", "make_parser", "run"]

EXAMPLES: Final = """\
examples:
  rtpush listen --event 'task_*' --room lobby
  rtpush listen --json --since 5979ab3243cf-17 | jq .data
  rtpush listen --event deployed --count 1 && make test      wait for an event

Without --since it begins now. To go on later, give the position of the last
line. Exit code 69 when the server cannot be reached at first; a connection that
is lost later is tried again.
"""


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("listen", EXAMPLES)
    parser.add_argument("--room", action="append", default=[], help="a room to join; repeatable")
    parser.add_argument(
        "--event",
        action="append",
        default=[],
        help="an event's name, or a pattern; repeatable [all]",
    )
    parser.add_argument("--since", metavar="POSITION", help="begin after this position, not now")
    parser.add_argument("--json", action="store_true", help="print a JSON envelope on each line")
    parser.add_argument("--count", type=int, metavar="N", help="end after N events")
    add_server_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Print events until Ctrl+C, or `--count`; returns the exit code."""
    args = make_parser().parse(argv)
    if args.count is not None and args.count < 1:
        return fail(["--count is at least 1"], USAGE)
    return run(args, _listen)


def run(
    args: argparse.Namespace, work: Callable[[Client, argparse.Namespace], Awaitable[None]]
) -> int:
    """Run `work` with a client, which it connects itself; returns the exit code."""
    try:
        resolve_server(args.url, args.token)
    except ValueError as exc:
        return fail([str(exc)], USAGE)
    from ..client.async_client import Client

    async def run_with_client() -> None:
        async with Client() as client:
            await work(client, args)

    try:
        asyncio.run(run_with_client())
    except RtpushError as exc:
        url, _ = resolve_server(args.url, args.token)
        return fail([f"{url}: {exc.message}"], UNREACHABLE if exc.code == "unavailable" else FAILED)
    return 0


async def connect(client: Client, args: argparse.Namespace, last: str | None = None) -> None:
    """Connect, and print a message when the connection is lost and when it is back.

    The client resumes from its position, so no event is missing between two
    lines unless the server says so (`resync`). Raises RtpushError.
    """
    await connect_silently(client, args, last)
    client.on("disconnect", _on_disconnect)
    client.on("connect", lambda: print_message("the connection is back"))


async def connect_silently(
    client: Client, args: argparse.Namespace, last: str | None = None
) -> None:
    """Connect. Raises RtpushError."""
    url, token = resolve_server(args.url, args.token)
    await client.connect(url, auth=token, rooms=args.room, last=last)


def _on_disconnect(reason: str) -> None:
    # After these two the client does not reconnect, and `run` prints the reason.
    if reason not in (Reason.CLIENT_DISCONNECT, Reason.SERVER_DISCONNECT):
        print_message(f"the connection is lost ({reason}); trying again")


async def _listen(client: Client, args: argparse.Namespace) -> None:
    render = _as_json if args.json else _as_text(has_colours())
    events = client.events()
    await connect(client, args, args.since)
    count = 0
    async for event in events:
        if event.event == "resync":
            print_message("what happened meanwhile is gone; going on from now")
        if _matches(event, args.event):
            print(render(event), flush=True)
            count += 1
        if count == args.count:
            return


def _matches(event: Event, patterns: Sequence[str]) -> bool:
    if patterns:
        return matches_any(patterns, event.event)
    # The snapshots at each connect are no events that anyone published.
    return event.event not in ("active_tasks", "state")


def _as_json(event: Event) -> str:
    return encode_envelope(asdict(event) | {"retained": event.retained or None}).decode()


def _as_text(colour: bool) -> Callable[[Event], str]:
    def render(event: Event) -> str:
        parts = [
            paint(escape(event.id or "-"), DIM, colour),
            paint(escape(event.event), BOLD, colour),
            paint(escape(event.room or ""), CYAN, colour),
            "" if event.data is None else escape(orjson.dumps(event.data).decode()),
        ]
        return "  ".join(filter(None, parts))

    return render
