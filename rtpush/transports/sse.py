"""Server-Sent Events: the same reader on a response that does not end.

Rules that hold here:

- The response ends with the connection: no length, no chunks. Any HTTP/1.0
  proxy passes that on, and shared bytes can be written as they are.
- The client says nothing on this connection; it uses `POST /poll` with its
  `sid`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..protocol import SSE, encode
from .base import Front, StreamWire, Taken, read_opening, take_transport

__all__ = ["SseTransport"]

# `no-transform` and X-Accel-Buffering ask proxies not to hold events back.
_HEAD: Final = (
    b"HTTP/1.1 200 OK\r\n%b"
    b"Content-Type: text/event-stream; charset=utf-8\r\n"
    b"Cache-Control: no-cache, no-transform\r\n"
    b"X-Accel-Buffering: no\r\n"
    b"X-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\n\r\n"
    # Milliseconds that an EventSource waits before it comes back by itself.
    b"retry: 1000\n\n"
)
# An event and not a comment: a page cannot see comments, and silence is how
# it notices a dead connection.
_HEARTBEAT: Final = SSE.frame(encode("heartbeat", None), None)


class SseTransport:
    """`GET /sse`."""

    def __init__(self, front: Front) -> None:
        self._front = front

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Check what is asked for, then carry on without aiohttp.

        Raises RtpushError while an HTTP status can still say it.
        """
        opening = read_opening(request)
        session = await self._front.admit(request, opening)
        transport, _ = take_transport(request)
        cors = self._front.door.origins.cors(request.headers.get("Origin"))
        lines = "".join(f"{name}: {value}\r\n" for name, value in cors.items())
        head = _HEAD % lines.encode("latin-1")
        Stream(transport, SSE, self._front).start(session, opening.last, head)
        return Taken()


class Stream(StreamWire):
    """One event stream: a wire of the hub."""

    __slots__ = ()

    def heartbeat(self) -> None:
        """See hub.Wire."""
        self._transport.write(_HEARTBEAT)

    def close(self, code: int, reason: str) -> None:
        """See hub.Wire. The `disconnect` event has said code and reason."""
        self._session = None
        self._transport.close()
        self._abort_later()
