"""python-socketio's `ASGIApp`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...asgi.app import ASGIApp as _ASGIApp
from ...asgi_types import Application
from ...server import Server

__all__ = ["ASGIApp"]


class ASGIApp(_ASGIApp):
    """`rtpush.ASGIApp` with python-socketio's names, at the path of Socket.IO's clients."""

    def __init__(
        self,
        socketio_server: Server,
        other_asgi_app: Application | None = None,
        static_files: Mapping[str, Any] | None = None,
        socketio_path: str | None = "socket.io",
        on_startup: Callable[[], Any] | None = None,
        on_shutdown: Callable[[], Any] | None = None,
    ) -> None:
        """See python-socketio. Both functions may be coroutine functions.

        Raises:
            NotImplementedError: There are `static_files`.
        """
        if static_files:
            raise NotImplementedError(
                "rtpush serves a folder, by the setting client=, and no static_files: leave them "
                "to other_asgi_app"
            )
        path = (socketio_path or "").strip("/")
        super().__init__(socketio_server, other_asgi_app, f"/{path}" if path else "")
        self._on_startup = on_startup
        self._on_shutdown = on_shutdown

    async def _start(self) -> None:
        await super()._start()
        await _call(self._on_startup)

    async def _stop(self) -> None:
        await _call(self._on_shutdown)
        await super()._stop()


async def _call(function: Callable[[], Any] | None) -> None:
    result = None if function is None else function()
    if inspect.isawaitable(result):
        await result
