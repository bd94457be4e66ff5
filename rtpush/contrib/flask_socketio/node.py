"""Servers of a Flask application: one that serves it, and others that run in a thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Collection
from concurrent.futures import Future
from contextlib import asynccontextmanager
from typing import Any, Final

from aiohttp import web

from ...hosting.hosted import HostedApplication, HostingError
from ...server import Server, StartError
from ...version import __version__

__all__ = ["FlaskServer", "Node"]

# Where clients look that are told no path, unless the application has such a route itself.
ROOT_PATHS: Final = ("/ws", "/sse", "/poll", "/session")
# Seconds for a node to end.
PATIENCE: Final = 10.0


class FlaskServer(Server):
    """A server whose other paths are a WSGI application's.

    Everything of rtpush is below `path`, and its transports also at the root, but for the
    paths in `taken`. `prepare` is called when the settings are found to be safe.
    """

    def __init__(
        self,
        application: Callable[..., Any],
        path: str,
        taken: Collection[str],
        prepare: Callable[[], None],
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._application = application
        self._path = "/" + path.strip("/")
        self._taken = taken
        self._prepare = prepare

    def _build_all(self) -> web.Application:
        ours = self._build()
        try:
            self._hosted = HostedApplication(self._application, self.settings)
        except HostingError as exc:
            raise StartError(str(exc)) from exc
        # Before `beside` puts the prefix ahead of them.
        at_root = [
            web.route(route.method, resource.canonical, _guarded(ours, route.handler))
            for resource in ours.router.resources()
            if resource.canonical in ROOT_PATHS and resource.canonical not in self._taken
            for route in resource
        ]
        both = self._hosted.beside(ours, self._path)
        both.router.add_routes(at_root)
        return both

    def _show_banner(self, port: int) -> None:
        lines = [
            f"rtpush {__version__}",
            f"  Open    {self.url}",
            f"  rtpush  {self.url[:-1]}{self._path}/",
            "  Stop    Ctrl+C",
        ]
        print("\n".join(lines), flush=True)

    async def _begin(self) -> None:
        self._prepare()
        await super()._begin()


def _guarded(app: web.Application, handler: Any) -> Any:
    """A handler behind the middlewares of an application that it is not reached by."""
    for middleware in reversed(app.middlewares):
        handler = _behind(middleware, handler)
    return handler


def _behind(middleware: Any, handler: Any) -> Any:
    async def handle(request: web.Request) -> web.StreamResponse:
        response: web.StreamResponse = await middleware(request, handler)
        return response

    return handle


class Node:
    """Runs a server in a thread of its own, until `stop` or the end of the process.

    Without `listens` it has no port: it takes part in a log that processes share.
    """

    def __init__(self, server: Server, *, listens: bool) -> None:
        self.server = server
        # The process that it runs in: a fork has none.
        self.pid = os.getpid()
        self._listens = listens
        self._ready: Future[None] = Future()
        self._over: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="rtpush-flask", daemon=True)

    def start(self) -> None:
        """Return when it runs. Raises StartError."""
        self._thread.start()
        self._ready.result()

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with self.server if self._listens else _attached(self.server):
                self._ready.set_result(None)
                await self._over.wait()
        except BaseException as exc:
            if self._ready.done():
                raise
            self._ready.set_exception(exc)

    def stop(self) -> None:
        """End it, and wait for that."""
        if self._loop is not None and self._over is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(PATIENCE)


@asynccontextmanager
async def _attached(server: Server) -> AsyncIterator[None]:
    app = web.Application()
    server.attach(app)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        yield
    finally:
        await runner.cleanup()
