"""What handlers call: they mean the client whose event is handled."""

from __future__ import annotations

from typing import Any

import flask

from .extension import SocketIO

__all__ = ["call", "close_room", "disconnect", "emit", "join_room", "leave_room", "rooms", "send"]


def _socketio() -> SocketIO:
    found: SocketIO = flask.current_app.extensions["socketio"]
    return found


def _sid() -> str:
    request: Any = flask.request
    sid: str = request.sid
    return sid


def _receiver(options: dict[str, Any]) -> dict[str, Any]:
    """To the client itself, unless it is to others."""
    to = options.pop("to", None) or options.pop("room", None)
    if to is None and not options.pop("broadcast", False):
        to = _sid()
    options.pop("broadcast", None)
    return options | {"to": to}


def emit(event: str, *args: Any, **options: Any) -> None:
    """Send an event to the client, to a room, or with `broadcast` to everybody.

    Args:
        event: Its name.
        *args: Its arguments.
        **options: `to`, `room`, `broadcast`, `include_self`, `skip_sid`, `callback`.
    """
    _socketio().emit(event, *args, **_receiver(options))


def send(message: Any, **options: Any) -> None:
    """`emit` with the event `message`, or with `json=True` the event `json`.

    Args:
        message: Text, or any JSON.
        **options: As of `emit`.
    """
    _socketio().send(message, **_receiver(options))


def call(event: str, *args: Any, **options: Any) -> Any:
    """Ask the client, or another one, and wait for its answer.

    Args:
        event: Its name.
        *args: Its arguments.
        **options: `to` (a sid) and `timeout` in seconds.

    Returns:
        What the client's handler returned.

    Raises:
        TimeoutError: There is no answer in time.
    """
    return _socketio().call(event, *args, **_receiver(options))


def join_room(room: str, sid: str | None = None, namespace: str | None = None) -> None:
    """Put the client, or another one, in a room.

    Args:
        room: Its name.
        sid: Another client.
        namespace: `/`, or none.
    """
    _socketio().enter_room(sid or _sid(), room, namespace)


def leave_room(room: str, sid: str | None = None, namespace: str | None = None) -> None:
    """Take the client, or another one, out of a room.

    Args:
        room: Its name.
        sid: Another client.
        namespace: `/`, or none.
    """
    _socketio().leave_room(sid or _sid(), room, namespace)


def close_room(room: str, namespace: str | None = None) -> None:
    """Take every client out of a room.

    Args:
        room: Its name.
        namespace: `/`, or none.
    """
    _socketio().close_room(room, namespace)


def rooms(sid: str | None = None, namespace: str | None = None) -> list[str]:
    """The rooms of the client, or of another one: first the one that it alone is in.

    Args:
        sid: Another client.
        namespace: `/`, or none.

    Returns:
        Their names.
    """
    return _socketio().rooms(sid or _sid(), namespace)


def disconnect(sid: str | None = None, namespace: str | None = None, silent: bool = False) -> None:
    """End the connection of the client, or of another one.

    Args:
        sid: Another client.
        namespace: `/`, or none.
        silent: Means nothing, as in Flask-SocketIO.
    """
    _socketio().disconnect(sid or _sid(), namespace)
