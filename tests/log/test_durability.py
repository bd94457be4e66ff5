"""What survives: `kill -9` under load, a full disk, readers that do not read.

Real processes with the default log, and clients that never stop.
"""

from __future__ import annotations

import asyncio
import json
import resource
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from clients import KINDS, Client, Ended, Envelope, WebSocket, is_logged, split, until
from frames import TEXT, Raw
from processes import ServerProcess, running
from websockets.exceptions import WebSocketException

# Seconds that many events may take on a busy machine.
LONG = 30.0
# What a client that lost its server waits before it tries again.
BACKOFF = 0.02
# How a client notices that its server has gone.
LOST = (aiohttp.ClientError, Ended, OSError, WebSocketException)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


# ---- kill -9 -----------------------------------------------------------------


class Ledger:
    """Which events are published: each is issued once, and acknowledged once.

    `ids` has the acknowledged ones: the position that each idempotency key got.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.issued = 0
        self.ids: dict[str, str] = {}

    def issue(self, name: str, most: int) -> list[str]:
        """The next events that this publisher is to publish."""
        first, self.issued = self.issued, min(self.count, self.issued + most)
        return [f"{name}/{i}" for i in range(first, self.issued)]

    def note(self, key: str, answer: Any) -> None:
        assert key not in self.ids, f"{key} was acknowledged twice"
        self.ids[key] = answer["id"]


class Publisher(ABC):
    """Publishes events in order until all are; what is not answered is sent again.

    `size` events are on their way at the same time.
    """

    size: int

    def __init__(self, url: str, http: aiohttp.ClientSession, ledger: Ledger, name: str) -> None:
        self.url = url
        self.http = http
        self.ledger = ledger
        self.name = name
        self.interrupted = 0
        self._open: list[str] = []

    async def run(self) -> None:
        while self._fill():
            try:
                await self._publish()
            except LOST:
                self.interrupted += 1
                await asyncio.sleep(BACKOFF)

    def _fill(self) -> Sequence[str]:
        """All that is to be on its way now; what is new stands last."""
        self._open += self.ledger.issue(self.name, self.size - len(self._open))
        return self._open

    def _acknowledged(self, answer: Any) -> None:
        self.ledger.note(self._open.pop(0), answer)

    @abstractmethod
    async def _publish(self) -> None:
        """Publish what is open."""


def tick(key: str) -> Envelope:
    return {"event": "tick", "data": key, "idempotency_key": key}


class OneByOne(Publisher):
    """An HTTP request for each event."""

    size = 1

    async def _publish(self) -> None:
        body = [tick(key) for key in self._open]
        async with self.http.post(f"{self.url}/api/publish", json=body) as response:
            answers = await response.json()
            assert response.status == 200, answers
        for answer in answers:
            self._acknowledged(answer)


class InBatches(OneByOne):
    """An HTTP request for many events."""

    size = 10


class Emitter(Publisher):
    """WebSocket: an event follows each acknowledgement."""

    size = 20

    async def _publish(self) -> None:
        client = await WebSocket.open(self.url, self.http)
        try:
            await self._send(client, self._open)
            while self._open:
                envelope = await client.next()
                if "event" not in envelope:
                    assert envelope["ack"] == self._open[0], envelope
                    self._acknowledged(envelope["data"])
                    await self._send(client, self._fill()[self.size - 1 :])
        finally:
            # While others' events wait to be read, the answer to a close is not read either.
            await asyncio.gather(client.close(), client.ended())

    async def _send(self, client: Client, keys: Sequence[str]) -> None:
        for key in list(keys):
            await client.send(tick(key) | {"ack": key})


class Reader:
    """Reads over one transport for ever, coming back with `last`."""

    def __init__(self, kind: type[Client], url: str, http: aiohttp.ClientSession) -> None:
        self.kind = kind
        self.url = url
        self.http = http
        self.events: list[Envelope] = []
        self.recoveries: list[bool] = []

    async def run(self, count: int) -> None:
        """Up to the event with this number."""
        position: str | None = None
        while not self.events or split(self.events[-1]["id"])[1] < count:
            try:
                client = await self.kind.open(self.url, self.http, last=position)
            except LOST:
                await asyncio.sleep(BACKOFF)
                continue
            self.recoveries.append(client.hello["recovered"])
            await self._read(client, count)
            position = client.position
            await client.close()

    async def _read(self, client: Client, count: int) -> None:
        try:
            while not self.events or split(self.events[-1]["id"])[1] < count:
                envelope = await client.next()
                if is_logged(envelope):
                    self.events.append(envelope)
        except LOST:
            return


async def test_kill_9_loses_nothing_that_was_acknowledged(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    count, kills = 2_500, (350, 950, 1_550, 2_150)
    ledger = Ledger(count)
    async with running(tmp_path) as server:
        publishers = [
            make(server.url, http, ledger, f"{make.__name__}-{i}")
            for make in (OneByOne, InBatches, Emitter)
            for i in range(2)
        ]
        readers = [Reader(kind, server.url, http) for kind in KINDS]

        async def kill(lives: int, mark: int) -> None:
            await until(lambda: len(ledger.ids) >= mark)
            await until(lambda: all(len(r.recoveries) >= lives for r in readers))
            await server.kill()
            await server.start()

        async def kill_again_and_again() -> None:
            for lives, mark in enumerate(kills, 1):
                await kill(lives, mark)

        async with asyncio.timeout(LONG), asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.run(count))
            await until(lambda: all(reader.recoveries for reader in readers))
            for publisher in publishers:
                group.create_task(publisher.run())
            group.create_task(kill_again_and_again())

    assert len(ledger.ids) == count
    first, *others = readers
    # In one life of the log, numbered without a gap: each event once, none beside.
    assert [split(e["id"])[1] for e in first.events] == list(range(1, count + 1))
    assert {e["data"]: e["id"] for e in first.events} == ledger.ids
    for other in others:
        assert other.events == first.events
    for reader in readers:
        assert len(reader.recoveries) > len(kills)
        assert reader.recoveries == [False] + [True] * (len(reader.recoveries) - 1)
    for publisher in publishers:
        assert publisher.interrupted
        # In the order in which it sent them.
        mine = [e["data"] for e in first.events if e["data"].startswith(f"{publisher.name}/")]
        assert mine == sorted(mine, key=lambda key: int(key.partition("/")[2]))


# ---- a full disk -------------------------------------------------------------


def give_room(server: ServerProcess, size: int) -> None:
    """No file of the server may grow beyond `size` bytes; writing more fails, as on a full disk."""
    _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (size, hard))


async def publish(http: aiohttp.ClientSession, url: str, *envelopes: Envelope) -> list[str]:
    """Publish events that are all taken; their positions."""
    async with http.post(f"{url}/api/publish", json=envelopes) as response:
        answers = await response.json()
        assert response.status == 200, answers
        return [answer["id"] for answer in answers]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
async def test_a_full_disk_refuses_and_recovers_by_itself(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    async with running(tmp_path) as server:
        url = server.url
        clients = [await kind.open(url, http) for kind in KINDS]
        taken = await publish(http, url, *({"event": "tick", "data": i} for i in range(10)))

        # What is being written when the disk fills is written in part.
        give_room(server, (tmp_path / "rtpush.db-wal").stat().st_size + 6_000)
        large = {"event": "large", "data": "x" * 3_000}
        for _ in range(10):
            async with http.post(f"{url}/api/publish", json=large) as response:
                answer = await response.json()
            if response.status != 200:
                break
            taken.append(answer["id"])
        assert (response.status, answer["error"]["code"]) == (503, "unavailable")
        assert int(response.headers["Retry-After"]) >= 1
        assert answer["error"]["retry_after"] >= 1
        for client in clients:
            task = {"event": "task_created", "data": {"id": client.name}}
            assert await client.refused(task) == "unavailable"
        async with http.get(f"{url}/readyz") as response:
            assert response.status == 503
        async with http.get(f"{url}/api/tasks") as response:
            assert (await response.json())["tasks"] == []

        give_room(server, resource.RLIM_INFINITY)
        for client in clients:
            task = {"event": "task_created", "data": {"id": client.name}}
            taken.append((await client.accepted(task))["id"])
        async with http.get(f"{url}/readyz") as response:
            assert response.status == 200
        taken += await publish(http, url, {"event": "done"})
        for client in clients:
            # The same connections, and nothing that was refused is among it.
            logged = [e for e in await client.until("done") if is_logged(e)]
            assert [e["id"] for e in logged] == taken

        await server.kill()
        await server.start()
        late = await WebSocket.open(server.url, http, last=str(taken[0]))
        assert [e["id"] for e in await late.take(len(taken) - 1)] == taken[1:]
        for client in (*clients, late):
            await client.close()


# ---- readers that do not read ------------------------------------------------


def resident(server: ServerProcess) -> int:
    """Bytes of memory."""
    status = Path(f"/proc/{server.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) << 10


class Idle(ABC):
    """A reader that reads nothing but its greeting until it is told to."""

    def __init__(self, raw: Raw) -> None:
        self.raw = raw

    @abstractmethod
    async def next(self) -> Envelope:
        """The next envelope."""

    async def until(self, event: str) -> list[Envelope]:
        """Everything up to the next envelope with this event, and that one too."""
        found = [await self.next()]
        while found[-1]["event"] != event:
            found.append(await self.next())
        return found


class IdleWebSocket(Idle):
    async def next(self) -> Envelope:
        frame = await self.raw.frame()
        assert frame.opcode == TEXT, frame
        envelope: Envelope = json.loads(frame.payload)
        return envelope


class IdleStream(Idle):
    def __init__(self, raw: Raw) -> None:
        super().__init__(raw)
        self._read = bytearray()

    async def next(self) -> Envelope:
        while True:
            while (end := self._read.find(b"\n\n")) < 0:
                async with asyncio.timeout(LONG):
                    chunk = await self.raw.reader.read(1 << 16)
                assert chunk, "the stream has ended"
                self._read += chunk
            lines = bytes(self._read[:end]).split(b"\n")
            del self._read[: end + 2]
            if lines[-1].startswith(b"data: "):
                envelope: Envelope = json.loads(lines[-1][6:])
                return envelope


@asynccontextmanager
async def idle_readers(server: ServerProcess) -> AsyncIterator[list[Idle]]:
    """One of each kind, greeted."""
    raws = [await Raw.upgraded(server.port), await Raw.connect(server.port)]
    raws[1].send(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    await raws[1].head()
    readers: list[Idle] = [IdleWebSocket(raws[0]), IdleStream(raws[1])]
    try:
        for reader in readers:
            await reader.until("active_tasks")
        yield readers
    finally:
        for raw in raws:
            raw.abort()


BULK = "x" * (64 << 10)
AT_ONCE = 8


async def publish_bulk(
    http: aiohttp.ClientSession, server: ServerProcess, count: int
) -> AsyncIterator[int]:
    """Publish `count` events of 64 KiB; yields the server's memory as it goes."""
    for begin in range(0, count, AT_ONCE):
        bulk = ({"event": "bulk", "data": [begin + i, BULK]} for i in range(AT_ONCE))
        await publish(http, server.url, *bulk)
        yield resident(server)


