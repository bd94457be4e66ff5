"""Sending: plain calls that wait for the server's event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import flask

from ...handlers.registry import positional
from ...server import Server
from ..socketio.namespaces import check_namespace
from .handlers import Handler, Handlers
from .node import Node
from .options import Options

__all__ = ["Sending"]

logger = logging.getLogger("rtpush.app")

T = TypeVar("T")


class Sending(Handlers):
    """The part of `SocketIO` that sends, from any thread."""

    def __init__(self) -> None:
        super().__init__()
        self._options = Options()
        # A server that is not run by `run`: for tests, or one that only sends.
        self._node: Node | None = None

    def _wait(self, name: str, call: Callable[[Server], Coroutine[Any, Any, T]]) -> T:
        """Run on the server's loop, and wait. Raises RuntimeError when there is no server."""
        server = self._sender(name)
        if server._home.is_here(name):
            raise RuntimeError(
                f"socketio.{name}() waits, and would stop the event loop: call it from a handler, "
                "a route or a thread"
            )
        return server._home.hand_over(name, lambda: call(server)).result()

    def _sender(self, name: str) -> Server:
        """The server that runs here, or one that only sends through the message queue."""
        if self.server is not None and self.server._home.runs and not self.server._home.forked:
            return self.server
        if not self._options.queue:
            raise RuntimeError(
                f"socketio.{name}(): no server runs in this process. Start it by "
                "socketio.run(app), or give all processes the same message_queue"
            )
        if self._node is None or self._node.pid != os.getpid():
            self._node = Node(Server(**self._options.settings), listens=False)
            self._node.start()
        return self._node.server

    def emit(self, event: str, *args: Any, **options: Any) -> None:
        """Send an event to everybody, to a room, or to one client.

        Args:
            event: Its name.
            *args: Its arguments.
            **options: `to` or `room` (a room or a sid), `skip_sid`, `include_self`,
                `callback`, and `namespace` (`/`).

        Raises:
            RtpushError: The event is refused, or the log cannot be written.
            RuntimeError: There is no server to send through.
        """
        check_namespace(options.pop("namespace", None))
        if event == "active_tasks":
            # It tells each client itself, by the task events that were emitted.
            logger.info("active_tasks is not emitted: the server says it to each client that comes")
            return
        to = options.pop("to", None) or options.pop("room", None)
        skip = options.pop("skip_sid", None)
        if not options.pop("include_self", True) and not skip:
            request: Any = flask.request
            skip = request.sid
        callback = options.pop("callback", None)
        # All nodes read one log: there is no queue to leave out.
        options.pop("ignore_queue", None)
        if options:
            raise TypeError(f"emit() has no option {next(iter(options))!r}")
        answered = None if callback is None else self._answered(callback)
        data = args[0] if len(args) == 1 else args or None
        self._wait("emit", lambda server: server.emit(event, data, to, None, skip, answered))

    def _answered(self, callback: Handler) -> Handler:
        """Calls a callback in a thread, and in the context of the handler that has emitted."""
        sid = getattr(flask.request, "sid", None) if flask.has_request_context() else None

        async def answered(*args: Any) -> None:
            call = functools.partial(callback, *args[: positional(callback)])
            if sid is not None:
                call = functools.partial(self._handle, callback, "", sid, *args)
            await asyncio.get_running_loop().run_in_executor(None, call)

        return answered

    def send(
        self,
        data: Any,
        json: bool = False,
        namespace: str | None = None,
        to: Any = None,
        callback: Handler | None = None,
        include_self: bool = True,
        skip_sid: Any = None,
        **options: Any,
    ) -> None:
        """`emit` with the event `message`, or with `json` the event `json`.

        Args:
            data: Text, or any JSON.
            json: Whether it is the event `json`.
            namespace: `/`, or none.
            to: As of `emit`.
            callback: As of `emit`.
            include_self: As of `emit`.
            skip_sid: As of `emit`.
            **options: As of `emit`.
        """
        self.emit(
            "json" if json else "message",
            data,
            namespace=namespace,
            to=to,
            callback=callback,
            include_self=include_self,
            skip_sid=skip_sid,
            **options,
        )

    def call(self, event: str, *args: Any, **options: Any) -> Any:
        """Ask one client, and wait for its answer.

        Args:
            event: Its name.
            *args: Its arguments.
            **options: `to` (a sid), `timeout` in seconds, and `namespace` (`/`).

        Returns:
            What the client's handler returned.

        Raises:
            TimeoutError: There is no answer in time.
        """
        check_namespace(options.pop("namespace", None))
        to = options.pop("to", None) or options.pop("room", None)
        timeout = options.pop("timeout", 60)
        data = args[0] if len(args) == 1 else args or None
        return self._wait("call", lambda server: server.call(event, data, to, timeout=timeout))

    def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """See the function `join_room`."""
        check_namespace(namespace)
        self._wait("enter_room", lambda server: server.enter_room(sid, room))

    def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """See the function `leave_room`."""
        check_namespace(namespace)
        self._wait("leave_room", lambda server: server.leave_room(sid, room))

    def close_room(self, room: str, namespace: str | None = None) -> None:
        """Take every client out of a room.

        Args:
            room: Its name.
            namespace: `/`, or none.
        """
        check_namespace(namespace)
        self._wait("close_room", lambda server: server.close_room(room))

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        """See the function `rooms`."""
        check_namespace(namespace)
        return self._sender("rooms").rooms(sid)

    def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """See the function `disconnect`."""
        check_namespace(namespace)
        self._wait("disconnect", lambda server: server.disconnect(sid))

    def start_background_task(self, target: Handler, *args: Any, **kwargs: Any) -> threading.Thread:
        """Run a function in a thread.

        Args:
            target: A plain function.
            *args: Its arguments.
            **kwargs: Its keyword arguments.

        Returns:
            The thread, which ends with the process.
        """
        thread = threading.Thread(target=target, args=args, kwargs=kwargs, daemon=True)
        thread.start()
        return thread

    def sleep(self, seconds: float = 0) -> None:
        """Wait, in a thread.

        Args:
            seconds: How long.
        """
        time.sleep(seconds)
