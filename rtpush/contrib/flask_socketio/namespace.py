"""Handlers in one class: the method `on_message` handles `message`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..socketio.namespaces import check_namespace

if TYPE_CHECKING:
    from .extension import SocketIO

__all__ = ["Namespace"]


class Namespace:
    """A class of handlers, for the namespace `/`."""

    def __init__(self, namespace: str | None = None) -> None:
        """A namespace other than `/` raises ValueError."""
        check_namespace(namespace)
        self.namespace = "/"
        self.socketio: SocketIO | None = None

    def register_with(self, socketio: SocketIO) -> None:
        """Register each method named `on_…`."""
        if hasattr(self, "trigger_event"):
            raise TypeError("trigger_event() is never called here: handle the event * instead")
        self.socketio = socketio
        for name in dir(self):
            if name.startswith("on_"):
                socketio.on_event(name.removeprefix("on_"), getattr(self, name))

    def _registered(self) -> SocketIO:
        if self.socketio is None:
            raise RuntimeError("call socketio.on_namespace() with it first")
        return self.socketio

    def emit(
        self,
        event: str,
        data: Any = None,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """See `SocketIO.emit`."""
        self._registered().emit(
            event,
            data,
            to=room,
            include_self=include_self,
            namespace=namespace,
            callback=callback,
        )

    def send(
        self,
        data: Any,
        room: Any = None,
        include_self: bool = True,
        namespace: str | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> None:
        """See `SocketIO.send`."""
        self.emit("message", data, room, include_self, namespace, callback)

    def call(self, event: str, data: Any = None, to: str | None = None, **options: Any) -> Any:
        """See `SocketIO.call`."""
        return self._registered().call(event, data, to=to, **options)

    def enter_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """See the function `join_room`."""
        self._registered().enter_room(sid, room, namespace)

    def leave_room(self, sid: str, room: str, namespace: str | None = None) -> None:
        """See the function `leave_room`."""
        self._registered().leave_room(sid, room, namespace)

    def close_room(self, room: str, namespace: str | None = None) -> None:
        """See `SocketIO.close_room`."""
        self._registered().close_room(room, namespace)

    def rooms(self, sid: str, namespace: str | None = None) -> list[str]:
        """See the function `rooms`."""
        return self._registered().rooms(sid, namespace)

    def disconnect(self, sid: str, namespace: str | None = None) -> None:
        """See the function `disconnect`."""
        self._registered().disconnect(sid, namespace)
