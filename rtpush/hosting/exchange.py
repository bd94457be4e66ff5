"""One request to the application: its body as events, and the events of its answer.

Rules that hold here:

- The body is read when the application asks for it, and the answer is written as fast as the
  client takes it.
- A client that goes is told as ASGI says: `receive` gives a disconnect, `send` raises OSError.
  One that sends or takes too slowly counts as gone, since it may hold a thread of the application.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict

from ..asgi_types import Event
from ..config.settings import Settings
from ..web.body import SLOWEST

__all__ = ["Exchange"]

# Statuses of responses that have no body (RFC 9110, section 6.4.1).
_WITHOUT_BODY: Final = (204, 304)


class Exchange:
    """A request and its answer."""

    def __init__(self, request: web.Request, settings: Settings) -> None:
        self._request = request
        self._write_timeout = settings.write_timeout
        # Seconds that the client may still take to send its body.
        self._patience = settings.request_timeout
        # The answer, from its first event on.
        self.response: web.StreamResponse | None = None
        # Set when the answer is whole, or the client gone.
        self.over = asyncio.Event()
        # Is the client gone?
        self.lost = False
        self._asked = False

    async def receive(self) -> Event:
        """See ASGI."""
        if self._asked and self._request.content.at_eof():
            await self.over.wait()
        if self.over.is_set():
            return {"type": "http.disconnect"}
        self._asked = True
        try:
            body = await self._read()
        except Exception:
            # The client has gone in the middle of the body, or sent none that is one.
            self.lose()
            return {"type": "http.disconnect"}
        more = not self._request.content.at_eof()
        return {"type": "http.request", "body": body, "more_body": more}

    async def _read(self) -> bytes:
        """What has come of the body. Raises TimeoutError."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        async with asyncio.timeout(self._patience):
            body = await self._request.content.readany()
        self._patience += begun - loop.time() + len(body) / SLOWEST
        return body

    async def send(self, event: Event) -> None:
        """See ASGI."""
        if self.over.is_set():
            raise ConnectionResetError("the answer is over, or the client has gone")
        kind = event["type"].removeprefix("websocket.")
        if kind == "http.response.start" and self.response is None:
            self.response = web.StreamResponse(
                status=event["status"], headers=_headers(event.get("headers", ()))
            )
        elif kind == "http.response.body" and self.response is not None:
            await self._write(self.response, event.get("body", b""), event.get("more_body", False))
        else:
            raise RuntimeError(f"{event['type']} has no place here")

    async def _write(self, response: web.StreamResponse, body: bytes, more: bool) -> None:
        try:
            if not response.prepared:
                await response.prepare(self._request)
            # Frameworks leave it to the server to send no body where there is none: the next
            # response would be taken for one.
            if body and self._request.method != "HEAD" and response.status not in _WITHOUT_BODY:
                async with asyncio.timeout(self._write_timeout):
                    await response.write(body)
            if not more:
                await response.write_eof()
        except OSError:
            self.lose()
            # aiohttp would wait for a client that takes nothing.
            self._abort()
            raise
        if not more:
            self.over.set()

    def lose(self) -> None:
        """The client has gone."""
        self.lost = True
        self.over.set()

    async def fail(self) -> web.StreamResponse:
        """The answer of an application that has not answered, or not to the end."""
        if self.response is None or not self.response.prepared:
            return web.Response(status=500, text="Internal Server Error")
        # Its client must not take a part for the whole.
        self._abort()
        return self.response

    def _abort(self) -> None:
        transport = self._request.transport
        if transport is not None:
            assert isinstance(transport, asyncio.Transport)
            transport.abort()


def _headers(pairs: Any) -> CIMultiDict[str]:
    headers: CIMultiDict[str] = CIMultiDict()
    for name, value in pairs:
        # How many bytes there are, aiohttp knows; how they travel is its own affair.
        if bytes(name).lower() != b"transfer-encoding":
            headers.add(bytes(name).decode("latin-1"), bytes(value).decode("latin-1"))
    return headers
