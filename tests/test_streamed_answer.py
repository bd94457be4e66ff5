"""A long answer, word by word, while tabs come and go and servers die: each tab has the text."""

from __future__ import annotations

import asyncio
import itertools
import random
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clients import KINDS, Ended
from needs import needs
from processes import pause, running
from redisserver import RedisServer
from websockets.exceptions import WebSocketException

from rtpush.config.settings import Settings
from rtpush.server import Server

LONG = 60.0
# How a client notices that its server has gone.
LOST = (aiohttp.ClientError, Ended, OSError, WebSocketException)

WORDS = [f"{n:04} " for n in range(2000)]
TEXT = "".join(WORDS)
AT_ONCE = 10


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


class Tab:
    """A tab that is reloaded, comes back, and takes another transport, at random."""

    def __init__(self, urls: Iterator[str], http: aiohttp.ClientSession, seed: int) -> None:
        self.text = ""
        self.ended = False
        self.reloads = self.returns = 0
        self._urls = urls
        self._http = http
        self._random = random.Random(seed)
        self._position: str | None = None

    async def run(self) -> None:
        while not self.ended:
            try:
                await self._visit()
            except LOST:
                await pause()

    async def _visit(self) -> None:
        kind = self._random.choice(KINDS)
        reload = self._position is None or self._random.random() < 0.4
        last = None if reload else self._position
        client = await kind.open(self._urls, self._http, (), last)
        self.reloads += reload
        self.returns += not reload
        try:
            for envelope in client.greeting:
                self._fold(envelope)
            for _ in range(self._random.randrange(10, 150)):
                if self.ended:
                    return
                self._fold(await client.next())
        finally:
            await client.close()

    def _fold(self, envelope: dict[str, Any]) -> None:
        data = envelope.get("data")
        if envelope.get("event") == "active_tasks":
            shown = [*data["tasks"], *data["finished"]]
            self.text = shown[0].get("text", "") if shown else ""
            self.ended = bool(data["finished"])
        elif envelope.get("event") == "task_progress":
            self.text += data["append"]["text"]
        elif envelope.get("event") == "task_completed":
            self.ended = True
        # What a client has received and the tab has not seen, the tab does not have.
        self._position = envelope.get("id", self._position)
        assert TEXT.startswith(self.text)


class Writer:
    """Publishes the words, and what was not answered again. `disturb` is done between."""

    def __init__(self, urls: Iterator[str], http: aiohttp.ClientSession) -> None:
        self._urls = urls
        self._http = http

    async def run(self, disturb: Callable[[int], Awaitable[None]]) -> None:
        await self._publish([{"event": "task_created", "data": {"id": 1}}], "created")
        for start in range(0, len(WORDS), AT_ONCE):
            events = [
                {"event": "task_progress", "data": {"id": 1, "append": {"text": word}}}
                for word in WORDS[start : start + AT_ONCE]
            ]
            await asyncio.gather(disturb(start), self._publish(events, str(start)))
        await self._publish([{"event": "task_completed", "data": {"id": 1}}], "completed")

    async def _publish(self, events: list[dict[str, Any]], name: str) -> None:
        keyed = [event | {"idempotency_key": f"{name}/{i}"} for i, event in enumerate(events)]
        while True:
            try:
                url = f"{next(self._urls)}/api/publish"
                async with self._http.post(url, json=keyed) as answer:
                    if answer.status == 200:
                        return
            except LOST:
                pass
            await pause()


async def write_and_read(
    urls: Iterator[str],
    http: aiohttp.ClientSession,
    disturb: Callable[[int], Awaitable[None]],
) -> None:
    tabs = [Tab(urls, http, seed) for seed in range(6)]
    async with asyncio.timeout(LONG):
        await asyncio.gather(Writer(urls, http).run(disturb), *(tab.run() for tab in tabs))
    assert [tab.text for tab in tabs] == [TEXT] * len(tabs)
    assert all(tab.reloads > 1 and tab.returns > 1 for tab in tabs)


@pytest.mark.timeout(120)
async def test_a_server_that_is_killed(tmp_path: Path, http: aiohttp.ClientSession) -> None:
    async with running(tmp_path) as server:

        async def kill(start: int) -> None:
            if start in (700, 1400):
                await server.kill()
                await server.start()

        def urls() -> Iterator[str]:
            while True:
                yield server.url.rstrip("/")

        await write_and_read(urls(), http, kill)


@needs("redis")
@pytest.mark.timeout(120)
async def test_three_nodes(redis_server: RedisServer, http: aiohttp.ClientSession) -> None:
    log = redis_server.url(secrets.token_hex(8))
    nodes = [Server(Settings(port=0, log=log)) for _ in range(3)]
    await asyncio.gather(*(node.start() for node in nodes))

    async def restart(start: int) -> None:
        if start in (700, 1400):
            gone = nodes.pop()
            await gone.stop()
            nodes.append(Server(Settings(port=0, log=log)))
            await nodes[-1].start()

    def urls() -> Iterator[str]:
        for turn in itertools.count():
            yield nodes[turn % len(nodes)].url.rstrip("/")

    try:
        await write_and_read(urls(), http, restart)
    finally:
        await asyncio.gather(*(node.stop() for node in nodes))
