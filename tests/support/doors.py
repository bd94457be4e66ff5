"""uvicorn as the door of servers that run in the test's process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from processes import pause
from uvicorn.server import ServerState

import rtpush
from rtpush.server import Server


class Uvicorn:
    """An ASGI application on a port.

    uvicorn's own `Server` looks for its end ten times a second; this has its protocols and its
    lifespan alone, and is there and gone at once.
    """

    def __init__(self, app: Any, **options: Any) -> None:
        self._config = uvicorn.Config(app, log_config=None, access_log=False, **options)
        self._config.load()
        self._lifespan = self._config.lifespan_class(self._config)
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def start(self, port: int = 0) -> None:
        await self._lifespan.startup()
        assert not self._lifespan.should_exit
        self._server = await asyncio.get_running_loop().create_server(
            lambda: self._config.http_protocol_class(  # type: ignore[call-arg]
                config=self._config,
                server_state=self._state,
                app_state=self._lifespan.state,
            ),
            "127.0.0.1",
            port,
        )

    @property
    def port(self) -> int:
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """End the connections, then the lifespan, as uvicorn does."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        while self._state.connections or self._state.tasks:
            await pause()
        await self._server.wait_closed()
        await self._lifespan.shutdown()


@asynccontextmanager
async def on_uvicorn(app: Any, **options: Any) -> AsyncIterator[str]:
    """The address of an application."""
    door = Uvicorn(app, **options)
    await door.start()
    try:
        yield f"http://127.0.0.1:{door.port}"
    finally:
        await door.stop()


class AsgiServer(Server):
    """A server whose port is uvicorn's."""

    _uvicorn: Uvicorn | None = None

    async def start(self) -> None:
        self._uvicorn = Uvicorn(rtpush.ASGIApp(self, prefix=""))
        await self._uvicorn.start(self.settings.port)

    @property
    def port(self) -> int:
        return self._uvicorn.port if self._uvicorn else self.settings.port

    async def stop(self) -> None:
        # First, as at a signal: uvicorn waits for event streams.
        await super().stop()
        door, self._uvicorn = self._uvicorn, None
        if door is not None:
            await door.stop()
