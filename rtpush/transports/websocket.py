"""WebSocket handshakes: websockets decides them, and connections carry on without aiohttp."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from aiohttp import web
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHeaderValue, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    PerMessageDeflate,
    ServerPerMessageDeflateFactory,
)
from websockets.http11 import Request, Response
from websockets.server import ServerProtocol
from websockets.typing import ExtensionParameter, Subprotocol

from ..errors import RtpushError
from ..framing import DEFLATE_WINDOW
from ..web.api import error_response
from .context import TransportContext
from .hijack import HijackedResponse, hijack_transport
from .stream import hijack_for
from .websocket_connection import WebSocketConnection

__all__ = ["WebSocketTransport"]

logger = logging.getLogger("rtpush.websocket")
# The protocol's own log line for each closed connection says nothing new.
_quiet = logging.getLogger("rtpush.websocket.protocol")
_quiet.setLevel(logging.WARNING)

# The headers that decide a handshake; a browser sends as many others again.
_HANDSHAKE: Final = (
    "Connection",
    "Upgrade",
    "Origin",
    "Sec-WebSocket-Key",
    "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol",
    "Sec-WebSocket-Extensions",
)

_OURS: Final = Subprotocol("rtpush")


class _DeflateFactory(ServerPerMessageDeflateFactory):
    """permessage-deflate such that one compressed frame fits everybody."""

    def __init__(self) -> None:
        super().__init__(server_no_context_takeover=True, client_no_context_takeover=True)

    def process_request_params(
        self, params: Sequence[ExtensionParameter], accepted_extensions: Sequence[Extension]
    ) -> tuple[list[ExtensionParameter], PerMessageDeflate]:
        answer, extension = super().process_request_params(params, accepted_extensions)
        if extension.local_max_window_bits < DEFLATE_WINDOW:
            raise NegotiationError("the shared frames need a larger window")
        return answer, extension


class WebSocketTransport:
    """`GET /ws`."""

    def __init__(self, context: TransportContext) -> None:
        self._context = context
        extensions = [_DeflateFactory()] if context.settings.compress else []
        # One for all: `accept` decides from the request alone.
        self._handshake = ServerProtocol(
            extensions=extensions,
            # A client may offer a token as another subprotocol; that one is not for saying back.
            select_subprotocol=lambda _, offered: _OURS if _OURS in offered else None,
            logger=_quiet,
        )

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer the handshake, then carry on without aiohttp."""
        # By its HTTP status, for WebSockets too: it is the answer that costs least.
        self._context.charge_request(request)
        connect_request = await self._context.read_connect_request(request)
        response = self._handshake.accept(_as_websockets(request))
        if response.status_code != 101:
            return _refusal(response)
        extensions = self._handshake.extensions
        head = response.serialize()
        try:
            session = await self._context.admit(request, connect_request)
        except RtpushError as error:
            transport, _ = hijack_transport(request)
            WebSocketConnection(transport, extensions, self._context).refuse(error, head)
            return HijackedResponse()
        transport, early = hijack_for(session, request, self._context)
        connection = WebSocketConnection(transport, extensions, self._context)
        connection.start(session, connect_request.last, head)
        if early:
            connection.data_received(early)
        return HijackedResponse()


def _as_websockets(request: web.Request) -> Request:
    headers = Headers()
    for name in _HANDSHAKE:
        for value in request.headers.getall(name, ()):
            try:
                headers[name] = value
            except InvalidHeaderValue:
                raise RtpushError("bad_request", f"{name} holds bytes that are no text.") from None
    version = "HTTP/{}.{}".format(*request.version)
    return Request(request.path_qs, headers, request.method, version)


def _refusal(response: Response) -> web.Response:
    code = {426: "upgrade_required", 405: "method_not_allowed"}.get(
        response.status_code, "bad_request"
    )
    body = bytes(response.body or b"").decode().strip().replace("\n", " ")
    error = RtpushError(code, body)
    refusal = error_response(error)
    refusal.set_status(response.status_code)
    for name in ("Upgrade", "Sec-WebSocket-Version", "Allow"):
        if name in response.headers:
            refusal.headers[name] = response.headers[name]
    return refusal
