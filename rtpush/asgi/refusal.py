"""Refusals of requests that do not come as far as the server's own handlers."""

from __future__ import annotations

from ..asgi_types import Scope, Send
from ..errors import RtpushError
from ..web.api import error_response

__all__ = ["redirect", "refuse"]


async def refuse(scope: Scope, send: Send, error: RtpushError) -> None:
    """Answer with an error, as the HTTP API does."""
    response = error_response(error)
    headers = [(name.lower().encode(), value.encode()) for name, value in response.headers.items()]
    assert isinstance(response.body, bytes)
    await _answer(scope, send, response.status, headers, response.body)


async def redirect(scope: Scope, send: Send, location: str) -> None:
    """Say where the page is; `location` is relative to the request's path."""
    await _answer(scope, send, 308, [(b"location", location.encode())], b"")


async def _answer(
    scope: Scope, send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    if scope["type"] == "http":
        prefix = ""
    elif "websocket.http.response" in scope.get("extensions", ()):
        prefix = "websocket."
    else:
        # The ASGI server makes 403 of it.
        await send({"type": "websocket.close"})
        return
    length = [(b"content-length", b"%d" % len(body))]
    start = f"{prefix}http.response.start"
    await send({"type": start, "status": status, "headers": headers + length})
    await send({"type": f"{prefix}http.response.body", "body": body})
