"""Flask's contexts for handlers: `request`, with `request.sid`, and `session`."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import flask
from flask.sessions import SessionMixin

__all__ = ["HandlerContext"]

# Where a client's environ keeps its session.
_SAVED = "rtpush.session"


class _SavedSession(dict[str, Any], SessionMixin):
    """A session that lives as long as the connection."""


class HandlerContext:
    """What is known of the connected clients, and the contexts that handlers run in.

    With `manage_session` a client's session is a copy that begins as the one of its cookie.
    Otherwise it is Flask's own, loaded and saved each time.
    """

    def __init__(self, app: flask.Flask, *, manage_session: bool) -> None:
        self.manage_session = manage_session
        self._app = app
        # The WSGI environ that each client connected with.
        self._environs: dict[str, dict[str, Any]] = {}
        # Done when the client is gone, and its handler has been told.
        self._watched: dict[str, Future[None]] = {}

    def add(self, sid: str, environ: dict[str, Any]) -> None:
        """A client connects."""
        # The request is over soon, and would stay in memory with its connection.
        kept = {name: value for name, value in environ.items() if name != "aiohttp.request"}
        self._environs[sid] = _whole(kept) | {"flask.app": self._app}

    def forget(self, sid: str) -> None:
        """A client is gone."""
        self._environs.pop(sid, None)
        # Whoever takes it out ends it: two threads may come at once.
        if (watched := self._watched.pop(sid, None)) is not None:
            watched.set_result(None)

    def watch(self, sid: str) -> Future[None]:
        """Done when the client is gone, and the application has been told."""
        watched = self._watched.setdefault(sid, Future())
        if sid not in self._environs:
            self.forget(sid)
        return watched

    def run(self, sid: str, event: str, handler: Callable[..., Any], *args: Any) -> Any:
        """Call a handler for a client. Raises what it raises."""
        environ = self._environs.get(sid)
        if environ is None:
            # It has gone while its event waited.
            return None
        with self._context(environ, sid, event, args):
            return handler(*args)

    @contextmanager
    def _context(
        self, environ: dict[str, Any], sid: str, event: str, args: tuple[Any, ...]
    ) -> Iterator[None]:
        with self._app.request_context(environ) as context:
            session: Any = flask.session._get_current_object()  # type: ignore[attr-defined]
            if self.manage_session:
                session = environ.setdefault(_SAVED, _SavedSession(session))
                # Flask 3.1.3 has made the attribute a property.
                name = "_session" if hasattr(context, "_session") else "session"
                setattr(context, name, session)
            request: Any = flask.request
            request.sid, request.namespace = sid, "/"
            request.event = {"message": event, "args": args}
            yield
            if not self.manage_session and getattr(session, "modified", True):
                response = self._app.response_class()
                self._app.session_interface.save_session(self._app, session, response)


def _whole(environ: dict[str, Any]) -> dict[str, Any]:
    """With what every WSGI application may rely on (PEP 3333)."""
    secure = environ.get("wsgi.url_scheme") == "https"
    host, colon, port = environ.get("HTTP_HOST", "").rpartition(":")
    if not colon or not port.isdigit():
        host, port = environ.get("HTTP_HOST", ""), "443" if secure else "80"
    return {
        "SCRIPT_NAME": "",
        "SERVER_NAME": host or "localhost",
        "SERVER_PORT": port,
        "wsgi.version": (1, 0),
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        **environ,
    }
