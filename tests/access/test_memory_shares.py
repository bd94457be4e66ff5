"""Each sender has a share of the memory for what is not answered yet."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import aiohttp
import jwt
from clients import until
from frames import CONT, TEXT, Raw, frame
from hypothesis import given
from hypothesis import strategies as st

from rtpush.access.auth import hash_api_key
from rtpush.access.key_scope import CLIENTS, PUBLISHERS, scope_of_api_key, scope_of_subject
from rtpush.access.rate_limits import MemoryBudget, owners_of
from rtpush.server import Server

SECRET = "a secret of more than thirty-two bytes"
KIB = 1 << 10
ADDRESSES = ("203.0.113.7", "203.0.113.8", "203.0.113.9")
LIMITS: dict[str, Any] = {"port": 0, "log": "memory:", "max_body": 64 * KIB, "heartbeat": 60}


def bearer(subject: str) -> str:
    claims = {"sub": subject, "exp": time.time() + 60}
    return f"Authorization: Bearer {jwt.encode(claims, SECRET, 'HS256')}"


def post(path: str, *headers: str, size: int = 60 * KIB) -> bytes:
    """A request whose body lacks its end."""
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Length: 65536", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + b" " * size


def from_address(address: str) -> str:
    return f"X-Forwarded-For: {address}"


takers = st.tuples(st.sampled_from([*ADDRESSES, "127.0.0.1"]), st.sampled_from("ab") | st.none())


@given(st.lists(st.tuples(takers, st.integers(1, 40), st.booleans())))
def test_nobody_holds_more_than_a_share_and_all_is_given_back(steps: list[Any]) -> None:
    budget = MemoryBudget(100, 30)
    held: list[tuple[tuple[str, ...], int]] = []
    for (address, subject), size, gives_back in steps:
        owners = owners_of(address, CLIENTS if subject is None else scope_of_subject(subject))
        before = [sum(n for o, n in held if owner in o) for owner in owners]
        fits = budget.held + size <= 100 and all(n + size <= 30 for n in before)
        assert budget.take(owners, size) is fits
        if fits:
            held.append((owners, size))
        if gives_back and held:
            budget.give_back(*held.pop(0))
        assert budget.held == sum(size for _, size in held)
    for one in held:
        budget.give_back(*one)
    assert budget.held == 0
    assert not budget._by_owner


def test_those_without_a_name_of_their_own_have_no_share_of_one() -> None:
    assert owners_of("127.0.0.1", CLIENTS) == owners_of("::1", PUBLISHERS) == ()
    assert owners_of("2001:db8::1", CLIENTS) == owners_of("2001:db8::2", CLIENTS)
    assert len(owners_of("203.0.113.7", scope_of_api_key("k"))) == 2


async def test_a_subject_has_a_share_wherever_it_sends_from() -> None:
    async with Server(
        auth_secret=SECRET, trusted_proxies="127.0.0.1", max_message=64 * KIB, **LIMITS
    ) as server:
        budget = server._transport_context.body_reader.clients
        raws = []
        for address in ADDRESSES[:2]:
            raws.append(await Raw.upgraded(server.port, bearer("ada"), from_address(address)))
            raws[-1].send(frame(TEXT, b" " * 60 * KIB, fin=False))
            await until(lambda: budget.held == len(raws) * 60 * KIB)
        third = await Raw.upgraded(server.port, bearer("ada"), from_address(ADDRESSES[2]))
        third.send(frame(TEXT, b" " * 60 * KIB, fin=False))
        assert b"Too much is being sent" in await third.rest()
        other = await Raw.upgraded(server.port, bearer("bob"), from_address(ADDRESSES[2]))
        other.send(frame(TEXT, b" " * 60 * KIB, fin=False) + frame(CONT, b"", fin=False))
        await until(lambda: budget.held == 3 * 60 * KIB)
        for raw in (*raws, third, other):
            raw.abort()
        await until(lambda: budget.held == 0)


async def test_a_publisher_does_not_take_the_memory_of_another() -> None:
    async with (
        Server(api_keys=tuple(map(hash_api_key, "ab")), max_message=KIB, **LIMITS) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        budget = server._transport_context.body_reader.publishers
        raws = [await Raw.connect(server.port) for _ in range(5)]
        for count, raw in enumerate(raws[:4], 1):
            raw.send(post("/api/publish", "Authorization: Bearer a"))
            await until(lambda count=count: budget.held == count * 60 * KIB)
        raws[4].send(post("/api/publish", "Authorization: Bearer a"))
        assert (await raws[4].head()).startswith(b"HTTP/1.1 503 ")
        headers = {"Authorization": "Bearer b"}
        url = f"{server.url}api/publish"
        async with http.post(url, json={"event": "x"}, headers=headers) as answer:
            assert answer.status == 200
        for raw in raws:
            raw.abort()
        await until(lambda: budget.held == 0)


async def test_what_waits_for_a_handler_counts() -> None:
    server = Server(trusted_proxies="127.0.0.1", max_message=64 * KIB, **LIMITS)
    goes_on = asyncio.Event()

    @server.event
    async def slow(_sid: str, _data: Any) -> str:
        await goes_on.wait()
        return "done"

    async with server:
        budget = server._transport_context.body_reader.clients
        envelope = {"event": "slow", "ack": 1, "data": "*" * 60 * KIB}
        data = json.dumps(envelope).encode()
        raws = [await Raw.upgraded(server.port, from_address(ADDRESSES[0])) for _ in range(3)]
        for count, raw in enumerate(raws[:2], 1):
            raw.send(frame(TEXT, data))
            await until(lambda count=count: budget.held == count * len(data))
        raws[2].send(frame(TEXT, data))
        error = await reply(raws[2])
        assert (error["ack"], error["error"]["code"]) == (1, "unavailable")
        other = await Raw.upgraded(server.port, from_address(ADDRESSES[1]))
        other.send(frame(TEXT, data))
        await until(lambda: budget.held == 3 * len(data))
        goes_on.set()
        assert await reply(other) == {"ack": 1, "data": "done"}
        await until(lambda: budget.held == 0)
        for raw in (*raws, other):
            raw.abort()


async def reply(raw: Raw) -> dict[str, Any]:
    """The next reply on a connection."""
    while True:
        envelope: dict[str, Any] = json.loads((await raw.frame()).payload)
        if "ack" in envelope:
            return envelope
