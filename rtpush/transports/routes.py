"""The HTTP application of a server: transports, API and files under their paths."""

from __future__ import annotations

from aiohttp import web

from ..web.api import Api, answer_errors
from ..web.static import StaticFiles
from .context import TransportContext
from .longpoll import LongPollTransport
from .session_requests import SessionRequests
from .sse import SseTransport
from .websocket import WebSocketTransport

__all__ = ["make_application"]


def make_application(context: TransportContext) -> web.Application:
    """Everything that a server answers."""
    access, metrics, settings = context.access, context.metrics, context.settings
    api = Api(
        context.hub.log,
        context.hub,
        context.nodes,
        context.dispatcher,
        context.claims,
        context.body_reader,
        access.check_api,
        metrics,
        settings,
    )
    poll = LongPollTransport(context)
    app = web.Application(middlewares=[access.middleware(), answer_errors(metrics)])
    app.router.add_get("/ws", WebSocketTransport(context).handle, allow_head=False)
    app.router.add_get("/sse", SseTransport(context).handle, allow_head=False)
    app.router.add_get("/poll", poll.read, allow_head=False)
    app.router.add_post("/poll", poll.post)
    app.router.add_post("/session", SessionRequests(context).post)
    app.router.add_routes(api.routes())
    files = StaticFiles(settings.client, settings.content_security_policy)
    app.router.add_routes(files.routes())
    return app
