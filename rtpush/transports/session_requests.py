"""`POST /session`: take a connect request ahead of its connection."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from ..access.rate_limits import owners_of
from ..errors import RtpushError
from ..web.request_keys import CALLER
from .context import TransportContext
from .prepared import MAX_PREPARED, parse_prepared

__all__ = ["SessionRequests"]


class SessionRequests:
    """Prepares sessions, for clients of this node and of others."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        context.nodes.bus.on("prepared", self._answer_prepared)

    async def post(self, request: web.Request) -> web.Response:
        """Prepare one. Raises RtpushError."""
        context = self._context
        context.charge_request(request)
        grant, _ = await context.access.grant(request)
        owners = owners_of(request[CALLER].address, grant.key_scope)
        if (request.content_length or 0) > MAX_PREPARED:
            raise _too_large()
        bodies = context.body_reader
        async with bodies.read(request, bodies.clients, owners) as body:
            if len(body) > MAX_PREPARED:
                raise _too_large()
            asked = parse_prepared(body)
            context.hub.check_connect_request(asked.rooms, asked.last)
            sid = context.prepared.add(body, owners)
        return web.json_response({"sid": sid}, headers={"Cache-Control": "no-store"})

    async def _answer_prepared(self, fields: dict[str, Any]) -> str | None:
        body = self._context.prepared.take(fields["sid"])
        return None if body is None else body.decode()


def _too_large() -> RtpushError:
    return RtpushError("too_large", f"A session is prepared by at most {MAX_PREPARED} bytes.")
