"""Hijack a connection: take its TCP transport from aiohttp.

A WebSocket and an event stream are callbacks from then on: no task and no HTTP
machinery stay behind for an idle connection.
"""

from __future__ import annotations

import asyncio

from aiohttp import web

__all__ = ["HijackedResponse", "hijack_transport"]


def hijack_transport(request: web.Request) -> tuple[asyncio.Transport, bytes]:
    """Take a connection away from aiohttp: its transport, and bytes already read.

    aiohttp is told that the connection is lost, so it lets go of everything
    it keeps for it. The bytes are those that came with or right behind the
    request; they belong to the protocol that carries on.
    """
    handler = request.protocol
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionResetError
    early = bytes(handler._message_tail)
    handler.transport = None
    handler.connection_lost(None)
    # aiohttp may have paused reading while bytes piled up behind the request.
    transport.resume_reading()
    return transport, early


class HijackedResponse(web.Response):
    """What a handler returns that took the transport: aiohttp has nothing left to write to."""

    async def prepare(self, _request: web.BaseRequest) -> None:
        """Nothing."""

    async def write_eof(self, _data: bytes = b"") -> None:
        """Nothing."""
