"""What a client may send, and for how long it may keep a connection without sending anything."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace

import aiohttp
import pytest
from clients import PATIENCE, LongPoll, WebSocket, until
from frames import PING, Raw, frame
from hypothesis import given
from hypothesis import strategies as st

from rtpush.access.rate_limits import BURST, RateLimit
from rtpush.config.settings import Settings
from rtpush.server import Server
from rtpush.transports import listener, slow_requests

# ---- the bucket --------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 30), st.integers(0, 200)), max_size=50))
def test_nobody_is_let_more_than_the_rate_and_the_burst(steps: list[tuple[float, int]]) -> None:
    """A client that always waits as told never gets ahead of its rate by more than a burst."""
    rate, now, taken = 10.0, 0.0, 0
    allowance = RateLimit(rate, 1e9, now)
    for pause, count in steps:
        now += pause
        taken += count
        now += allowance.charge(count, 0, now)
        assert taken <= rate * (now + BURST) + 1e-6


@given(st.lists(st.floats(0.1, 5), max_size=50))
def test_who_keeps_to_the_rate_never_waits(pauses: list[float]) -> None:
    now = 0.0
    allowance = RateLimit(10.0, 1000.0, now)
    for pause in pauses:
        now += pause
        assert allowance.charge(int(10 * pause), int(1000 * pause), now) == 0.0


# ---- a connection ------------------------------------------------------------


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(trust_env=False) as session:
        yield session


def running(**settings: object) -> Server:
    return Server(Settings(port=0, log="memory:", **settings))  # type: ignore[arg-type]


async def test_a_websocket_that_sends_too_much_is_read_slowly_and_loses_nothing(
    http: aiohttp.ClientSession,
) -> None:
    async with running(rate_messages=1000) as server:
        sender = await WebSocket.open(server.url.rstrip("/"), http)
        for i in range(10_200):
            await sender.send({"event": "tick", "data": i})
        (connection,) = server._transport_context.connections
        found = await sender.take(10_200)
        assert [e["data"] for e in found] == list(range(10_200))
        # The last of them had to wait: what was taken was more than a burst.
        assert await sender.accepted({"event": "ping"}) is None
        assert connection._throttled or server._log.last == 10_200
        await sender.close()


async def test_a_flood_of_control_frames_counts(http: aiohttp.ClientSession) -> None:
    async with running(rate_bytes=4096) as server:
        raw = await Raw.upgraded(server.port)
        raw.send(frame(PING, b"*" * 125) * 320)
        (connection,) = server._transport_context.connections
        await until(lambda: connection._reading_paused)
        raw.abort()


async def test_posts_beyond_the_rate_are_refused(http: aiohttp.ClientSession) -> None:
    async with running(rate_messages=10) as server:
        url = server.url.rstrip("/")
        client = await LongPoll.open(url, http)
        assert isinstance(client, LongPoll)
        assert len(await client.post(json.dumps([{"event": "ping"}] * 200))) == 200
        async with http.post(f"{url}/poll", params={"sid": client.sid}, data="{}") as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["code"] == "rate_limited"
            assert int(answer.headers["Retry-After"]) == 10
        other = await LongPoll.open(url, http)
        assert await other.accepted({"event": "ping"}) is None


@pytest.mark.parametrize("path", ["/ws", "/sse?last=-", "/poll", "/session"])
async def test_requests_count_against_their_address(http: aiohttp.ClientSession, path: str) -> None:
    async with running(rate_messages=1, trusted_proxies=("127.0.0.1",)) as server:

        async def ask(address: str) -> tuple[int, int]:
            headers = {"X-Forwarded-For": address}
            url, method = f"{server.url.rstrip('/')}{path}", "GET"
            if path == "/session":
                method = "POST"
            async with http.request(method, url, headers=headers) as answer:
                return answer.status, int(answer.headers.get("Retry-After", "0"))

        # Twenty envelopes at once.
        statuses = [await ask("203.0.113.7") for _ in range(25)]
        assert {status for status, _ in statuses[:4]} <= {200, 400, 426}
        assert statuses[-1] == (429, 1)
        assert (await ask("203.0.113.8"))[0] == statuses[0][0]
        assert (await ask("127.0.0.1"))[0] == statuses[0][0]


async def test_an_address_has_its_share_however_many_connections(
    http: aiohttp.ClientSession,
) -> None:
    async with running(rate_messages=6, trusted_proxies=("127.0.0.1",)) as server:
        url = server.url.rstrip("/")

        async def connect(address: str) -> str:
            headers = {"X-Forwarded-For": address}
            async with http.get(f"{url}/poll", headers=headers) as answer:
                return str((await answer.json())["events"][0]["data"]["sid"])

        async def send(address: str, sid: str, count: int) -> int:
            headers = {"X-Forwarded-For": address}
            body = json.dumps([{"event": "ping"}] * count)
            for _ in range(2):
                async with http.post(
                    f"{url}/poll", params={"sid": sid}, data=body, headers=headers
                ) as answer:
                    status = answer.status
            return status

        # Each connection within its own rate, and together beyond that of one address.
        sids = [await connect("203.0.113.7") for _ in range(12)]
        statuses = [await send("203.0.113.7", sid, 25) for sid in sids]
        assert (statuses[0], statuses[-1]) == (200, 429)
        assert await send("203.0.113.8", await connect("203.0.113.8"), 25) == 200


async def test_a_head_that_does_not_end_is_cut() -> None:
    async with running(request_timeout=1) as server:
        slow = await Raw.connect(server.port)
        slow.send(b"GET / HTTP/1.1\r\nX-Slow: ")
        assert await slow.rest() == b""
        slow.abort()


HEALTH = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.fixture
async def kept() -> AsyncIterator[tuple[Server, list[Raw]]]:
    """Connections that made a request each, one after the other."""
    async with running() as server:
        raws = []
        for _ in range(3):
            raws.append(await Raw.connect(server.port))
            await ask_again(raws[-1])
            await asyncio.sleep(0)
        yield server, raws
        for raw in raws:
            raw.abort()


async def ask_again(raw: Raw) -> None:
    raw.send(HEALTH)
    assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
    await raw.reader.readuntil(b"}\n")


def shift(server: Server, monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Let the server look at its connections as it would after so long."""
    assert server._door is not None
    begin = time.monotonic()
    for one in (0.0, *seconds):
        clock = SimpleNamespace(monotonic=lambda one=one: begin + one)
        monkeypatch.setattr(listener, "time", clock)
        server._door.tick()


