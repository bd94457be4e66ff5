"""The keyword arguments of a server and a client, those of python-socketio included.

Rules that hold here:

- `AsyncServer(…)` becomes `Server(…)`, and `AsyncClient(…)` `Client(…)`, without
  a change of their arguments: what has a counterpart is translated, and what
  has no meaning here is named once.
- The types are what a type checker reads; the names at run time come from them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, TypedDict

from ..config.options import Options
from ..config.settings import BY_NAME, ConfigError, Given, Settings, check, unknown

__all__ = ["RENAMED", "RenamedOptions", "ServerOptions", "forget_options", "settings_of"]

logger = logging.getLogger("rtpush.app")


class RenamedOptions(TypedDict, total=False):
    """Options of python-socketio's `AsyncServer` that are settings of another name."""

    cors_allowed_origins: str | Sequence[str] | None
    max_http_buffer_size: int | str | None
    ping_interval: float | str | None


class IgnoredOptions(TypedDict, total=False):
    """Options of `AsyncServer` that have no meaning here.

    One transport ladder, one serializer and ordered handlers leave nothing to choose.
    """

    allow_upgrades: Any
    always_connect: Any
    async_handlers: Any
    async_mode: Any
    client_manager: Any
    compression_threshold: Any
    cookie: Any
    cors_credentials: Any
    engineio_logger: Any
    http_compression: Any
    json: Any
    logger: Any
    monitor_clients: Any
    namespaces: Any
    ping_timeout: Any
    serializer: Any
    transports: Any


class ServerOptions(Options, RenamedOptions, IgnoredOptions, total=False):
    """The keyword arguments of a server."""


RENAMED: Final = {
    "cors_allowed_origins": "allow_origins",
    "max_http_buffer_size": "max_message",
    "ping_interval": "heartbeat",
}

# Of `AsyncClient`, and of the engine below it.
IGNORED_BY_CLIENT: Final = frozenset(
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


def settings_of(base: Settings, options: Mapping[str, Any]) -> Settings:
    """`base`, changed by the keyword arguments of a server. Raises ConfigError."""
    ignored = IgnoredOptions.__annotations__
    _say_ignored(ignored, options)
    # None is python-socketio's default of what is renamed: nothing is asked for.
    given = {
        name: value
        for name, value in options.items()
        if name not in ignored and not (name in RENAMED and value is None)
    }
    settings = BY_NAME | {name: BY_NAME[ours] for name, ours in RENAMED.items()}
    problems = [unknown("option", name, settings) for name in given if name not in settings]
    values = check(
        (Given(settings[name], name, value) for name, value in given.items() if name in settings),
        problems,
    )
    if problems:
        raise ConfigError(problems)
    return replace(base, **values)


def forget_options(options: Mapping[str, Any]) -> None:
    """Name the options of a client that have no meaning here. Raises TypeError for others."""
    others = sorted(set(options) - IGNORED_BY_CLIENT)
    if others:
        raise TypeError(f"Client() has no option {others[0]!r}")
    _say_ignored(IGNORED_BY_CLIENT, options)


def _say_ignored(meaningless: Collection[str], options: Mapping[str, Any]) -> None:
    # `logger=False` and the like say that nothing is wanted, and nothing is what they get.
    ignored = sorted(name for name in options if name in meaningless and options[name])
    if ignored:
        logger.warning("these options have no meaning here: %s", ", ".join(ignored))
