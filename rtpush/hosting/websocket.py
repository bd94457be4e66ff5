"""A WebSocket of the application."""

from __future__ import annotations

import asyncio

from aiohttp import WSMsgType, web

from ..asgi_types import Event
from ..config.settings import Settings
from .exchange import Exchange

__all__ = ["AppWebSocket"]

_ABNORMAL = 1006


class AppWebSocket:
    """A handshake, its answer, and the messages of both sides.

    Args:
        request: The handshake.
        settings: `heartbeat` is between two pings, which find out whether the client lives; a
            message of the client has at most `max_body` bytes.
    """

    def __init__(self, request: web.Request, settings: Settings) -> None:
        self._request = request
        self._settings = settings
        # A refusal of the handshake as an HTTP response.
        self._refusal = Exchange(request, settings)
        self._told = False
        self._accepted = asyncio.Event()
        self._socket: web.WebSocketResponse | None = None
        self.over = self._refusal.over

    @property
    def lost(self) -> bool:
        """Is the client gone, or the WebSocket closed?"""
        return self._refusal.lost or (self._socket is not None and self._socket.closed)

    @property
    def response(self) -> web.StreamResponse | None:
        """What was answered."""
        return self._socket or self._refusal.response

    async def receive(self) -> Event:
        """See ASGI."""
        if not self._told:
            self._told = True
            return {"type": "websocket.connect"}
        await self._accepted.wait()
        if self._socket is None:
            return {"type": "websocket.disconnect", "code": _ABNORMAL}
        message = await self._socket.receive()
        if message.type is WSMsgType.TEXT:
            return {"type": "websocket.receive", "text": message.data}
        if message.type is WSMsgType.BINARY:
            return {"type": "websocket.receive", "bytes": message.data}
        code = self._socket.close_code or _ABNORMAL
        return {"type": "websocket.disconnect", "code": code, "reason": message.extra or ""}

    async def send(self, event: Event) -> None:
        """See ASGI."""
        kind, socket = event["type"], self._socket
        if self.over.is_set():
            raise ConnectionResetError("the WebSocket is closed")
        if kind == "websocket.accept" and socket is None:
            await self._accept(event)
        elif kind == "websocket.send" and socket is not None:
            if event.get("text") is not None:
                await socket.send_str(event["text"])
            else:
                await socket.send_bytes(event["bytes"])
        elif kind == "websocket.close":
            await self._close(event.get("code", 1000), event.get("reason") or "")
        else:
            await self._refusal.send(event)

    async def _accept(self, event: Event) -> None:
        chosen = event.get("subprotocol")
        socket = web.WebSocketResponse(
            protocols=() if chosen is None else (chosen,),
            heartbeat=self._settings.heartbeat,
            max_msg_size=self._settings.max_body,
        )
        for name, value in event.get("headers", ()):
            socket.headers.add(name.decode("latin-1"), value.decode("latin-1"))
        await socket.prepare(self._request)
        self._socket = socket
        self._accepted.set()

    async def _close(self, code: int, reason: str) -> None:
        if self._socket is None:
            refusal = {"type": "websocket.http.response.start", "status": 403}
            await self._refusal.send(refusal)
            await self._refusal.send({"type": "websocket.http.response.body"})
        else:
            await self._socket.close(code=code, message=reason.encode())
        self.over.set()

    def lose(self) -> None:
        """The client has gone."""
        self._refusal.lose()
        self._accepted.set()

    async def fail(self) -> web.StreamResponse:
        """The end of a WebSocket whose application has ended without one."""
        if self._socket is None:
            return await self._refusal.fail()
        await self._socket.close(code=1011)
        return self._socket
