"""What users of python-socketio write, in rtpush's terms.

Rules that hold here:

- `AsyncServer(…)` becomes `Server(…)`, and `AsyncClient(…)` `Client(…)`, without
  a change of their arguments: what has a counterpart is translated, and what
  has no meaning here is named once.
- What a server and a client have in common is written once: how handlers are
  registered, and what runs beside them.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, TypeVar, overload

from ..errors import Reason
from .registry import Handler

__all__ = ["Habits", "forget_options", "settings_of"]

logger = logging.getLogger("rtpush.app")

H = TypeVar("H", bound=Handler)


class Habits(ABC):
    """What `Server` and `Client` have in common."""

    reason: Final = Reason

    def __init__(self) -> None:
        self._background: set[asyncio.Task[Any]] = set()

    @abstractmethod
    def _add_handler(self, event: str, handler: Handler) -> None:
        """Raises ValueError for a name that cannot have a handler."""

    @overload
    def on(self, event: str, handler: H) -> H: ...
    @overload
    def on(self, event: str, handler: None = None) -> Callable[[H], H]: ...
    def on(self, event: str, handler: H | None = None) -> H | Callable[[H], H]:
        """Register a handler, as a call or as a decorator; `*` is for events without one.

        It may declare fewer arguments than it is called with. Raises ValueError
        for a reserved name.
        """

        def register(function: H) -> H:
            self._add_handler(event, function)
            return function

        return register if handler is None else register(handler)

    @overload
    def event(self, handler: H) -> H: ...
    @overload
    def event(self, handler: None = None) -> Callable[[H], H]: ...
    def event(self, handler: H | None = None) -> H | Callable[[H], H]:
        """Register a function as the handler of the event that it is named after."""

        def register(function: H) -> H:
            self._add_handler(function.__name__, function)
            return function

        return register if handler is None else register(handler)

    def start_background_task(
        self, target: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> asyncio.Task[Any]:
        """Run a coroutine function beside everything else; returns its task."""
        return self._keep(asyncio.ensure_future(target(*args, **kwargs)))

    def _keep(self, task: asyncio.Task[Any]) -> asyncio.Task[Any]:
        # The loop itself holds tasks only weakly.
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def sleep(self, seconds: float = 0) -> None:
        """`asyncio.sleep`."""
        await asyncio.sleep(seconds)


RENAMED: Final = {
    "cors_allowed_origins": "allow_origins",
    "max_http_buffer_size": "max_message",
    "ping_interval": "heartbeat",
}

# One transport ladder, one serializer and ordered handlers leave nothing to choose.
WITHOUT_MEANING: Final = frozenset(
    {
        "allow_upgrades",
        "always_connect",
        "async_handlers",
        "async_mode",
        "client_manager",
        "compression_threshold",
        "cookie",
        "cors_credentials",
        "engineio_logger",
        "http_compression",
        "json",
        "logger",
        "monitor_clients",
        "namespaces",
        "ping_timeout",
        "serializer",
        "transports",
    }
)


# Of `AsyncClient`, and of the engine below it.
CLIENT_WITHOUT_MEANING: Final = frozenset(
    {
        "engineio_logger",
        "handle_sigint",
        "json",
        "logger",
        "serializer",
        "timestamp_requests",
        "websocket_extra_options",
    }
)


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name from the keyword arguments of a server."""
    _say_ignored(WITHOUT_MEANING, options)
    settings = {
        RENAMED.get(name, name): value
        for name, value in options.items()
        if name not in WITHOUT_MEANING
    }
    origins = settings.get("allow_origins")
    if isinstance(origins, str | list):
        settings["allow_origins"] = (origins,) if isinstance(origins, str) else tuple(origins)
    return settings


def forget_options(options: Mapping[str, Any]) -> None:
    """Name the options of a client that have no meaning here. Raises TypeError for others."""
    unknown = set(options) - CLIENT_WITHOUT_MEANING
    if unknown:
        raise TypeError(f"Client() has no option {sorted(unknown)[0]!r}")
    _say_ignored(CLIENT_WITHOUT_MEANING, options)


def _say_ignored(without_meaning: Collection[str], options: Mapping[str, Any]) -> None:
    # `logger=False` and the like say that nothing is wanted, and nothing is what they get.
    ignored = sorted(name for name in options if name in without_meaning and options[name])
    if ignored:
        logger.warning("these options have no meaning here: %s", ", ".join(ignored))
