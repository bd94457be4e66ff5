"""Names of python-socketio that rtpush has nothing for; each says what to use."""

from __future__ import annotations

from typing import Any, NoReturn

__all__ = ["MISSING"]

_HANDLERS = (
    "calls handlers in threads: use SimpleClient, whose receive() gives the events, or AsyncClient"
)
_SERVER = (
    "is for WSGI: publish from it to an rtpush server with rtpush.Publisher, or use AsyncServer"
)
_MANAGER = "connects processes: use the setting log, AsyncServer(log='redis://…')"
_APPLICATION = (
    "mounts a server in a framework: ASGIApp is for ASGI, AsyncServer.attach(app) for aiohttp; "
)
_APPLICATION += "one of WSGI is given to AsyncServer.host_app(app), which keeps the port"

# What each of them is there for, and what does it here.
MISSING: dict[str, str] = {
    "Client": _HANDLERS,
    "ClientNamespace": _HANDLERS,
    "Server": _SERVER,
    "Namespace": _SERVER,
    **dict.fromkeys(("WSGIApp", "Middleware", "get_tornado_handler"), _APPLICATION),
    **dict.fromkeys(("Manager", "PubSubManager", "KombuManager", "RedisManager"), _MANAGER),
    **dict.fromkeys(("ZmqManager", "KafkaManager", "AsyncManager"), _MANAGER),
    **dict.fromkeys(("AsyncRedisManager", "AsyncAioPikaManager"), _MANAGER),
}


def placeholder(name: str) -> type[Any]:
    """A class of this name that can be imported and not be made.

    An import that fails would say no more than that there is no such name.
    """

    def refuse(self: object, *_args: Any, **_options: Any) -> NoReturn:
        raise NotImplementedError(f"rtpush has no {name}, which {MISSING[name]}")

    return type(name, (), {"__init__": refuse, "__module__": __name__, "__doc__": MISSING[name]})
