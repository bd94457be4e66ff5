"""python-socketio's `AsyncSimpleClient`."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any, Self

from ...client.async_client import Auth, Client, Events
from ...client.simple_client import listed
from ...errors import ConnectError
from .namespaces import check_namespace

__all__ = ["AsyncSimpleClient"]


class AsyncSimpleClient:
    """`SimpleClient` for programs with coroutines: events come by `receive`."""

    _client_class: type[Client] = Client

    def __init__(self, **options: Any) -> None:
        """Nothing is connected yet. Options as for `rtpush.Client`."""
        self._client = self._client_class(**options)
        self._received: Events | None = None

    @property
    def sid(self) -> str | None:
        """The session's secret; None before the first connection."""
        return self._client.sid

    @property
    def transport(self) -> str | None:
        """The transport: `websocket`, `sse` or `poll`; None when not connected."""
        return self._client.transport()

    async def connect(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        transports: Iterable[str] | str | None = None,
        namespace: str | None = None,
        socketio_path: str | None = None,
        wait_timeout: float | None = None,
    ) -> None:
        """Connect, as `rtpush.Client.connect` does. Raises ConnectError, ValueError."""
        check_namespace(namespace)
        received = self._client.events()
        await self._client.connect(
            url,
            headers,
            auth,
            transports,
            socketio_path=socketio_path,
            wait_timeout=wait_timeout,
        )
        self._received = received

    async def emit(self, event: str, data: Any = None) -> None:
        """See `rtpush.Client.emit`."""
        await self._client.emit(event, data)

    async def call(self, event: str, data: Any = None, timeout: float = 60) -> Any:
        """See `rtpush.Client.call`."""
        return await self._client.call(event, data, timeout)

    async def receive(self, timeout: float | None = None) -> list[Any]:
        """Wait for the next event, as `[name, data]`, except the server's own.

        Raises TimeoutError, and ConnectError when the client is disconnected.
        """
        if self._received is None:
            raise ConnectError("unavailable", "The client is not connected; call connect().")
        async with asyncio.timeout(timeout):
            async for event in self._received:
                if (found := listed(event)) is not None:
                    return found
        raise ConnectError("unavailable", "The client is disconnected.")

    async def disconnect(self) -> None:
        """Disconnect, and wait up to 5 seconds for the answers to sent events. Idempotent."""
        await self._client.disconnect()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.disconnect()
