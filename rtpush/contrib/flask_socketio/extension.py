"""The extension: registers handlers, sends, and runs the server."""

from __future__ import annotations

import logging
import os
from typing import Any, Final

import flask
from werkzeug._reloader import run_with_reloader
from werkzeug.debug import DebuggedApplication

from ...errors import Reason
from .context import HandlerContext
from .namespace import Namespace
from .node import FlaskServer, Node
from .options import split_options, tls_options
from .sending import Sending
from .test_client import SocketIOTestClient

__all__ = ["SocketIO"]

logger = logging.getLogger("rtpush.app")


class SocketIO(Sending):
    """Events for a Flask application, on rtpush."""

    reason: Final = Reason

    def __init__(self, app: flask.Flask | None = None, **options: Any) -> None:
        """Take the application, or wait for `init_app`.

        Args:
            app: The application.
            **options: Those of Flask-SocketIO, and settings of rtpush: `SocketIO(app,
                log="memory:")`.
        """
        super().__init__()
        self.app: flask.Flask | None = None
        # Handlers run in threads.
        self.async_mode = "threading"
        if app is not None or "message_queue" in options:
            self.init_app(app, **options)
        else:
            self._options = split_options(options)

    @property
    def manage_session(self) -> bool:
        """Whether handlers have a session of their own, which lives as long as the connection."""
        return self._options.manage_session if self.context is None else self.context.manage_session

    @manage_session.setter
    def manage_session(self, manages: bool) -> None:
        assert self.context is not None, "call init_app first"
        self.context.manage_session = manages

    def init_app(self, app: flask.Flask | None, **options: Any) -> None:
        """Take the application.

        Args:
            app: None for a process that only sends, through `message_queue`.
            **options: As of `SocketIO`.
        """
        self._options = split_options(self._options.given | options)
        if app is None:
            return
        self.app = app
        app.extensions["socketio"] = self
        self.context = HandlerContext(app, manage_session=self._options.manage_session)
        if os.environ.get("FLASK_RUN_FROM_CLI"):
            logger.warning(
                "`flask run` serves the routes alone: start the program with socketio.run(app)"
            )

    def on_namespace(self, namespace_handler: Namespace) -> None:
        """Register the handlers of a class.

        Args:
            namespace_handler: An instance.
        """
        if not isinstance(namespace_handler, Namespace):
            raise ValueError("Not a namespace instance.")
        namespace_handler.register_with(self)

    def new_server(self, app: flask.Flask, **settings: Any) -> FlaskServer:
        """A server of the application, with its handlers; it does not run yet."""
        if self.app is None:
            self.init_app(app)
        taken = {rule.rule for rule in app.url_map.iter_rules()}
        options = {"relay": (), **self._options.settings, **settings}
        # The traceback alone: a console in the page would run what its reader types.
        served = DebuggedApplication(app, pin_logging=False) if app.debug else app
        server = FlaskServer(
            served, self._options.path, taken, lambda: self._watch_clients(server), **options
        )
        self._register_all(server)
        self.server = server
        return server

    def run(
        self, app: flask.Flask, host: str | None = None, port: int | None = None, **options: Any
    ) -> None:
        """Serve the application and its clients on one port, until a signal. Blocks.

        Args:
            app: The application.
            host: By default 127.0.0.1.
            port: By default that of SERVER_NAME, else 5000.
            **options: `debug`, `use_reloader`, `reloader_options`, `extra_files`, `certfile`,
                `keyfile`, `ssl_context`, and settings of rtpush.

        Raises:
            StartError: The server cannot start.
            ConfigError: An option is unknown, or a value is not allowed.
        """
        app.debug = options.pop("debug", app.debug)
        reloads = options.pop("use_reloader", app.debug)
        reloader = options.pop("reloader_options", {})
        if extra_files := options.pop("extra_files", None):
            reloader["extra_files"] = extra_files
        for meaningless in ("log_output", "allow_unsafe_werkzeug"):
            options.pop(meaningless, None)
        settings = tls_options(options)
        settings |= {"host": host or "127.0.0.1", "port": _port(app) if port is None else port}

        def serve() -> None:
            self.new_server(app, **settings).run()

        if reloads:
            run_with_reloader(serve, **reloader)
        else:
            serve()

    def stop(self) -> None:
        """Stop the server that runs in this process. May be called from a handler or a route."""
        if self._node is not None:
            self._node.stop()
            self._node = None
        elif self.server is not None:
            # Not waited for: the caller may be what the server waits for.
            self.server._home.hand_over("stop", self.server.stop, cancel=False)

    def test_client(
        self,
        app: flask.Flask,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: dict[str, Any] | None = None,
        flask_test_client: Any = None,
    ) -> SocketIOTestClient:
        """A client for tests, of a server that is started in a thread for them; `stop` ends it.

        Args:
            app: The application.
            namespace: `/`, or none.
            query_string: What `request.args` is made of.
            headers: More headers.
            auth: What the `connect` handler is given.
            flask_test_client: Flask's own, whose cookies are sent, too.

        Returns:
            The client, connected unless a handler has refused it.
        """
        return SocketIOTestClient(
            app, self, namespace, query_string, headers, auth, flask_test_client
        )

    def serve_in_thread(self, app: flask.Flask) -> FlaskServer:
        """The server that runs; for tests one is started on a free port, with a log in memory."""
        if isinstance(self.server, FlaskServer) and self.server._home.runs:
            return self.server
        server = self.new_server(app, log="memory:", port=0, host="127.0.0.1")
        self._node = Node(server, listens=True)
        self._node.start()
        return server


def _port(app: flask.Flask) -> int:
    _, _, port = (app.config.get("SERVER_NAME") or "").rpartition(":")
    return int(port) if port.isdigit() else 5000
