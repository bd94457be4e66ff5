"""The server as an ASGI application, alone or beside another one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ..asgi_types import Application, Receive, Scope, Send
from ..errors import RtpushError
from ..server import Server, StartError
from ..transports.door import Door
from .http1 import BadScope, request_head
from .lifespan import Lifespan
from .refusal import redirect, refuse
from .request import AsgiRequest
from .siblings import warn_of_siblings
from .stop_signals import EarlyStop
from .websocket import AsgiWebSocket, FrameCache

__all__ = ["ASGIApp"]


class ASGIApp:
    """A server under uvicorn, hypercorn, granian, daphne or any other ASGI server.

    Beside another application it is the ASGI server's application:
    `app = rtpush.ASGIApp(server, app)`. Or another one mounts it:
    `app.mount("/rtpush", rtpush.ASGIApp(server))`; give that one `lifespan`, too, so that
    the server starts and stops with it. Without, it starts with the first request.
    """

    def __init__(
        self, server: Server, other_app: Application | None = None, prefix: str = "/rtpush"
    ) -> None:
        """Take the server; it starts with the ASGI server.

        Args:
            server: The server. Its settings `host`, `port`, `tls_cert` and the like are the ASGI
                server's affair.
            other_app: The ASGI application that has every other path.
            prefix: The path that everything of this server is below; empty for all paths.
                An application that mounts it at another path takes the path away, so it is
                empty there.

        Raises:
            ValueError: The prefix is no path.
        """
        if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
            raise ValueError(f'prefix={prefix!r}: write it as "/rtpush", or "" for every path')
        self.server = server
        self._other = other_app
        self._prefix = prefix
        self._starting = asyncio.Lock()
        self._door: Door | None = None
        self._early_stop: EarlyStop | None = None
        self._frames = FrameCache()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "lifespan":
            await self._lifespan(scope, receive, send)
            return
        scope = _as_written(scope)
        path = self._path(scope)
        if path is not None:
            await self._serve(scope, receive, send, path)
        elif self._other is not None:
            await self._other(scope, receive, send)
        else:
            await refuse(scope, send, self._outside())

    def _path(self, scope: Scope) -> str | None:
        """The path below the prefix; None for one that is not ours."""
        path: str = scope["path"]
        mount = scope.get("root_path", "").rstrip("/")
        if path == mount or path.startswith(mount + "/"):
            path = path[len(mount) :]
        if not self._prefix or path == self._prefix or path.startswith(self._prefix + "/"):
            return path[len(self._prefix) :]
        # It was mounted at its prefix.
        return path if self._other is None and mount.endswith(self._prefix) else None

    def _outside(self) -> RtpushError:
        return RtpushError(
            "not_found",
            f"This server is below {self._prefix}. Where an application mounts it at another "
            'path, it is rtpush.ASGIApp(server, prefix="").',
        )

    async def _serve(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        if not path and scope["type"] == "http":
            # The page's addresses are relative to its own.
            await redirect(scope, send, scope["path"].rpartition("/")[2] + "/")
            return
        door = self._door or await self._start_once()
        if not door.is_open:
            error = RtpushError("going_away", "The server has stopped; connect again in a moment.")
            await refuse(scope, send, error)
            return
        try:
            head = request_head(scope, path)
        except BadScope:
            error = RtpushError("bad_request", "A line of the request's head is no valid HTTP.")
            await refuse(scope, send, error)
            return
        if scope["type"] == "http":
            transport: AsgiRequest | AsgiWebSocket = AsgiRequest(scope, send)
        else:
            await receive()
            transport = AsgiWebSocket(scope, send, self._frames)
        await transport.serve(door.request_handler(), head, receive)

    # ------------------------------------------------------------- lifespan

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await Lifespan(self._start, self._stop).run(scope, receive, send, self._other)
        except StartError as exc:
            await send({"type": "lifespan.startup.failed", "message": f"rtpush: {exc}"})

    @asynccontextmanager
    async def lifespan(self, _app: object = None) -> AsyncIterator[None]:
        """Start and stop the server with the application that mounts it.

        `FastAPI(lifespan=push.lifespan)`, and the same of Starlette and Litestar.

        Raises:
            StartError: The server cannot start.
        """
        await self._start()
        try:
            yield
        finally:
            await self._stop()

    async def _start_once(self) -> Door:
        """Start with the first request, where nothing else has started it."""
        async with self._starting:
            if self._door is None:
                await self._start()
        assert self._door is not None
        return self._door

    async def _start(self) -> None:
        self._door = await self.server._start_behind_asgi()
        warn_of_siblings(self.server.settings.log)
        self._early_stop = EarlyStop(lambda: asyncio.ensure_future(self.server.stop()))

    async def _stop(self) -> None:
        await self.server.stop()
        if self._early_stop is not None:
            self._early_stop.forget()


def _as_written(scope: Scope) -> Scope:
    """Without the slash that Litestar puts behind a path that it mounts."""
    path, raw = scope["path"], scope.get("raw_path") or b"/"
    if len(path) == 1 or not path.endswith("/") or raw.endswith(b"/"):
        return scope
    return {**scope, "path": path[:-1]}
