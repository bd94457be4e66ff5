"""Three wires of one shape: WebSocket, Server-Sent Events, long-poll.

Rules that hold here:

- `receive` gives what has come next, and raises `Ended` when nothing will.
- `send` says envelopes in order; what the server answers over HTTP it returns,
  and what it answers on a WebSocket is received.
- A token travels in a header, never in an address, where logs would keep it.
- Nothing that comes can be trusted to be an envelope but this much: it is a
  JSON object.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple

import aiohttp
import orjson
from yarl import URL

__all__ = ["WIRES", "Batch", "Ended", "Link", "Wire"]

# Seconds for the answer to a read beyond the time it asks for, and to a POST: that
# one waits for the application's handlers, too.
_PATIENCE: Final = 10.0
_POST_PATIENCE: Final = 120.0
# Seconds for the answer to a close.
_CLOSE_PATIENCE: Final = 1.0
# Seconds that a read waits for something newer.
_POLL_TIMEOUT: Final = 25
# Seconds between reads that are answered with nothing at once.
_EMPTY_PAUSE: Final = 0.2
# Bytes of one message: a board may be 64 MiB.
_MOST_BYTES: Final = 128 << 20
# A sid that no server knows: asks for a session, where none at all asks for one read.
_NEW_SESSION: Final = "new"


class Ended(Exception):
    """A wire has ended. `code` is the close code of PROTOCOL.md, section 10; 1006: lost.

    `silent`: it was never answered.
    """

    def __init__(
        self, code: int, message: str, retry_after: float | None = None, *, silent: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry_after = retry_after
        self.silent = silent

    @property
    def final(self) -> bool:
        """Must the client not come back by itself?"""
        return 4000 <= self.code < 4500


class Batch(NamedTuple):
    """Envelopes, and the position that they lead up to, where the wire says so."""

    envelopes: list[dict[str, Any]]
    upto: str | None = None


@dataclass(frozen=True, slots=True)
class Link:
    """What a wire is opened with. `place` is where the reader is: its `last` and `sid`."""

    http: aiohttp.ClientSession
    base: URL
    query: Sequence[tuple[str, str]]
    rooms: Mapping[str, str | None]
    headers: Mapping[str, str]
    place: Callable[[], dict[str, str]]

    def address(self, path: str, more: Mapping[str, str]) -> URL:
        """A path of the server's, with the query of an opening."""
        # A room with a token of its own is joined again instead: no address may hold that.
        rooms = [("room", room) for room, token in self.rooms.items() if token is None]
        return self.base.joinpath(path).with_query([*self.query, *rooms, *more.items()])


class Wire(ABC):
    """One connection. `sid` is the session's, once its greeting has come.

    One that `pings` shows its reader no sign of life without being asked for it.
    """

    pings: ClassVar = False

    def __init__(self, link: Link) -> None:
        self.sid: str | None = None
        self._link = link

    @abstractmethod
    async def receive(self) -> Batch:
        """What comes next. Raises Ended."""

    @abstractmethod
    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """Say envelopes, and return what is answered at once. Raises Ended."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of it, without a word."""


class WebSocketWire(Wire):
    """`GET /ws`."""

    pings = True
    _ws: aiohttp.ClientWebSocketResponse | None = None

    async def receive(self) -> Batch:
        """See Wire."""
        ws = self._ws or await self._open()
        message = await ws.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return Batch(_objects([message.data]))
        if message.type is aiohttp.WSMsgType.BINARY:
            return Batch([])
        raise Ended(ws.close_code or 1006, _reason_of(message))

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        link = self._link
        url = link.address("ws", link.place())
        try:
            self._ws = await link.http.ws_connect(
                url,
                headers=link.headers,
                max_msg_size=_MOST_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_PATIENCE),
            )
        except aiohttp.WSServerHandshakeError as exc:
            raise Ended(_close_code_of(exc.status), f"HTTP {exc.status} for {url.path}") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc
        return self._ws

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Wire."""
        assert self._ws is not None
        try:
            for envelope in envelopes:
                await self._ws.send_frame(envelope, aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc
        return []

    async def close(self) -> None:
        """See Wire."""
        if self._ws is not None:
            await self._ws.close()


class _HttpWire(Wire):
    """What SSE and long-poll share: a client speaks by `POST /poll`."""

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Wire."""
        body = b"[%b]" % b",".join(envelopes)
        return _list_of(await self._json({"sid": self.sid or ""}, _POST_PATIENCE, body))

    async def _json(self, query: Mapping[str, str], patience: float, body: bytes = b"") -> Any:
        try:
            async with asyncio.timeout(patience):
                return await self._ask(query, body)
        except TimeoutError:
            raise Ended(1006, "no answer in time") from None
        except orjson.JSONDecodeError:
            raise Ended(1006, "what answers is not rtpush") from None
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc

    async def _ask(self, query: Mapping[str, str], body: bytes) -> Any:
        link = self._link
        async with link.http.request(
            "POST" if body else "GET",
            link.base.joinpath("poll").with_query(dict(query)) if body else self._read_at(query),
            data=body or None,
            headers=link.headers,
        ) as response:
            if response.status != 200:
                raise await _refusal(response)
            return orjson.loads(await response.read())

    def _read_at(self, query: Mapping[str, str]) -> URL:
        return self._link.address("poll", query)


