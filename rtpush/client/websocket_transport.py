"""The WebSocket transport: `GET /ws`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import aiohttp

from .http_requests import open_address
from .sse_parser import MAX_MESSAGE
from .transports import Received, Transport, TransportClosed, parse_objects, unreachable

__all__ = ["WebSocketTransport"]

# Seconds to wait for the answer to a close frame.
_CLOSE_TIMEOUT: Final = 1.0


class WebSocketTransport(Transport):
    """See the module."""

    needs_ping = True
    # None until it is open.
    _ws: aiohttp.ClientWebSocketResponse | None = None

    async def receive(self) -> Received:
        """See Transport."""
        ws = self._ws or await self._open()
        message = await ws.receive()
        if message.type is aiohttp.WSMsgType.TEXT:
            return Received(parse_objects([message.data]))
        if message.type is aiohttp.WSMsgType.BINARY:
            return Received([])
        raise TransportClosed(ws.close_code or 1006, _reason_of(message))

    async def _open(self) -> aiohttp.ClientWebSocketResponse:
        context = self._context
        url = await open_address(context, "ws")
        try:
            self._ws = await context.http.ws_connect(
                url,
                headers=context.headers,
                max_msg_size=MAX_MESSAGE,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_TIMEOUT),
            )
        except aiohttp.WSServerHandshakeError as exc:
            # A proxy: the server accepts a WebSocket, and then says why it refuses it.
            raise TransportClosed(1006, f"HTTP {exc.status} for {url.path}") from exc
        except (aiohttp.ClientError, OSError) as exc:
            raise unreachable(exc) from exc
        return self._ws

    async def send(self, envelopes: Sequence[bytes]) -> list[dict[str, Any]]:
        """See Transport."""
        assert self._ws is not None
        try:
            for envelope in envelopes:
                await self._ws.send_frame(envelope, aiohttp.WSMsgType.TEXT)
        except (aiohttp.ClientError, OSError) as exc:
            raise unreachable(exc) from exc
        return []

    async def close(self) -> None:
        """See Transport."""
        if self._ws is not None:
            await self._ws.close()


def _reason_of(message: aiohttp.WSMessage) -> str:
    reason = message.extra if message.type is aiohttp.WSMsgType.CLOSE else None
    return reason or "the connection was lost"
