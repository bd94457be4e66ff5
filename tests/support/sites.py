"""The server that a conformance test talks to: one, or several nodes of one log."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import aiohttp
from clients import PATIENCE, Client, Envelope

from rtpush.config import Settings
from rtpush.server import Server


class Site:
    """A running server, and what a test does with it from outside.

    Or several nodes: each request goes to another one, also in the middle of a
    client's conversation.
    """

    def __init__(
        self,
        settings: Settings,
        http: aiohttp.ClientSession,
        nodes: int = 1,
        make: type[Server] = Server,
    ) -> None:
        self.settings = settings
        self.http = http
        self._make = make
        self.server = make(settings)
        self._others = [make(settings) for _ in range(nodes - 1)]
        self._clients: list[Client] = []
        self._turn = itertools.count()

    async def start(self) -> None:
        """Start all nodes."""
        for server in (self.server, *self._others):
            await server.start()

    @property
    def url(self) -> str:
        """The address of the node whose turn it is."""
        servers = [self.server, *self._others]
        return servers[next(self._turn) % len(servers)].url.rstrip("/")

    def _urls(self) -> Iterator[str]:
        while True:
            yield self.url

    @property
    def port(self) -> int:
        return self.server.port

    async def open(
        self,
        kind: type[Client],
        rooms: Sequence[str] = (),
        last: str | None = None,
        *,
        conflate: bool = True,
        sid: str | None = None,
        rewind: str | None = None,
    ) -> Client:
        """A connected client; it is closed after the test."""
        client = await kind.open(
            self._urls(), self.http, rooms, last, conflate=conflate, sid=sid, rewind=rewind
        )
        self._clients.append(client)
        return client

    async def call(
        self, method: str, path: str, data: Any = None, **query: Any
    ) -> tuple[int, Any, dict[str, str]]:
        """Status, JSON and headers of a request."""
        async with (
            asyncio.timeout(PATIENCE),
            self.http.request(method, self.url + path, data=data, params=query) as response,
        ):
            assert response.content_type == "application/json", await response.text()
            return response.status, await response.json(), dict(response.headers)

    async def get(self, path: str, **query: Any) -> Any:
        """The JSON of a GET that succeeds."""
        status, answer, _ = await self.call("GET", path, **query)
        assert status == 200, answer
        return answer

    async def publish(self, *envelopes: Envelope) -> list[str]:
        """Publish events that are all taken; their positions."""
        async with self.http.post(self.url + "/api/publish", json=list(envelopes)) as response:
            answers = await response.json()
            assert response.status == 200, answers
            return [answer["id"] for answer in answers]

    async def emit(self, count: int, **fields: Any) -> list[str]:
        """Publish so many events `tick` with data 0, 1, 2, …; their positions."""
        return await self.publish(*({"event": "tick", "data": i} | fields for i in range(count)))

    async def restart(self) -> None:
        """Stop the server and start another one on the same log and port."""
        port = self.port
        await self.stop()
        settings = Settings(
            **{
                name: getattr(self.settings, name)
                for name in Settings.__dataclass_fields__
                if name != "port"
            },
            port=port,
        )
        self.server, self._others = self._make(settings), []
        await self.server.start()

    async def stop(self) -> None:
        """Close the clients, then the server."""
        while self._clients:
            await self._clients.pop().close()
        for server in (self.server, *self._others):
            await server.stop()
