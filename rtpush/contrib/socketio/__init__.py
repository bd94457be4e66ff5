"""python-socketio's names: `import rtpush.contrib.socketio as socketio`.

Rules that hold here:

- The classes are rtpush's own. They differ in the path where a server is mounted:
  here it is the one that Socket.IO's clients use by default.
- There are no namespaces; use rooms.
"""

from __future__ import annotations

from aiohttp import web

from ...client.async_client import Client
from ...client.simple_client import SimpleClient as _SimpleClient
from ...server import Server
from . import exceptions

__all__ = ["AsyncClient", "AsyncServer", "SimpleClient", "exceptions"]

_PATH = "socket.io"


class AsyncServer(Server):
    """`rtpush.Server`."""

    def attach(self, app: web.Application, socketio_path: str = _PATH) -> None:
        """See `rtpush.Server.attach`."""
        super().attach(app, "/" + socketio_path.strip("/"))


class AsyncClient(Client):
    """`rtpush.Client`. A server that runs by itself: `connect(…, socketio_path="")`."""

    _default_path = _PATH


class SimpleClient(_SimpleClient):
    """`rtpush.SimpleClient`, with the same path."""

    _client_class = AsyncClient
