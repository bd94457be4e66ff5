"""`rtpush publish`: publish an event, or one for each line of a stream.

stdout has the position of each stored event, as soon as it is stored; a
volatile event has none. From a stream, all complete lines that can be read are
published at once: a line that a user types goes out alone, and a file goes out
in large batches.
"""

from __future__ import annotations

import argparse
import os
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from ..errors import RtpushError
from ..publisher.http_client import HttpClient
from ..publisher.request import Outcome, batches, encode_envelope, is_retryable
from ..terminal.text import escape
from .common import FAILED, UNREACHABLE, USAGE, Parser, add_server_options, duration, fail

__all__ = ["main", "make_parser"]

EXAMPLES: Final = """\
examples:
  rtpush publish deployed '{"version": "1.4"}' --room operators
  rtpush publish hello world                        data that is no JSON is text
  rtpush publish temperature 21.5 --key kitchen     only the newest matters
  rtpush publish status open --key shop --retain    who comes later is told, too
  tail -f app.log | rtpush publish log - --text     an event for each line

DATA is JSON. Anything else is sent as text, unless it begins like an object, a
list or a string: that is a mistake, and refused. With --text all data is text.
With - each line of the input is the data of an event.

Prints the position of each event. Exit code 1 when the server refuses it, 69
when it cannot be reached. From a stream, a line with bad data is reported with
its number, and the lines behind it are published.
"""

# Bytes read at once: the capacity of a pipe on Linux (pipe(7)).
_CHUNK: Final = 1 << 16
# Bytes of a line: 16 times the server's default limit (max_message), which a server may raise.
_MAX_LINE: Final = 1 << 24
# Refusals that concern one line only. Any other would refuse all lines.
_LINE_ERRORS: Final = frozenset(
    {
        "bad_envelope",
        "bad_task",
        "retained_full",
        "task_exists",
        "task_finished",
        "task_cancelling",
        "task_too_large",
        "too_large",
    }
)


def make_parser() -> Parser:
    """The parser of the command line."""
    parser = Parser("publish", EXAMPLES)
    parser.add_argument("event", metavar="EVENT", help="the event's name")
    parser.add_argument(
        "data", metavar="DATA", nargs="?", help="the event's data; - reads standard input [null]"
    )
    parser.add_argument("--room", help="publish to this room only [all clients]")
    parser.add_argument("--key", help="a later event with this key replaces it")
    parser.add_argument(
        "--retain",
        action="store_true",
        help="keep the newest of its key for clients that come later; null removes it",
    )
    parser.add_argument(
        "--volatile", action="store_true", help="do not store it: only connected clients get it"
    )
    parser.add_argument(
        "--text", action="store_true", help="send the data as text, even when it is JSON"
    )
    parser.add_argument(
        "--timeout",
        type=duration,
        default=5.0,
        metavar="TIME",
        help="how long to retry an unreachable server [5s]",
    )
    add_server_options(parser)
    return parser


def main(argv: Sequence[str]) -> int:
    """Publish; returns the exit code."""
    args = make_parser().parse(argv)
    try:
        http = HttpClient(args.url, args.token)
    except ValueError as exc:
        return fail([str(exc)], USAGE)
    publisher = _Publisher(http, args)
    if args.data == "-":
        publisher.publish_stream(0)
        return publisher.code
    try:
        data = None if args.data is None else _parse_data(args.data, args.text)
    except ValueError as exc:
        return fail([str(exc)], USAGE)
    publisher.publish([(0, data)])
    return publisher.code


def _parse_data(text: str, is_text: bool) -> Any:
    """JSON, or text that is not meant to be JSON. Raises ValueError."""
    if is_text:
        return text
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as exc:
        if text.lstrip()[:1] not in ("{", "[", '"'):
            return text
        raise ValueError(
            f"the data begins like JSON and is not ({exc}); --text sends it as it is"
        ) from None


class _Publisher:
    """Publishes events and prints the outcome of each."""

    def __init__(self, http: HttpClient, args: argparse.Namespace) -> None:
        # The exit code.
        self.code = 0
        self._http, self._timeout, self._is_text = http, args.timeout, args.text
        self._fields = {"event": args.event, "room": args.room, "key": args.key}
        self._fields["retain"] = args.retain or None
        # The server keeps no idempotency key of a volatile event.
        self._is_volatile = args.volatile

    def publish(self, numbered: Sequence[tuple[int, Any]]) -> bool:
        """Publish data, each with the number of its line, 0 for none.

        Every event has an idempotency key, so that a retry never publishes it
        twice. Returns False when later lines cannot be published either.
        """
        numbers = iter([number for number, _ in numbered])
        for batch in batches([self._envelope(data) for _, data in numbered]):
            for outcome in self._http.post_until(batch, self._timeout):
                if not self._print_outcome(next(numbers), outcome):
                    return False
        return True

    def _envelope(self, data: Any) -> bytes:
        once = {"volatile": True} if self._is_volatile else {"idempotency_key": uuid.uuid4().hex}
        return encode_envelope({**self._fields, "data": data, **once})

    def _print_outcome(self, number: int, outcome: Outcome) -> bool:
        if isinstance(outcome, RtpushError):
            if is_retryable(outcome):
                self._fail(number, f"{self._http.url}: {outcome.message}", UNREACHABLE)
            else:
                self._fail(number, outcome.message)
            return outcome.code in _LINE_ERRORS
        if outcome is not None:
            print(escape(outcome), flush=True)
        return True

    def _fail(self, number: int, problem: str, code: int = FAILED) -> None:
        self.code = fail([f"line {number}: {problem}" if number else problem], code)

    # ---------------------------------------------------------------- streams

    def publish_stream(self, fd: int) -> None:
        """Publish the data of each line of a file descriptor; blank lines are skipped."""
        read = 0
        try:
            for lines in _read_lines(fd):
                if not self.publish(list(self._parse(lines, read + 1))):
                    return
                read += len(lines)
        except ValueError as exc:
            self._fail(read + 1, str(exc))

    def _parse(self, lines: Sequence[bytes], first: int) -> Iterator[tuple[int, Any]]:
        for number, line in enumerate(lines, first):
            text = line.decode(errors="replace").rstrip("\r\n")
            if text.strip():
                try:
                    yield number, _parse_data(text, self._is_text)
                except ValueError as exc:
                    self._fail(number, str(exc))


def _read_lines(fd: int) -> Iterator[list[bytes]]:
    """Yield the complete lines of each read. Raises ValueError for a line that is too long."""
    rest = b""
    while data := os.read(fd, _CHUNK):
        *lines, rest = (rest + data).split(b"\n")
        if lines:
            yield lines
        if len(rest) > _MAX_LINE:
            raise ValueError(f"it is longer than {_MAX_LINE:,} bytes")
    if rest:
        yield [rest]