def numbers(events: Sequence[Envelope]) -> list[int]:
    return [e["data"][0] for e in events if e["event"] == "bulk"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
async def test_who_does_not_read_costs_no_memory_and_misses_nothing(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    count = 96 * 2**20 // len(BULK)
    async with running(tmp_path, "--heartbeat=1h") as server:
        other = await WebSocket.open(server.url, http)
        before = most = resident(server)
        async with idle_readers(server) as readers, asyncio.TaskGroup() as group:
            reading = group.create_task(other.take(count))
            async for used in publish_bulk(http, server, count):
                most = max(most, used)
            assert numbers(await reading) == list(range(count))
            await publish(http, server.url, {"event": "done"})
            for reader in readers:
                assert numbers(await reader.until("done")) == list(range(count))
                most = max(most, resident(server))
        await other.close()
    assert most - before < 32 << 20


async def test_who_does_not_read_for_longer_than_retention_is_told(
    tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    count = 40 * 2**20 // len(BULK)
    flags = ("--heartbeat=1h", "--retention-bytes=4MiB")
    async with running(tmp_path, *flags) as server, idle_readers(server) as readers:
        await publish(http, server.url, {"event": "task_created", "data": {"id": 7}})
        async for _ in publish_bulk(http, server, count):
            pass
        for reader in readers:
            *events, resync = await reader.until("resync")
            assert resync["data"] == {"reason": "expired"}
            # What was on its way before is in order; then the rest is missing, and said to be.
            assert numbers(events) == list(range(len(events) - 1))
            assert len(events) - 1 < count
            board = await reader.next()
            assert board["event"] == "active_tasks"
            assert [task["id"] for task in board["data"]["tasks"]] == [7]
        (position,) = await publish(http, server.url, {"event": "after"})
        for reader in readers:
            assert (await reader.next())["id"] == position
