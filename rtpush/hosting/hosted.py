"""The application that the server has on its port: ASGI, or WSGI in threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any, Final

from aiohttp import web

from ..access.callers import Callers
from ..asgi_types import Application, Scope
from ..config.settings import Settings
from ..errors import RtpushError
from ..web.api import error_response
from .exchange import Exchange
from .lifespan import AppLifespan, LifespanError
from .scope import is_websocket, make_scope
from .websocket import AppWebSocket
from .wsgi import WsgiApplication

__all__ = ["PREFIX", "HostedApplication", "HostingError"]

logger = logging.getLogger("rtpush.hosting")

# Where everything of the server itself is then.
PREFIX: Final = "/rtpush"


class HostingError(Exception):
    """The application cannot be served. The message is one sentence."""


class HostedApplication:
    """Every path that is not below `/rtpush`."""

    def __init__(self, app: Callable[..., Any], settings: Settings) -> None:
        self._wsgi = None if _is_asgi(app) else _wsgi(app)
        self._app: Application = self._wsgi or app
        self._lifespan = AppLifespan(self._app)
        self._callers = Callers(settings)
        self._settings = settings
        # Calls of the application, some of which outlast their answers.
        self._running: set[asyncio.Task[None]] = set()

    def beside(self, server: web.Application, prefix: str = PREFIX) -> web.Application:
        """Both on one port, the server below `prefix`."""
        both = web.Application()
        both.router.add_get(prefix, _to_page)
        both.add_subapp(prefix, server)
        both.router.add_route("*", "/{path:.*}", self._handle)
        return both

    async def start(self) -> None:
        """Start the application. Raises HostingError."""
        try:
            await self._lifespan.startup()
        except LifespanError as exc:
            raise HostingError(f"the application does not start: {exc}") from None

    async def close(self, seconds: float) -> None:
        """End what it still does, then the application."""
        if self._running:
            await asyncio.wait(self._running, timeout=seconds / 2)
        for task in self._running:
            task.cancel()
        try:
            async with asyncio.timeout(seconds / 2):
                await self._lifespan.shutdown()
        except TimeoutError:
            logger.error("the application has not ended in time; it is left as it is")
        if self._wsgi is not None:
            self._wsgi.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        try:
            version = request.version.major, request.version.minor
            peer, target = request.remote or "", request.raw_path
            caller = self._callers.of(peer, request.scheme, target, version, request.headers)
        except RtpushError as error:
            return error_response(error)
        kind = AppWebSocket if is_websocket(request) else Exchange
        exchange: Exchange | AppWebSocket = kind(request, self._settings)
        scope = make_scope(request, caller, self._lifespan.state)
        task = asyncio.get_running_loop().create_task(self._call(scope, exchange))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await _answer(exchange, task)

    async def _call(self, scope: Scope, exchange: Exchange | AppWebSocket) -> None:
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except Exception:
            # What `send` raises for a client that has gone, each framework wraps in its own way.
            level = logging.DEBUG if exchange.lost else logging.ERROR
            logger.log(level, "the application failed", exc_info=True)


async def _answer(
    exchange: Exchange | AppWebSocket, task: asyncio.Task[None]
) -> web.StreamResponse:
    """The answer is over when it is whole; the application may have more to do."""
    over = asyncio.ensure_future(exchange.over.wait())
    try:
        # aiohttp cancels this when the client goes, and what is half done may be a payment.
        await asyncio.wait({over, task}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        exchange.lose()
        raise
    finally:
        over.cancel()
    if exchange.over.is_set() and exchange.response is not None:
        return exchange.response
    return await exchange.fail()


def _is_asgi(app: Callable[..., Any]) -> bool:
    """ASGI calls with three arguments and awaits the call, WSGI calls with two."""
    if inspect.iscoroutinefunction(app) or inspect.iscoroutinefunction(type(app).__call__):
        return True
    return len(inspect.signature(app).parameters) == 3


def _wsgi(app: Callable[..., Any]) -> WsgiApplication:
    try:
        return WsgiApplication(app)
    except ImportError:
        raise HostingError(
            "the application is one of WSGI, which needs a2wsgi: pip install 'rtpush[wsgi]'"
        ) from None


async def _to_page(request: web.Request) -> web.StreamResponse:
    # The page's addresses are relative to its own.
    return web.Response(status=308, headers={"Location": f"{request.path}/"})
