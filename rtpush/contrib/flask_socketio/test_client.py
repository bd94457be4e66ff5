"""A client for tests: after each call, what the handlers have done with it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

import flask
from flask.testing import EnvironBuilder

from ...client.async_client import Client
from ...client.receive_queue import Events
from ...errors import ConnectError
from ...protocol import LOGGED_ONLY, RESERVED_EVENTS
from ..socketio.namespaces import check_namespace

if TYPE_CHECKING:
    from .extension import SocketIO

__all__ = ["SocketIOTestClient"]

T = TypeVar("T")

# Seconds for a handler.
PATIENCE: Final = 10.0


class SocketIOTestClient:
    """A connection to the server that `test_client` has started."""

    def __init__(
        self,
        app: flask.Flask,
        socketio: SocketIO,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: dict[str, Any] | None = None,
        flask_test_client: Any = None,
    ) -> None:
        self._app = app
        self._flask_test_client = flask_test_client
        self._server = socketio.serve_in_thread(app)
        assert socketio.context is not None
        self._context = socketio.context
        self._client: Client | None = None
        self._events: Events | None = None
        self.connect(namespace, query_string, headers, auth)

    def _wait(self, call: Coroutine[Any, Any, T]) -> T:
        return self._server._home.hand_over("test_client", lambda: call).result()

    def _connected(self, namespace: str | None = None) -> Client:
        if not self.is_connected(namespace) or self._client is None:
            raise RuntimeError("not connected")
        return self._client

    def is_connected(self, namespace: str | None = None) -> bool:
        """Is it connected?"""
        check_namespace(namespace)
        return self._client is not None and self._client.connected

    def connect(
        self,
        namespace: str | None = None,
        query_string: str | None = None,
        headers: dict[str, str] | None = None,
        auth: dict[str, Any] | None = None,
    ) -> None:
        """Connect; a handler that refuses leaves it unconnected.

        Args:
            namespace: `/`, or none.
            query_string: What `request.args` is made of.
            headers: More headers.
            auth: What the `connect` handler is given.
        """
        check_namespace(namespace)
        query = "" if not query_string else "?" + query_string.lstrip("?")
        self._client, self._events = self._wait(
            self._open(self._server.url + query, self._headers(headers), auth)
        )

    async def _open(
        self, url: str, headers: dict[str, str], auth: Any
    ) -> tuple[Client | None, Events | None]:
        client = Client(reconnection=False)
        events = client.events()
        try:
            # A token of the environment is not meant.
            await client.connect(url, headers, auth or {})
        except ConnectError:
            return None, None
        return client, events

    def _headers(self, given: dict[str, str] | None) -> dict[str, str]:
        """With the cookies that Flask's test client has."""
        headers = dict(given or {})
        if self._flask_test_client is not None:
            environ = EnvironBuilder(self._app).get_environ()
            self._flask_test_client._add_cookies_to_wsgi(environ)
            if "HTTP_COOKIE" in environ:
                headers["Cookie"] = environ["HTTP_COOKIE"]
        return headers

    def disconnect(self, namespace: str | None = None) -> None:
        """Disconnect, and wait for the `disconnect` handler."""
        client = self._connected(namespace)
        self._wait(self._close(client, client.sid or ""))
        self._client = None

    async def _close(self, client: Client, sid: str) -> None:
        gone = self._context.watch(sid)
        await client.disconnect()
        await asyncio.wrap_future(gone)

    def emit(self, event: str, *args: Any, **options: Any) -> Any:
        """Send an event, and wait until it is handled.

        Args:
            event: Its name.
            *args: Its arguments.
            **options: `callback=True` returns the answer.

        Returns:
            What the handler returned, with `callback`; else None.

        Raises:
            RtpushError: The handler has failed, or the event is refused.
        """
        client = self._connected(options.pop("namespace", None))
        data = args[0] if len(args) == 1 else args or None
        try:
            answer = self._wait(client.call(event, data, timeout=PATIENCE))
        except ConnectError:
            # The handler has ended the connection.
            self._context.watch(client.sid or "").result(PATIENCE)
            return None
        return answer if options.get("callback") else None

    def send(
        self,
        data: Any,
        json: bool = False,
        callback: bool = False,
        namespace: str | None = None,
    ) -> Any:
        """`emit` with the event `message`, or with `json` the event `json`.

        Args:
            data: Text, or any JSON.
            json: Whether it is the event `json`.
            callback: As of `emit`.
            namespace: `/`, or none.

        Returns:
            As `emit`.
        """
        event = "json" if json else "message"
        return self.emit(event, data, callback=callback, namespace=namespace)

    def get_received(self, namespace: str | None = None) -> list[dict[str, Any]]:
        """The events that have come since the last call.

        Args:
            namespace: `/`, or none.

        Returns:
            For each `name`, `args` and `namespace`; `args` of `message` and `json` is the data.
        """
        return self._wait(self._received(self._connected(namespace)))

    async def _received(self, client: Client) -> list[dict[str, Any]]:
        # What was sent before this answer has come before it.
        await client.call("ping", timeout=PATIENCE)
        found, events = [], self._events
        assert events is not None
        while len(events):
            event = await events.get()
            if event.event in RESERVED_EVENTS or (event.id is None and event.event in LOGGED_ONLY):
                continue
            whole = event.event in ("message", "json")
            args = event.data if isinstance(event.data, tuple) else (event.data,)
            found.append(
                {
                    "name": event.event,
                    "args": event.data if whole else list(args),
                    "namespace": "/",
                }
            )
        return found
