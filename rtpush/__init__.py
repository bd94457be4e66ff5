"""rtpush: a real-time push server for Python, and what talks to it.

Names are loaded when they are used: a script that only publishes does not pay
for a server.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .asgi.app import ASGIApp
    from .client.async_client import Client, Event
    from .client.simple_client import SimpleClient
    from .client.worker import Worker
    from .config.settings import ConfigError, Settings
    from .errors import ConnectError, RtpushError
    from .publisher.async_publisher import AsyncPublisher
    from .publisher.progress import track
    from .publisher.publisher import Publisher
    from .server import Server, StartError
    from .work.task import AsyncReport, Report, TaskCancelled, TaskEnded, WorkTask

__all__ = [
    "ASGIApp",
    "AsyncPublisher",
    "AsyncReport",
    "Client",
    "ConfigError",
    "ConnectError",
    "Event",
    "Publisher",
    "Report",
    "RtpushError",
    "Server",
    "Settings",
    "SimpleClient",
    "StartError",
    "TaskCancelled",
    "TaskEnded",
    "WorkTask",
    "Worker",
    "__version__",
    "track",
]

_MODULES = {
    "ASGIApp": "asgi.app",
    "AsyncPublisher": "publisher.async_publisher",
    "AsyncReport": "work.task",
    "Client": "client.async_client",
    "ConfigError": "config.settings",
    "ConnectError": "errors",
    "Event": "client.async_client",
    "Publisher": "publisher.publisher",
    "Report": "work.task",
    "RtpushError": "errors",
    "Server": "server",
    "Settings": "config.settings",
    "SimpleClient": "client.simple_client",
    "StartError": "server",
    "TaskCancelled": "work.task",
    "TaskEnded": "work.task",
    "WorkTask": "work.task",
    "Worker": "client.worker",
    "track": "publisher.progress",
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
