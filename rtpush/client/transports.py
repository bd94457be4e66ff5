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
from io import BytesIO
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
# The close code of what was too much at once, and the seconds until it may not be.
_RATE_LIMITED: Final = 4529
_RATE_PAUSE: Final = 1.0
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
        self, code: int, message: str, retry_after: Any = None, *, silent: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        # As the other side said it, so it may be anything.
        self.retry_after = retry_after if isinstance(retry_after, int | float) else None
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
            # A server says over a WebSocket why it refuses one; so this was a proxy.
            raise Ended(1006, f"HTTP {exc.status} for {url.path}") from exc
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

    # Where the reading was answered: were a POST redirected, it would become a GET.
    _answered_at: URL | None = None

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Wire. Waits for as long as the server says that it is too much at once."""
        assert self._answered_at is not None
        url = self._answered_at.parent.joinpath("poll").with_query({"sid": self.sid or ""})
        body = b"[%b]" % b",".join(envelopes)
        while True:
            try:
                return _envelopes(await self._json("POST", url, _POST_PATIENCE, body))
            except Ended as end:
                if end.code != _RATE_LIMITED:
                    raise
                await asyncio.sleep(end.retry_after or _RATE_PAUSE)

    def _answered(self, response: aiohttp.ClientResponse) -> None:
        if response.url.host != self._link.base.host:
            # Whoever redirects could have the token sent anywhere.
            raise Ended(1006, f"it redirects to {response.url.origin()}: connect there instead")
        self._answered_at = response.url

    async def _json(self, method: str, url: URL, patience: float, body: bytes | None = None) -> Any:
        link = self._link
        try:
            async with (
                asyncio.timeout(patience),
                link.http.request(
                    method, url, data=body and BytesIO(body), headers=link.headers
                ) as response,
            ):
                if response.status != 200:
                    raise await _refusal(response)
                self._answered(response)
                return orjson.loads(await response.read())
        except TimeoutError:
            raise Ended(1006, "no answer in time") from None
        except orjson.JSONDecodeError:
            raise _stranger() from None
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc


class SseWire(_HttpWire):
    """`GET /sse`."""

    _response: aiohttp.ClientResponse | None = None

    def __init__(self, link: Link) -> None:
        super().__init__(link)
        self._rest = bytearray()

    async def receive(self) -> Batch:
        """See Wire."""
        try:
            response = self._response or await self._open()
            chunk = await response.content.readany()
        except (aiohttp.ClientError, OSError) as exc:
            raise _unreachable(exc) from exc
        if not chunk:
            raise Ended(1006, "the stream ended")
        self._rest += chunk
        # Only what is new: a large message comes in thousands of pieces.
        if b"\n\n" not in self._rest[-len(chunk) - 1 :]:
            if len(self._rest) > _MOST_BYTES:
                raise Ended(1009, "a message is too large")
            return Batch([])
        *blocks, self._rest = self._rest.split(b"\n\n")
        return Batch(_objects([data for block in blocks if (data := _data_of(block))]))

    async def _open(self) -> aiohttp.ClientResponse:
        link = self._link
        response = self._response = await link.http.get(
            link.address("sse", link.place()),
            headers={**link.headers, "Accept": "text/event-stream"},
            timeout=aiohttp.ClientTimeout(total=None),
        )
        if response.status != 200:
            raise await _refusal(response)
        if response.content_type != "text/event-stream":
            raise _stranger()
        self._answered(response)
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
        url = self._link.address("poll", {**place, "sid": sid, "timeout": str(timeout)})
        answer = await self._json("GET", url, timeout + _PATIENCE)
        if not isinstance(answer, dict):
            raise _stranger()
        envelopes = _envelopes(answer.get("events"))
        if self.sid is None and (not envelopes or envelopes[0].get("event") != "connect"):
            if sid == _NEW_SESSION:
                raise _stranger()
            # The session goes on where it was (PROTOCOL.md, section 4, "Long-poll").
            envelopes.insert(0, {"event": "connect", "data": {"sid": sid}})
        elif not envelopes and asyncio.get_running_loop().time() - began < _EMPTY_PAUSE:
            # Whoever cannot wait must not be asked in a tight loop.
            await asyncio.sleep(_EMPTY_PAUSE)
        upto = answer.get("last")
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
    return _envelopes(found)


def _envelopes(answer: Any) -> list[dict[str, Any]]:
    """Raises Ended for what is no list at all."""
    if not isinstance(answer, list):
        raise _stranger()
    return [one for one in answer if isinstance(one, dict)]


def _data_of(block: bytearray) -> bytes:
    """The data of one event of a stream (WHATWG HTML, 9.2.6)."""
    lines = [line[5:] for line in block.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def _close_code_of(status: int) -> int:
    """Of the protocol's close codes the one that means what the status does."""
    if status == 413:
        return 1009
    if status == 429:
        return _RATE_LIMITED
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


def _stranger() -> Ended:
    return Ended(1006, "what answers is not rtpush")


def _unreachable(exc: Exception) -> Ended:
    return Ended(1006, f"the server cannot be reached ({str(exc) or type(exc).__name__})")
