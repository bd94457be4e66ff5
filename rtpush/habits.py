"""What users of python-socketio write, in rtpush's terms.

Rules that hold here:

- `AsyncServer(…)` becomes `Server(…)` without a change of its arguments: what
  has a counterpart is translated, and what has no meaning here is named once.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

__all__ = ["settings_of"]

logger = logging.getLogger("rtpush.server")

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


def settings_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by name from the keyword arguments of a server."""
    ignored = sorted(WITHOUT_MEANING & set(options))
    if ignored:
        logger.warning("these options have no meaning here: %s", ", ".join(ignored))
    settings = {
        RENAMED.get(name, name): value
        for name, value in options.items()
        if name not in WITHOUT_MEANING
    }
    origins = settings.get("allow_origins")
    if isinstance(origins, str | list):
        settings["allow_origins"] = (origins,) if isinstance(origins, str) else tuple(origins)
    return settings
