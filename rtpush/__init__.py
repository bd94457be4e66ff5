"""rtpush: a real-time push server for Python, and what talks to it.

Names are loaded when they are used: a script that only publishes does not pay
for a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import Client, Event
    from .config import Settings
    from .errors import ConnectError, RtpushError
    from .progress import track
    from .publisher import AsyncPublisher, Publisher
    from .server import Server
    from .simple import SimpleClient

__version__ = "0.1.0"
__all__ = [
    "AsyncPublisher",
    "Client",
    "ConnectError",
    "Event",
    "Publisher",
    "RtpushError",
    "Server",
    "Settings",
    "SimpleClient",
    "__version__",
    "track",
]

_MODULES = {
    "AsyncPublisher": "publisher",
    "Client": "client",
    "ConnectError": "errors",
    "Event": "client",
    "Publisher": "publisher",
    "RtpushError": "errors",
    "Server": "server",
    "Settings": "config",
    "SimpleClient": "simple",
    "track": "progress",
}


def __getattr__(name: str) -> Any:
    """PEP 562."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
