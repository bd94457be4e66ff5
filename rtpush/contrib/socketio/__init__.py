"""python-socketio's names: `import rtpush.contrib.socketio as socketio`.

Rules that hold here:

- The classes are rtpush's own. What differs is where a server is mounted: where
  Socket.IO's clients look for it by default.
- There are no namespaces; use rooms.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from aiohttp import web

from ...client import Auth, Client
from ...server import Server
from ...simple import SimpleClient as _SimpleClient
from . import exceptions

__all__ = ["AsyncClient", "AsyncServer", "SimpleClient", "exceptions"]

_PATH = "socket.io"


class AsyncServer(Server):
    """`rtpush.Server`."""

    def attach(self, app: web.Application, socketio_path: str = _PATH) -> None:
        """See `rtpush.Server.attach`."""
        super().attach(app, "/" + socketio_path.strip("/"))


class AsyncClient(Client):
    """`rtpush.Client`."""

    async def connect(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        transports: Iterable[str] | str | None = None,
        *,
        socketio_path: str = _PATH,
        **options: Any,
    ) -> None:
        """See `rtpush.Client.connect`. A server that runs by itself: `socketio_path=""`."""
        await super().connect(
            url, headers, auth, transports, socketio_path=socketio_path, **options
        )


class SimpleClient(_SimpleClient):
    """`rtpush.SimpleClient`."""

    def connect(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        transports: Iterable[str] | str | None = None,
        *,
        socketio_path: str = _PATH,
        **options: Any,
    ) -> None:
        """See `rtpush.Client.connect`. A server that runs by itself: `socketio_path=""`."""
        super().connect(url, headers, auth, transports, socketio_path=socketio_path, **options)
