"""The interface of the three transports, and what they share.

Rules that hold here:

- `receive` returns what has arrived next, and raises `TransportClosed` when
  nothing more can arrive.
- `send` sends envelopes in order. It returns what the server answers over HTTP;
  the answers on a WebSocket are received.
- The token travels in a header, never in an address, which servers and proxies log.
- The client does not trust that what arrives is an envelope, but only that it is a
  JSON object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import aiohttp
import orjson
from yarl import URL

__all__ = [
    "Received",
    "Transport",
    "TransportClosed",
    "TransportContext",
    "not_rtpush",
    "parse_objects",
    "to_envelopes",
    "unreachable",
]


class TransportClosed(Exception):
    """A transport is closed, or could not be opened."""

    def __init__(
        self, code: int, message: str, retry_after: Any = None, *, timed_out: bool = False
    ) -> None:
        super().__init__(message)
        # The close code of PROTOCOL.md, section 10; 1006: the connection was lost.
        self.code = code
        self.message = message
        # Seconds that the server asks to wait; None when it does not, or sends no number.
        self.retry_after = retry_after if isinstance(retry_after, int | float) else None
        # Whether the server did not answer at all.
        self.timed_out = timed_out

    @property
    def is_final(self) -> bool:
        """Whether the client must not reconnect by itself."""
        return 4000 <= self.code < 4500


class Received(NamedTuple):
    """Envelopes that have arrived together."""

    envelopes: list[dict[str, Any]]
    # The position that they lead up to; None where the transport does not tell it.
    position: str | None = None


@dataclass(frozen=True, slots=True)
class TransportContext:
    """What a connection gives to a transport."""

    http: aiohttp.ClientSession
    # Where the server is mounted.
    base: URL
    # Query parameters of the application.
    query: Sequence[tuple[str, str]]
    # The rooms to be in, and the token of each; None: the client's own is enough.
    rooms: Mapping[str, str | None]
    headers: Mapping[str, str]
    # The query parameters `last` and `sid`, by which the server resumes the session.
    resume: Callable[[], dict[str, str]]
    # Seconds that a proxy lets a connection be idle; None: for ever.
    max_idle: Callable[[], float | None]

    @property
    def open_rooms(self) -> Sequence[str]:
        """The rooms that a connection begins in.

        The client joins rooms with a token of their own later: no address may hold it.
        """
        return [room for room, token in self.rooms.items() if token is None]

    def address(self, path: str, rooms: Iterable[str], more: Mapping[str, str]) -> URL:
        """An address of the server, with these rooms and parameters."""
        named = [("room", room) for room in rooms]
        return self.base.joinpath(path).with_query([*self.query, *named, *more.items()])


class Transport(ABC):
    """One connection to the server."""

    # Whether the client has to ping: an idle WebSocket receives nothing by itself.
    needs_ping: ClassVar = False

    def __init__(self, context: TransportContext) -> None:
        # The session's secret; None until the `connect` envelope has arrived.
        self.sid: str | None = None
        self._context = context

    @abstractmethod
    async def receive(self) -> Received:
        """Wait for what arrives next; the first call connects. Raises TransportClosed."""

    @abstractmethod
    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """Send envelopes, and return the answers that come at once. Raises TransportClosed."""

    @abstractmethod
    async def close(self) -> None:
        """Close it. Raises nothing."""

    async def leave(self) -> None:
        """Close it for good: the server ends the session. Raises nothing."""
        await self.close()


def parse_objects(texts: Sequence[str | bytes]) -> list[dict[str, Any]]:
    """The JSON objects among some texts."""
    found = []
    for text in texts:
        with suppress(orjson.JSONDecodeError):
            found.append(orjson.loads(text))
    return to_envelopes(found)


def to_envelopes(answer: Any) -> list[dict[str, Any]]:
    """The objects of a list. Raises TransportClosed when it is not a list."""
    if not isinstance(answer, list):
        raise not_rtpush()
    return [one for one in answer if isinstance(one, dict)]


def not_rtpush() -> TransportClosed:
    """Another program has answered."""
    return TransportClosed(1006, "what answers is not rtpush")


def unreachable(exc: Exception) -> TransportClosed:
    """A failure of the network."""
    why = str(exc) or type(exc).__name__
    return TransportClosed(1006, f"the server cannot be reached ({why})")
