"""An HTTP request of an ASGI server: its body goes in, the response's bytes come out as events.

A response that does not end, as an event stream's, is the same: `http.disconnect` ends it.
"""

from __future__ import annotations

from ..asgi_types import Event, Scope, Send
from .http1 import ResponseHead, ResponseReader, content_length, has_chunks
from .transport import AsgiTransport

__all__ = ["AsgiRequest"]


class AsgiRequest(AsgiTransport[tuple[ResponseHead | None, bytes]]):
    """One request, as a connection that ends with the response."""

    __slots__ = ("_chunked", "_expected", "_response", "_started")

    def __init__(self, scope: Scope, send: Send) -> None:
        super().__init__(scope, send)
        self._chunked = has_chunks(scope)
        # Bytes of the body that are still to come, when it is not in chunks. What goes beyond
        # them would be another request.
        self._expected = content_length(scope) or 0
        self._response = ResponseReader()
        self._started = False

    def _take(self, event: Event) -> bool:
        if event["type"] != "http.request":
            return False
        body, more = event.get("body", b""), event.get("more_body", False)
        if self._chunked:
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk if more else chunk + b"0\r\n\r\n"
        else:
            body = body[: self._expected]
            self._expected -= len(body)
        if body:
            self._protocol.data_received(body)
        # Without the rest, the request cannot be handled.
        return bool(more or self._chunked or not self._expected)

    def _translate(self, data: bytes) -> tuple[ResponseHead | None, bytes]:
        known = self._response.head is not None
        body = self._response.feed(data)
        return None if known else self._response.head, body

    async def _send_item(self, item: tuple[ResponseHead | None, bytes]) -> None:
        head, body = item
        if head is not None:
            self._started = True
            await self._send(
                {
                    "type": "http.response.start",
                    "status": head.status,
                    "headers": head.end_to_end,
                }
            )
        if body:
            await self._send({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_end(self) -> None:
        if self._started:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})
