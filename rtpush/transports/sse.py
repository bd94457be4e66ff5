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

from ..framing import SSE
from ..protocol import encode
from .connect_request import read_connect_request
from .context import TransportContext
from .hijack import HijackedResponse
from .stream import StreamConnection, hijack_for

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
    # Without a blank line: it stands in the block of the first event, since some clients hand
    # a block without data to the application as an empty event.
    b"retry: 1000\n"
)
# An event and not a comment: a page cannot see comments, and silence is how
# it notices a dead connection.
_HEARTBEAT: Final = SSE.frame(encode("heartbeat", None), None)
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
        connect_request = read_connect_request(request)
        head = self._head(request.headers.get("Origin"))
        session = await self._context.admit(request, connect_request)
        transport, _ = hijack_for(session, request, self._context)
        SseConnection(transport, SSE, self._context).start(session, connect_request.last, head)
        return HijackedResponse()

    def _head(self, origin: str | None) -> bytes:
        cors = self._context.access.origins.cors(origin)
        lines = "".join(f"{name}: {value}\r\n" for name, value in cors.items())
        # An origin may hold any bytes; aiohttp decodes headers like this.
        return _HEAD % lines.encode("utf-8", "surrogateescape")


class SseConnection(StreamConnection):
    """One event stream: a connection of the hub."""

    __slots__ = ()

    def heartbeat(self) -> None:
        """See Connection."""
        self.write(_HEARTBEAT)

    def close(self, code: int, reason: str) -> None:
        """See Connection. The `disconnect` event says code and reason."""
        self._session = None
        if self._behind is not None:
            self._go_on_behind(_UNFINISHED)
        self._transport.close()
        self._abort_later()
