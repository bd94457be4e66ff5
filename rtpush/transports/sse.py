"""Server-Sent Events: the same reader on a response that does not end.

Rules that hold here:

- The response ends with the connection: no length, no chunks. Any HTTP/1.0
  proxy passes that on, and shared bytes can be written as they are.
- The client says nothing on this connection; it uses `POST /poll` with its
  `sid`.
"""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from ..errors import RtpushError
from ..framing import SSE, Framing
from ..protocol import encode
from .context import TransportContext
from .hijack import HijackedResponse
from .stream import StreamConnection, hijack_for

__all__ = ["SseConnection", "SseTransport"]

# `no-transform` and X-Accel-Buffering ask proxies not to hold events back.
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n%b"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache, no-transform\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\n\r\n"
    # Milliseconds that an EventSource waits before it comes back by itself.
    # Without a blank line: it stands in the block of the first event, since some clients hand
    # a block without data to the application as an empty event.
    b"retry: 1000\n"
)
# An event and not a comment: a page cannot see comments, and silence is how
# it notices a dead connection.
_HEARTBEAT: Final = SSE.frame(encode("heartbeat", None), None)
# Seconds between two heartbeats that a client may ask for.
MAX_INTERVAL: Final = 3600
# Bytes of a `pong` that may wait for a reader that is slow.
MAX_PONG: Final = 1024
# The end of an event that is broken off: one of another type, which no client listens to.
# Without its id it is not where an EventSource would go on.
_UNFINISHED: Final = b"\nid:\nevent: unfinished\n\n"


class SseTransport:
    """`GET /sse`."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check what is asked for, then carry on without aiohttp.

        Raises RtpushError while an HTTP status can still say it.
        """
        self._context.charge_request(request)
        connect_request = await self._context.read_connect_request(request)
        interval = _interval(request)
        head = self._head(request.headers.get("Origin"))
        session = await self._context.admit(request, connect_request)
        transport, _ = hijack_for(session, request, self._context)
        connection = SseConnection(transport, SSE, self._context)
        connection.start(session, connect_request.last, head)
        if interval is not None and interval < self._context.settings.heartbeat:
            connection.beat_every(interval)
        return HijackedResponse()

    def _head(self, origin: str | None) -> bytes:
        cors = self._context.access.origins.cors(origin)
        lines = "".join(f"{name}: {value}\r\n" for name, value in cors.items())
        # An origin may hold any bytes; aiohttp decodes headers like this.
        return _HEAD % lines.encode("utf-8", "surrogateescape")


class SseConnection(StreamConnection):
    """One event stream: a connection of the hub."""

    __slots__ = ("_beat", "_pong")

    def __init__(
        self, transport: asyncio.Transport, framing: Framing, context: TransportContext
    ) -> None:
        super().__init__(transport, framing, context)
        # The next of its own heartbeats; None while it has the server's alone.
        self._beat: asyncio.TimerHandle | None = None
        # The newest `pong`, while the peer has left too much unread.
        self._pong = b""

    def beat_every(self, seconds: float) -> None:
        """Send heartbeats of its own, beside the server's."""

        def beat() -> None:
            if not self._full:
                self.heartbeat()
            self.beat_every(seconds)

        self._beat = asyncio.get_running_loop().call_later(seconds, beat)

    def pong(self, envelope: bytes) -> bool:
        """Answer a ping, as soon as there is room; False when it is too large for that."""
        if len(envelope) > MAX_PONG:
            return False
        self._pong = SSE.frame(envelope, None)
        if not self._full:
            self._write_pong()
        return True

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        super().resume_writing()
        if self._pong:
            self._write_pong()

    def _write_pong(self) -> None:
        pong, self._pong = self._pong, b""
        self.write(pong)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._stop_beating()
        super().connection_lost(exc)

    def _stop_beating(self) -> None:
        if self._beat is not None:
            self._beat.cancel()

    def heartbeat(self) -> None:
        """See Connection."""
        self.write(_HEARTBEAT)

    def close(self, code: int, reason: str) -> None:
        """See Connection. The `disconnect` event says code and reason."""
        self._session = None
        self._stop_beating()
        if self._behind is not None:
            self._go_on_behind(_UNFINISHED)
        self._transport.close()
        self._abort_later()


def _interval(request: web.Request) -> float | None:
    """The query's `heartbeat`; raises RtpushError (`bad_request`)."""
    text = request.query.get("heartbeat")
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= MAX_INTERVAL:
        raise RtpushError(
            "bad_request", f'"heartbeat" is a number of seconds from 1 to {MAX_INTERVAL}.'
        )
    return seconds
