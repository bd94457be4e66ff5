"""The scope of a request: what an ASGI application is told of it before anything else."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote

from aiohttp import web

from ..access.callers import Caller
from ..asgi_types import Scope

__all__ = ["ASGI", "is_websocket", "make_scope"]

ASGI = {"version": "3.0", "spec_version": "2.4"}


def is_websocket(request: web.Request) -> bool:
    """Is it the handshake of a WebSocket?"""
    return request.headers.get("Upgrade", "").lower() == "websocket"


def make_scope(request: web.Request, caller: Caller, state: dict[str, Any]) -> Scope:
    """The scope of a request or a WebSocket, with the address and scheme of its client.

    Args:
        request: The request.
        caller: Its client, also behind proxies that are trusted.
        state: What the application's lifespan has left for its requests.
    """
    # As it was sent; a proxy may send a whole address.
    target = request.raw_path if request.raw_path.startswith("/") else request.rel_url.raw_path_qs
    raw, _, query = target.partition("?")
    scope: Scope = {
        "type": "http",
        "asgi": ASGI,
        "http_version": "{}.{}".format(*request.version),
        "method": request.method,
        "scheme": caller.scheme,
        "path": unquote(raw),
        "raw_path": raw.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": (caller.address, _port(request)) if caller.address else None,
        "server": _server(request),
        "state": state.copy(),
        "extensions": {},
    }
    if is_websocket(request):
        scope["type"] = "websocket"
        scope["scheme"] = {"https": "wss"}.get(caller.scheme, "ws")
        offered = ",".join(request.headers.getall("Sec-WebSocket-Protocol", ()))
        scope["subprotocols"] = [one.strip() for one in offered.split(",") if one.strip()]
        scope["extensions"] = {"websocket.http.response": {}}
        del scope["method"]
    return scope


def _port(request: web.Request) -> int:
    """The client's port; 0 where there is none."""
    peer = request.transport and request.transport.get_extra_info("peername")
    return peer[1] if isinstance(peer, tuple) else 0


def _server(request: web.Request) -> tuple[str, int | None] | None:
    name = request.transport and request.transport.get_extra_info("sockname")
    if isinstance(name, tuple):
        return name[0], name[1]
    return (name, None) if name else None
