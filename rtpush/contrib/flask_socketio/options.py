"""Options of Flask-SocketIO as settings of rtpush."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Options", "split_options", "tls_options"]

# Options of Flask-SocketIO that are no settings of rtpush.
_OWN: Final = ("manage_session", "message_queue", "channel", "path", "resource")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of one extension. `given` has all of them as they were given."""

    given: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    manage_session: bool = True
    path: str = "socket.io"
    # The address of the log that processes share; None without one.
    queue: str | None = None


def split_options(given: dict[str, Any]) -> Options:
    """Raises ValueError for a message queue that rtpush has no log for."""
    settings = {name: value for name, value in given.items() if name not in _OWN}
    interval = settings.get("ping_interval")
    if isinstance(interval, tuple):
        # The second is what clients are given on top, which the server knows itself.
        settings["ping_interval"] = interval[0]
    queue = given.get("message_queue")
    if queue is not None:
        queue = settings["log"] = _log_of(queue, given.get("channel"))
    return Options(
        given,
        settings,
        given.get("manage_session", True),
        given.get("path") or given.get("resource") or "socket.io",
        queue,
    )


def _log_of(queue: str, channel: str | None) -> str:
    if not queue.startswith(("redis://", "rediss://", "redis+sentinel://")):
        raise ValueError(
            f"message_queue is {queue.split(':')[0]}: processes share a log in Redis here, "
            "message_queue='redis://HOST'"
        )
    if channel is None:
        return queue
    return f"{queue}{'&' if '?' in queue else '?'}prefix={channel}"


def tls_options(options: dict[str, Any]) -> dict[str, Any]:
    """The options of `run`, with certificate and key as rtpush calls them. Raises ValueError."""
    context = options.pop("ssl_context", None)
    if context is not None and not (isinstance(context, tuple) and len(context) == 2):
        raise ValueError("ssl_context is (certificate, key), two files, as for Flask's app.run")
    certificate, key = context or (options.pop("certfile", None), options.pop("keyfile", None))
    found = {"tls_cert": certificate, "tls_key": key}
    return options | {name: value for name, value in found.items() if value is not None}