class SseWire(_HttpWire):
    """`GET /sse`."""

    _response: aiohttp.ClientResponse | None = None
    _rest = b""

    async def receive(self) -> Batch:
        """See Wire."""
        try:
            response = self._response or await self._open()
            chunk = await response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc
        if not chunk:
            raise Ended(1006, "the stream ended")
        *blocks, self._rest = (self._rest + chunk).split(b"\n\n")
        if len(self._rest) > _MOST_BYTES:
            raise Ended(1009, "a message is too large")
        return Batch(_objects([data for block in blocks if (data := _data_of(block))]))

    async def _open(self) -> aiohttp.ClientResponse:
        link = self._link
        response = await link.http.get(
            link.address("sse", link.place()),
            headers={**link.headers, "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        if response.status != 200 or response.content_type != "text/event-stream":
            raise await _refusal(response)
        self._response = response
        return response

    async def close(self) -> None:
        """See Wire."""
        if self._response is not None:
            self._response.close()


class PollWire(_HttpWire):
    """`GET /poll`, one read after the other."""

    async def receive(self) -> Batch:
        """See Wire."""
        place = self._link.place()
        began = asyncio.get_running_loop().time()
        # The first answer tells whether it works, so that must not be waited for.
        timeout = 0 if self.sid is None else _POLL_TIMEOUT
        sid = self.sid or place.get("sid", _NEW_SESSION)
        query = {**place, "sid": sid, "timeout": str(timeout)}
        answer = await self._json(query, timeout + _PATIENCE)
        envelopes = _list_of(answer.get("events") if isinstance(answer, dict) else None)
        if self.sid is None and (not envelopes or envelopes[0].get("event") != "connect"):
            # The session goes on where it was (PROTOCOL.md, section 4, "Long-poll").
            envelopes.insert(0, {"event": "connect", "data": {"sid": sid}})
        elif not envelopes and asyncio.get_running_loop().time() - began < _EMPTY_PAUSE:
            # Whoever cannot wait must not be asked in a tight loop.
            await asyncio.sleep(_EMPTY_PAUSE)
        upto = answer.get("last") if isinstance(answer, dict) else None
        return Batch(envelopes, upto if isinstance(upto, str) else None)

    async def close(self) -> None:
        """See Wire. There is nothing to close: the session ends for want of requests."""


WIRES: Final[Mapping[str, type[Wire]]] = {
    "websocket": WebSocketWire,
    "sse": SseWire,
    "poll": PollWire,
}


def _objects(texts: Sequence[str | bytes]) -> list[dict[str, Any]]:
    found = []
    for text in texts:
        with suppress(orjson.JSONDecodeError):
            found.append(orjson.loads(text))
    return _list_of(found)


def _list_of(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _data_of(block: bytes) -> bytes:
    """The data of one event of a stream (WHATWG HTML, 9.2.6)."""
    lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def _close_code_of(status: int) -> int:
    """Of the protocol's close codes the one that means what the status does."""
    if status == 413:
        return 1009
    return 4000 + status if status in (400, 401, 403) else 1006


async def _refusal(response: aiohttp.ClientResponse) -> Ended:
    try:
        error = orjson.loads(await response.read())["error"]
        message, retry_after = str(error["message"]), error.get("retry_after")
    except (orjson.JSONDecodeError, LookupError, TypeError, AttributeError):
        return Ended(_close_code_of(response.status), f"HTTP {response.status}, not of rtpush")
    return Ended(_close_code_of(response.status), message, retry_after)


def _reason_of(message: aiohttp.WSMessage) -> str:
    reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
    return reason or "the connection was lost"


def _unreachable(exc: Exception) -> Ended:
    return Ended(1006, f"the server cannot be reached ({exc or type(exc).__name__})")
