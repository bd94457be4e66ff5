"""python-socketio's names: `import rtpush.contrib.socketio as socketio`.

Rules that hold here:

- The classes are rtpush's own. They differ in the path where a server is mounted:
  here it is the one that Socket.IO's clients use by default.
- There is the namespace `/` alone; for others, use rooms.
- A name that rtpush has nothing for can be imported, and says what to use when it is
  called. The synchronous names are never coroutines' classes in disguise.
"""

from __future__ import annotations

from aiohttp import web

from ...client.async_client import Client as _Client
from ...client.simple_client import SimpleClient as _SimpleClient
from ...server import Server as _Server
from . import exceptions
from .asgi_app import ASGIApp
from .async_simple_client import AsyncSimpleClient as _AsyncSimpleClient
from .missing import MISSING as _MISSING
from .missing import placeholder as _placeholder
from .namespaces import AsyncClientNamespace, AsyncNamespace
from .namespaces import takes_namespace as _takes_namespace

__all__ = [
    "ASGIApp",
    "AsyncClient",
    "AsyncClientNamespace",
    "AsyncNamespace",
    "AsyncServer",
    "AsyncSimpleClient",
    "SimpleClient",
    "exceptions",
]

_PATH = "socket.io"


@_takes_namespace(
    *("on", "event", "emit", "send", "call", "disconnect", "transport"),
    *("enter_room", "leave_room", "close_room", "rooms"),
    *("get_session", "save_session", "session"),
)
class AsyncServer(_Server):
    """`rtpush.Server`."""

    def attach(self, app: web.Application, socketio_path: str = _PATH) -> None:
        """See `rtpush.Server.attach`."""
        super().attach(app, "/" + socketio_path.strip("/"))

    def register_namespace(self, namespace_handler: AsyncNamespace) -> None:
        """Register the handlers of a class."""
        namespace_handler.register_with(self)


@_takes_namespace("on", "event", "emit", "send", "call")
@_takes_namespace("connect", argument="namespaces")
class AsyncClient(_Client):
    """`rtpush.Client`. A server that runs by itself: `connect(…, socketio_path="")`."""

    _default_path = _PATH

    def register_namespace(self, namespace_handler: AsyncClientNamespace) -> None:
        """Register the handlers of a class."""
        namespace_handler.register_with(self)


@_takes_namespace("connect")
class SimpleClient(_SimpleClient):
    """`rtpush.SimpleClient`, with the same path."""

    _client_class = AsyncClient


class AsyncSimpleClient(_AsyncSimpleClient):
    """Like `SimpleClient`, for programs with coroutines."""

    _client_class = AsyncClient


globals().update({name: _placeholder(name) for name in _MISSING})