async def test_a_connection_is_kept_for_longer_than_balancers_keep_theirs(
    kept: tuple[Server, list[Raw]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, (first, second, _) = kept
    shift(server, monkeypatch, 61)
    await ask_again(first)
    shift(server, monkeypatch, 61, 76)
    assert await second.rest() == b""


async def test_only_so_many_connections_are_kept_for_long(
    kept: tuple[Server, list[Raw]], monkeypatch: pytest.MonkeyPatch
) -> None:
    server, raws = kept
    monkeypatch.setattr(slow_requests, "MAX_KEPT", 2)
    shift(server, monkeypatch, 19)
    for raw in raws:
        await ask_again(raw)
    shift(server, monkeypatch, 1, 22)
    cut = [asyncio.create_task(raw.rest()) for raw in raws]
    done, others = await asyncio.wait(cut, return_when=asyncio.FIRST_COMPLETED)
    assert len(done) == 1
    for task in others:
        task.cancel()


async def test_a_body_that_does_not_come_is_refused(http: aiohttp.ClientSession) -> None:
    async with running(request_timeout=1) as server:
        slow = await Raw.connect(server.port)
        slow.send(b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 20\r\n\r\n{")
        assert (await slow.head()).startswith(b"HTTP/1.1 408 ")
        assert b'"request_timeout"' in await slow.reader.readuntil(b"}\n")
        slow.abort()


async def test_waiting_for_events_is_no_slow_request(http: aiohttp.ClientSession) -> None:
    async with running(request_timeout=1) as server:
        url = server.url.rstrip("/")
        client = await LongPoll.open(url, http)
        quiet = {"sid": client.sid, "last": str(client.position), "timeout": "2.5"}
        async with http.get(f"{url}/poll", params=quiet) as answer:
            assert (await answer.json())["events"] == []


async def test_bodies_have_a_bound_together(http: aiohttp.ClientSession) -> None:
    async with running(max_body=2**16, max_message=2**16) as server:
        head = b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 65536\r\n\r\n"
        raws = [await Raw.connect(server.port) for _ in range(9)]
        for raw in raws:
            raw.send(head + b" " * 60_000)
        async with asyncio.timeout(PATIENCE):
            done, _ = await asyncio.wait(
                [asyncio.create_task(raw.head()) for raw in raws],
                return_when=asyncio.FIRST_COMPLETED,
            )
        assert [task.result()[:13] for task in done] == [b"HTTP/1.1 503 "]
        for raw in raws:
            raw.abort()
        async with http.post(f"{server.url}api/publish", json={"event": "x"}) as answer:
            assert answer.status == 200


PART = b"Content-Length: 65536\r\n\r\n" + b" " * 60_000


def post_of(address: str, path: str) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Forwarded-For: {address}\r\n"
    return head.encode() + PART


async def test_no_client_takes_the_memory_of_another_or_of_publishers(
    http: aiohttp.ClientSession,
) -> None:
    limits = {"max_body": 2**16, "max_message": 2**16}
    async with running(trusted_proxies=("127.0.0.1",), insecure=True, **limits) as server:
        url = server.url.rstrip("/")

        async def sid_of(address: str) -> str:
            async with http.get(f"{url}/poll", headers={"X-Forwarded-For": address}) as answer:
                return str((await answer.json())["events"][0]["data"]["sid"])

        budget = server._transport_context.body_reader.clients
        raws = []
        for address in ("203.0.113.7", "203.0.113.8", "203.0.113.9", "203.0.113.10"):
            sid = await sid_of(address)
            for _ in range(2):
                before, raw = budget.held, await Raw.connect(server.port)
                raws.append(raw)
                raw.send(post_of(address, f"/poll?sid={sid}"))
                await until(lambda before=before: budget.held == before + 60_000)
            third = await Raw.connect(server.port)
            raws.append(third)
            third.send(post_of(address, f"/poll?sid={sid}"))
            assert (await third.head()).startswith(b"HTTP/1.1 503 ")
            await until(lambda before=before: budget.held == before + 60_000)
        body = {"event": "x", "data": "*" * 50_000}
        async with http.post(f"{url}/api/publish", json=body) as answer:
            assert answer.status == 200
        for raw in raws:
            raw.abort()
        await until(lambda: budget.held == 0)


async def test_readers_without_a_session_count_as_connections(http: aiohttp.ClientSession) -> None:
    async with running(max_connections=2) as server:
        raws = [await Raw.connect(server.port) for _ in range(3)]
        request = (
            f"GET /poll?last={server._log.position} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
        )
        for raw in raws[:2]:
            raw.send(request)
        await until(lambda: sum(len(group.sessions) for group in server._hub.groups) == 2)
        raws[2].send(request)
        assert (await raws[2].head()).startswith(b"HTTP/1.1 503 ")
        for raw in raws:
            raw.abort()


async def test_the_board_has_limits(http: aiohttp.ClientSession) -> None:
    async with running(max_tasks=1, max_task=1024) as server:
        client = await WebSocket.open(server.url.rstrip("/"), http)
        large = {"id": 1, "text": "*" * 1024}
        assert await client.refused({"event": "task_created", "data": large}) == "task_too_large"
        await client.accepted({"event": "task_created", "data": {"id": 1}})
        assert await client.refused({"event": "task_created", "data": {"id": 2}}) == "board_full"
        await client.close()
