"""Several arguments of one emit, and names that Socket.IO's programs use: server and client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import aiohttp
import pytest

import rtpush
from rtpush import Client, Server, SimpleClient


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server(port=0, log="memory:") as running:
        yield running


@pytest.fixture(params=["websocket", "sse", "poll"])
async def client(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Client]:
    connected = Client()
    await connected.connect(server.url, transports=request.param)
    yield connected
    await connected.disconnect()


async def within(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(20):
        return await awaitable


async def test_a_handler_gets_them_one_by_one(server: Server, client: Client) -> None:
    @server.on("pair")
    async def pair(_sid: str, a: int, b: list[int], c: Any = "none") -> tuple[Any, ...]:
        return a, b, c

    @server.on("*")
    async def rest(event: str, _sid: str, *args: Any) -> list[Any]:
        return [event, *args]

    assert await within(client.call("pair", (1, [2]))) == (1, [2], "none")
    # A list is one argument, as in python-socketio.
    assert await within(client.call("other", [1, 2])) == ["other", [1, 2]]
    assert await within(client.call("other", (1, 2))) == ["other", 1, 2]
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await client.emit("pair", (1, []), callback=lambda *args: answered.set_result(args))
    assert await within(answered) == (1, [], "none")


async def test_a_client_gets_them_one_by_one(server: Server, client: Client) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    events = client.events("pair")

    @client.on("pair")
    async def pair(a: int, b: int) -> tuple[int, int]:
        heard.put_nowait((a, b))
        return b, a

    await server.emit("pair", (1, 2))
    # A long-poll is not always connected.
    await server.emit("pair", (3, 4), volatile=client.transport() != "poll")
    assert [await within(heard.get()) for _ in range(2)] == [(1, 2), (3, 4)]
    assert (await within(anext(events))).data == (1, 2)
    assert client.sid is not None
    assert await within(server.call("pair", (5, 6), to=client.sid)) == (6, 5)
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    await server.emit(
        "pair", (7, 8), to=client.sid, callback=lambda *args: answered.set_result(args)
    )
    assert await within(answered) == (8, 7)


async def test_a_repeated_event_is_answered_with_several_values_again(server: Server) -> None:
    @server.on("pair")
    async def pair(_sid: str, *args: int) -> tuple[int, ...]:
        return args

    body = {"event": "pair", "data": [1, 2], "args": True, "idempotency_key": "k"}
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{server.url}poll") as answer:
            sid = (await answer.json())["events"][0]["data"]["sid"]
        for ack in (1, 2):
            post = http.post(f"{server.url}poll?sid={sid}", json={**body, "ack": ack})
            async with post as answer:
                assert await answer.json() == [{"ack": ack, "data": [1, 2], "args": True}]


async def test_a_simple_client(server: Server) -> None:
    simple = SimpleClient()

    def converse() -> list[Any]:
        with simple:
            simple.connect(server.url)
            simple.emit("pair", (1, [2]))
            simple.emit("error", {"message": "the application's own"})
            return [simple.receive(20), simple.receive(20)]

    assert await asyncio.to_thread(converse) == [
        ["pair", 1, [2]],
        ["error", {"message": "the application's own"}],
    ]


async def test_error_pong_and_heartbeat_are_names_like_any_other(
    server: Server, client: Client
) -> None:
    heard: asyncio.Queue[Any] = asyncio.Queue()
    for name in ("error", "pong", "heartbeat", "typing"):
        client.on(name, lambda data, name=name: heard.put_nowait((name, data)))
        await server.emit(name, 1)
        assert await within(heard.get()) == (name, 1)

    @server.on("error")
    async def error(_sid: str, data: Any) -> Any:
        return data

    assert await within(client.call("error", 5)) == 5
    with pytest.raises(rtpush.RtpushError, match="reserved_event"):
        await server.emit("error", volatile=True)
