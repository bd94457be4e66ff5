"""Clients of Socket.IO that come here: they are told so, in their own protocol.

Socket.IO's client tells its program no HTTP status and no body. A refusal of the namespace it
does tell, as the message of `connect_error`.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from ..protocol import encode_data

__all__ = ["is_socketio", "refuse_socketio"]

MESSAGE: Final = (
    "This is rtpush, which speaks another protocol than Socket.IO. In a page load rtpush's client "
    'in place of socket.io.js: <script src="/dist/rtpush.min.js"></script>, or import { io } from '
    '"/rtpush.js"; in Python import rtpush.contrib.socketio as socketio.'
)
# Engine.IO, version 4: `0` opens a session and `4` is a message, which in Socket.IO says
# with `4` that the namespace is refused.
_OPEN: Final = {"sid": "none", "upgrades": [], "pingInterval": 25_000, "pingTimeout": 20_000}
_CLOSE: Final = b"1"
_SEPARATOR: Final = b"\x1e"


def is_socketio(request: web.Request) -> bool:
    """Is this how a client of Socket.IO begins, at its usual path or where this is mounted?"""
    return "EIO" in request.query and request.match_info["path"] in ("", "socket.io/")


def refuse_socketio(request: web.Request) -> web.Response:
    """The first answer to a client of Socket.IO; any other ends its session."""
    if "sid" in request.query:
        return web.Response(body=_CLOSE, content_type="text/plain", charset="utf-8")
    refusal = b"0%b%b44%b" % (
        encode_data(_OPEN | {"maxPayload": 1_000_000}),
        _SEPARATOR,
        encode_data({"message": MESSAGE}),
    )
    return web.Response(body=refusal, content_type="text/plain", charset="utf-8")
