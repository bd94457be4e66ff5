"""Claims that wait: in turn, bounded for each account, and none for a worker that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clients import until

from rtpush import Client, RtpushError, Server
from rtpush.application import claims as module
from rtpush.application.claims import Ask, Claims
from rtpush.application.leases import Leases
from rtpush.config.settings import Settings
from rtpush.log.accounts import account_of_client
from rtpush.log.entry import Draft, claimed
from rtpush.log.memory import MemoryLog
from rtpush.protocol import Envelope


@pytest.fixture
async def log() -> AsyncIterator[MemoryLog]:
    log = MemoryLog(Settings(log="memory:"))
    await log.open()
    yield log
    await log.close()


def desk(log: MemoryLog) -> Claims:
    claims = Claims(log, lambda: 0.0, Settings())
    log.on_grow = claims.offer
    return claims


async def create(log: MemoryLog, *ids: str, **fields: Any) -> None:
    await log.append([Draft.of(Envelope("task_created", {"id": one, **fields})) for one in ids])


def ask(worker: str, **fields: Any) -> Ask:
    return Ask(worker, wait=10.0, **fields)


async def waiting(claims: Claims, *asks: Ask) -> list[asyncio.Task[dict[str, Any]]]:
    before = len(claims._waiting)
    tasks = [asyncio.create_task(claims.claim(one)) for one in asks]
    await until(lambda: len(claims._waiting) == before + len(asks))
    return tasks


async def test_those_that_wait_have_their_turn(log: MemoryLog) -> None:
    claims = desk(log)
    gone = [False]
    first, left, cancelled, last = await waiting(
        claims,
        ask("first", queues=("other", "default")),
        ask("left", gone=lambda: gone[0]),
        ask("cancelled"),
        ask("last"),
    )
    gone[0] = True
    cancelled.cancel()
    await create(log, "a", "b", "c")
    given = [(await one)["task"] for one in (first, left, last)]
    assert [task and task["id"] for task in given] == ["a", None, "b"]
    assert (await claims.claim(Ask("now")))["task"]["id"] == "c"
    assert await claims.claim(Ask("late")) == {"task": None}


async def test_a_worker_that_goes_while_its_claim_is_stored_gives_the_task_back(
    log: MemoryLog,
) -> None:
    claims = desk(log)
    asked = iter([False, True])
    await create(log, "a")
    assert await claims.claim(Ask("gone", gone=lambda: next(asked))) == {"task": None}
    answer = await claims.claim(Ask("next", wait=10.0))
    assert (answer["task"]["id"], answer["attempt"], "lost" in answer["task"]) == ("a", 2, False)


async def test_an_account_has_its_share_of_claims_that_wait(
    log: MemoryLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 20)
    claims = desk(log)
    mallory, ann = account_of_client("mallory"), account_of_client("ann")
    tasks = await waiting(claims, *[ask("w", account=mallory) for _ in range(2)])
    with pytest.raises(RtpushError, match="rate_limited"):
        await claims.claim(ask("w", account=mallory))
    tasks += await waiting(claims, *[ask("w", account=ann) for _ in range(2)])
    claims.stop()
    for one in tasks:
        with pytest.raises(RtpushError, match="going_away"):
            await one


async def test_without_tokens_an_application_keeps_the_tasks_of_its_rooms() -> None:
    server = Server(port=0, log="memory:")
    server.on("connect", lambda sid, environ, auth: None)
    async with server, Client() as client:
        await server.emit("task_created", {"id": "private"}, room="attic")
        await server.emit("task_created", {"id": "public"})
        await client.connect(server.url)
        assert (await client.call("task_claim"))["task"]["id"] == "public"
        assert await client.call("task_claim") == {"task": None}
        with pytest.raises(RtpushError, match="forbidden"):
            await client.call("task_progress", {"id": "private"}, room="attic")


async def test_a_lease_ends_unless_something_is_heard(log: MemoryLog) -> None:
    leases, queues = Leases(30.0), log.board.index.queues
    await create(log, "a", "b")
    for task in list(queues.waiting(["default"], rooms=True)):
        await log.append([claimed(task, "w")])
    held = queues.claimed
    assert leases.look(held, 0.0) == []
    assert {task.key for task in leases.look(held, 10.0)} == {"a", "b"}
    leases.renew(["a", "unknown"], 10.0)
    assert leases.ended(held, 29.0) == []
    assert [task.key for task in leases.ended(held, 30.0)] == ["b"]
    progress = Envelope("task_progress", {"id": "b", "attempt": 1})
    await log.append([Draft.of(progress)])
    # It came while the workers were asked for.
    assert leases.ended(held, 30.0) == []
    assert [task.key for task in leases.look(held, 30.0)] == ["a"]
    assert [task.key for task in leases.ended(held, 40.0)] == ["a"]
