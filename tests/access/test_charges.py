"""Each sender is charged for what it makes the server keep, and for nothing of another's."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import jwt
import pytest
from clients import Client, LongPoll, Sse, WebSocket

from rtpush.access.auth import OPEN, Grant, hash_api_key
from rtpush.access.charges import charge_client, charge_publisher
from rtpush.access.key_scope import PUBLISHERS, scope_of_api_key, scope_of_subject
from rtpush.log.accounts import APPLICATION, LOCAL_CLIENTS, is_client
from rtpush.log.idempotency import IdempotencyKeys
from rtpush.server import Server

SECRET = "a secret of more than thirty-two bytes"
KEY = "rtpk_of_a_test"


def token(subject: str | None, **claims: Any) -> str:
    named = {} if subject is None else {"sub": subject}
    return jwt.encode({**named, "exp": time.time() + 60, **claims}, SECRET, "HS256")


@asynccontextmanager
async def running(**settings: Any) -> AsyncIterator[tuple[Server, str, aiohttp.ClientSession]]:
    async with (
        Server(port=0, log="memory:", **settings) as server,
        aiohttp.ClientSession(trust_env=False) as http,
    ):
        yield server, server.url.rstrip("/"), http


@pytest.fixture(params=[WebSocket, Sse, LongPoll], ids=lambda kind: kind.name)
def kind(request: pytest.FixtureRequest) -> type[Client]:
    found: type[Client] = request.param
    return found


def test_which_account_is_charged() -> None:
    ada = Grant(subject="ada")
    assert charge_client(ada, "203.0.113.7") == charge_client(ada, "127.0.0.1")
    assert charge_client(ada, "203.0.113.7") != charge_client(Grant("ben"), "203.0.113.7")
    nobody = Grant()
    assert charge_client(nobody, "203.0.113.7") != charge_client(nobody, "203.0.113.8")
    assert charge_client(OPEN, "2001:db8::1") == charge_client(OPEN, "2001:db8::ffff:2")
    assert charge_client(OPEN, "2001:db8::1") != charge_client(OPEN, "2001:db8:0:1::1")
    assert {charge_client(OPEN, a) for a in ("127.0.0.1", "::1", "127.0.0.9")} == {LOCAL_CLIENTS}


def test_a_right_to_publish_makes_a_publisher() -> None:
    by_api = charge_publisher(scope_of_subject("op"))
    assert charge_client(Grant("op", publish=True), "203.0.113.7") == by_api
    assert charge_client(Grant(publish=True), "203.0.113.7") == APPLICATION
    assert charge_publisher(PUBLISHERS) == APPLICATION
    assert charge_publisher(scope_of_api_key("a")) != charge_publisher(scope_of_api_key("b"))
    assert not any(map(is_client, (by_api, APPLICATION, charge_publisher(scope_of_api_key("a")))))
    assert is_client(charge_client(OPEN, "127.0.0.1"))


async def test_nobody_pays_for_the_keys_of_a_client(kind: type[Client]) -> None:
    async with running(auth_secret=SECRET, api_keys=(hash_api_key(KEY),)) as (server, url, http):
        server._log._seen = IdempotencyKeys(40)  # type: ignore[attr-defined]

        async def publish() -> str:
            headers = {"Authorization": f"Bearer {KEY}"}
            event = {"event": "paid", "idempotency_key": "paid-17"}
            async with http.post(f"{url}/api/publish", json=event, headers=headers) as answer:
                return str((await answer.json())["id"])

        good = await kind.open(url, http, token=token("good"))
        event = {"event": "order", "idempotency_key": "order-1"}
        first, paid = await good.accepted(event), await publish()
        attackers = [await kind.open(url, http, token=token(f"evil{n}")) for n in range(10)]
        for attacker in attackers:
            for number in range(6):
                await attacker.accepted({"event": "x", "idempotency_key": str(number)})
        assert await publish() == paid
        assert await good.accepted(event) == first
        for client in (good, *attackers):
            await client.close()


def created(id_: str, size: int = 0) -> dict[str, Any]:
    return {"event": "task_created", "data": {"id": id_, "text": "*" * size}}


async def test_one_subject_does_not_fill_the_board(kind: type[Client]) -> None:
    settings = {"auth_secret": SECRET, "api_keys": (hash_api_key(KEY),), "max_tasks": 20}
    async with running(**settings) as (server, url, http):
        evil = [await kind.open(url, http, token=token("evil")) for _ in range(2)]
        for client in evil:
            await client.accepted(created(client.sid))
        for client in evil:
            error = (await client.request(created("more")))["error"]
            assert error["code"] == "board_full"
            assert error["message"].endswith("as many as one client may: end some first.")
        good = await kind.open(url, http, token=token("good"))
        await good.accepted(created("good"))
        await good.accepted(created("good too"))
        await evil[0].accepted({"event": "task_completed", "data": {"id": evil[0].sid}})
        await evil[1].accepted(created("again"))
        for client in (*evil, good):
            await client.close()
        assert server._log.board.shares.all.number == 4


async def test_one_address_does_not_fill_the_board() -> None:
    async with running(trusted_proxies="127.0.0.1", max_tasks=20) as (_, url, _http):

        async def client(address: str) -> Client:
            headers = {"X-Forwarded-For": address}
            sessions.append(aiohttp.ClientSession(trust_env=False, headers=headers))
            return await LongPoll.open(url, sessions[-1])

        sessions: list[aiohttp.ClientSession] = []
        for number in range(9):
            for n, suffix in enumerate("abc"):
                # Another connection, out of the same IPv6 network.
                one = await client(f"2001:db8:0:{number}::{suffix}")
                if n < 2:
                    await one.accepted(created(one.sid))
                else:
                    assert await one.refused(created(one.sid)) == "board_full"
        last = await client("203.0.113.9")
        assert await last.refused(created("last")) == "board_full", "clients have nine tenths"
        for session in sessions:
            await session.close()


async def test_one_address_does_not_use_up_the_share_of_another() -> None:
    async with running(trusted_proxies="127.0.0.1", max_board=2 << 20) as (server, url, _http):
        sessions = [
            aiohttp.ClientSession(trust_env=False, headers={"X-Forwarded-For": f"203.0.113.{n}"})
            for n in range(2)
        ]
        good, evil = [await LongPoll.open(url, session) for session in sessions]
        for name in "ab":
            await good.accepted(created(name))
        grow = {"event": "task_progress", "data": {"id": "a", "junk": "*" * 600_000}}
        await evil.accepted(grow)
        assert await evil.refused(created("evil", 600_000)) == "board_full"
        await good.accepted(created("c", 900_000))
        assert server._log.board.shares.all.number == 3
        for session in sessions:
            await session.close()


async def test_a_developers_own_clients_leave_the_application_its_tenth() -> None:
    async with running(max_tasks=20) as (_, url, http):
        clients = [await WebSocket.open(url, http) for _ in range(2)]
        for number in range(18):
            await clients[number % 2].accepted(created(str(number)))
        assert await clients[0].refused(created("18")) == "board_full"
        async with http.post(f"{url}/api/publish", json=created("18")) as answer:
            assert answer.status == 200
        for client in clients:
            await client.close()
