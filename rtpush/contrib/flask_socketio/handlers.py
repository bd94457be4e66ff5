"""Handlers: how they are registered, and called in the contexts of Flask."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from ...handlers.registry import positional
from ...server import Server
from ..socketio.namespaces import check_namespace
from .context import HandlerContext

__all__ = ["Handler", "Handlers"]

Handler = Callable[..., Any]
H = TypeVar("H", bound=Handler)


class Handlers:
    """The part of `SocketIO` that has the handlers."""

    def __init__(self) -> None:
        # The server, once it runs.
        self.server: Server | None = None
        # None without an application.
        self.context: HandlerContext | None = None
        self._handlers: dict[str, Handler] = {}
        # What is given the exceptions of handlers: the one of the namespace, else the default.
        self._on_error: Handler | None = None
        self._on_error_default: Handler | None = None

    def on(self, message: str, namespace: str | None = None) -> Callable[[H], H]:
        """Decorator: register a handler.

        Args:
            message: The event; `*` for those without a handler.
            namespace: `/`, or none.

        Returns:
            The decorator.

        Raises:
            ValueError: The name is reserved, or there is no such namespace.
        """
        check_namespace(namespace)

        def register(handler: H) -> H:
            self._handlers[message] = handler
            if self.server is not None:
                self._register(self.server, message, handler)
            return handler

        return register

    def on_event(self, message: str, handler: Handler, namespace: str | None = None) -> None:
        """Register a handler.

        Args:
            message: The event.
            handler: A plain function.
            namespace: `/`, or none.
        """
        self.on(message, namespace)(handler)

    def event(self, *args: Any, **options: Any) -> Any:
        """Decorator: register a handler for the event of its own name.

        Args:
            *args: The handler, or the namespace.
            **options: `namespace`: `/`, or none.

        Returns:
            The handler, or the decorator.
        """
        if len(args) == 1 and not options and callable(args[0]):
            return self.on(args[0].__name__)(args[0])
        return lambda handler: self.on(handler.__name__, *args, **options)(handler)

    def on_error(self, namespace: str | None = None) -> Callable[[H], H]:
        """Decorator: a function that is given what a handler raises; its result is the answer.

        Args:
            namespace: `/`, or none.

        Returns:
            The decorator.
        """
        check_namespace(namespace)

        def register(exception_handler: H) -> H:
            self._on_error = _callable(exception_handler)
            return exception_handler

        return register

    def on_error_default(self, exception_handler: H) -> H:
        """Decorator: the same, where no function is registered by `on_error`.

        Args:
            exception_handler: The function.

        Returns:
            The function.
        """
        self._on_error_default = _callable(exception_handler)
        return exception_handler

    def _register(self, server: Server, event: str, handler: Handler) -> None:
        if event == "connect":
            server.on(event, functools.partial(self._connect, handler))
        elif event == "disconnect":
            server.on(event, functools.partial(self._disconnect, handler))
        elif event == "*":
            server.on(event, lambda name, sid, *args: self._handle(handler, name, sid, name, *args))
        else:
            server.on(event, lambda sid, *args: self._handle(handler, event, sid, *args))

    def _register_all(self, server: Server) -> None:
        for event, handler in self._handlers.items():
            self._register(server, event, handler)

    def _watch_clients(self, server: Server) -> None:
        """Note clients also when the application has no handlers for that."""
        for event in {"connect", "disconnect"} - set(self._handlers):
            self._register(server, event, lambda: None)

    def _connect(self, handler: Handler, sid: str, environ: dict[str, Any], auth: Any) -> Any:
        assert self.context is not None
        self.context.add(sid, environ)
        try:
            answer = self._handle(handler, "connect", sid, auth)
        except BaseException:
            self.context.forget(sid)
            raise
        if answer is False:
            self.context.forget(sid)
        return answer

    def _disconnect(self, handler: Handler, sid: str, reason: str) -> None:
        assert self.context is not None
        try:
            self._handle(handler, "disconnect", sid, reason)
        finally:
            self.context.forget(sid)

    def _handle(self, handler: Handler, event: str, sid: str, *args: Any) -> Any:
        assert self.context is not None
        args = args[: positional(handler)]
        try:
            return self.context.run(sid, event, handler, *args)
        except ConnectionRefusedError:
            raise
        except Exception as exc:
            on_error = self._on_error or self._on_error_default
            if on_error is None:
                raise
            return self.context.run(sid, event, on_error, exc)


def _callable(handler: Handler) -> Handler:
    if not callable(handler):
        raise ValueError("exception_handler must be callable")
    return handler
