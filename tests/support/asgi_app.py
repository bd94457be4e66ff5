"""What the ASGI servers of `tests/asgi/test_servers.py` serve: rtpush beside an application."""

from __future__ import annotations

from typing import Any

import rtpush


async def other(scope: Any, receive: Any, send: Any) -> None:
    """An application that knows no lifespan, and answers its path."""
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": scope["path"].encode()})


app = rtpush.ASGIApp(rtpush.Server(log="memory:"), other)
