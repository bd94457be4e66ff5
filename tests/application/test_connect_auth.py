"""What a client tells of itself when it connects, and a `connect` handler gets as `auth`."""

from __future__ import annotations

import asyncio
import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from rtpush import Client, ConnectError, Server, SimpleClient

ADA = {"username": "Ada 💡", "scopes": ["a", {"b": None}]}
TRANSPORTS = ["websocket", "sse", "poll"]


class Door:
    """A server, and what its `connect` handler was given."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.auths: list[Any] = []
        self.queries: list[str] = []
        server.on("connect", self._connect)

    async def _connect(self, _sid: str, environ: dict[str, Any], auth: Any) -> None:
        self.auths.append(auth)
        self.queries.append(environ["QUERY_STRING"])


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    async with Server(port=0, log="memory:") as server:
        yield Door(server)


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        (ADA, ADA),
        (ADA | {"token": "t"}, ADA | {"token": "t"}),
        (lambda: ADA, ADA),
        ("t", {"token": "t"}),
        ({}, None),
        (None, None),
    ],
    ids=["an object", "with a token", "a function", "a token", "empty", "none"],
)
async def test_the_handler_gets_all_of_it(
    door: Door, transport: str, given: Any, told: Any
) -> None:
    client = Client()
    await client.connect(door.server.url, auth=given, transports=transport)
    await client.disconnect()
    assert door.auths == [told]
    # Servers and proxies log addresses.
    assert "Ada" not in door.queries[0]


async def test_a_function_is_asked_for_each_connection(door: Door) -> None:
    numbers = iter(range(10))
    client = Client()
    for _ in range(2):
        await client.connect(door.server.url, auth=lambda: {"n": next(numbers)})
        await client.disconnect()
    assert door.auths == [{"n": 0}, {"n": 1}]


async def test_a_simple_client(door: Door) -> None:
    def converse() -> None:
        with SimpleClient() as client:
            client.connect(door.server.url, auth=ADA)

    await asyncio.to_thread(converse)
    assert door.auths == [ADA]


async def test_a_browser_sends_it_as_a_subprotocol(door: Door) -> None:
    encoded = urlsafe_b64encode(json.dumps(ADA).encode()).rstrip(b"=").decode()
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(
            f"{door.server.url}ws", protocols=("rtpush", "bearer.t", f"auth.{encoded}")
        ) as ws,
    ):
        assert (await ws.receive_json())["event"] == "connect"
        assert ws.protocol == "rtpush"
    assert door.auths == [ADA | {"token": "t"}]


@pytest.mark.parametrize("odd", ["%", "W10", "bnVsbA", "eyJ", "é"])
async def test_what_is_no_object_is_refused(door: Door, odd: str) -> None:
    async with (
        aiohttp.ClientSession(headers={"Rtpush-Auth": odd}) as http,
        http.get(f"{door.server.url}poll") as answer,
    ):
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "bad_request"
    assert door.auths == []


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_more_than_two_kibibytes_are_refused_in_words(door: Door, transport: str) -> None:
    with pytest.raises(ConnectError, match="2048 bytes"):
        await Client().connect(
            door.server.url, auth={"x": "y" * 2041}, transports=transport, wait_timeout=20
        )
    client = Client()
    await client.connect(door.server.url, auth={"x": "y" * 2040, "token": "t" * 4000})
    await client.disconnect()
