"""PROTOCOL.md, section 6: the task board."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from clients import Client, until
from processes import pause
from sites import Site

from rtpush.log.entry import Draft
from rtpush.protocol import Envelope

SERVER_FIELDS = ("status", "owner", "lost", "createdAt", "startedAt", "cancelAt", "endTime")


def created(id: Any, **fields: Any) -> dict[str, Any]:
    return {"event": "task_created", "data": {"id": id, **fields}}


def progress(id: Any, **fields: Any) -> dict[str, Any]:
    return {"event": "task_progress", "data": {"id": id, **fields}}


async def board(site: Site, kind: type[Client], rooms: list[str] | None = None) -> dict[str, Any]:
    """What a client is shown that connects now, without what the server itself says of tasks."""
    data = await stamped_board(site, kind, rooms)
    return {name: [said(task) for task in data[name]] for name in ("tasks", "finished")}


def said(task: dict[str, Any]) -> dict[str, Any]:
    """A task without what the server itself says of it."""
    return {name: task[name] for name in task if name not in SERVER_FIELDS}


async def stamped_board(
    site: Site, kind: type[Client], rooms: list[str] | None = None
) -> dict[str, Any]:
    """What a client is shown that connects now."""
    client = await site.open(kind, rooms or [])
    snapshot = client.greeting[-1]
    assert snapshot["event"] == "active_tasks"
    assert snapshot["id"] == (await site.get("/api/tasks"))["position"]
    data: dict[str, Any] = snapshot["data"]
    return data


async def test_a_task_is_told_to_everyone_and_kept(site: Site, kind: type[Client]) -> None:
    sender, other = await site.open(kind), await site.open(kind)
    task = {"id": 7, "formData": {"prompt": "a lake"}, "mode": "landscape", "startTime": 1}
    await sender.accepted({"event": "task_created", "data": task})
    for client in (sender, other):
        (event,) = await client.take(1)
        assert (event["event"], event["data"]) == ("task_created", task)
        assert "key" not in event
    assert await board(site, kind) == {"tasks": [task], "finished": []}


async def test_an_active_id_cannot_be_taken(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, mode="first"))
    assert await client.refused(created("1", mode="second")) == "task_exists"
    await site.publish({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["task_created", "end"]
    assert (await board(site, kind))["tasks"] == [{"id": 1, "mode": "first"}]


async def test_progress_is_merged_and_keyed(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, mode="m"))
    await client.accepted(progress("1", progress=40, message="hills", serverTaskId="s"))
    await client.accepted(progress(1, progress=41.5, message=None))
    events = await client.take(3)
    assert [e.get("key") for e in events] == [None, "1", "1"]
    assert (await board(site, kind))["tasks"] == [
        {"id": 1, "mode": "m", "progress": 41.5, "message": None, "serverTaskId": "s"}
    ]


async def test_a_key_of_ones_own_is_kept(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted(progress(1, progress=1) | {"key": "mine"})
    (event,) = await client.take(1)
    assert event["key"] == "mine"


async def test_what_is_appended_is_told_and_the_whole_is_kept(
    site: Site, kind: type[Client]
) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, lines=["a"]))
    await client.take(1)
    for append in ({"text": "Once "}, {"text": "upon", "lines": ["b", "c"]}):
        await client.accepted(progress("1", append=append) | {"key": "mine"})
        (event,) = await client.take(1)
        assert event["data"] == {"id": "1", "append": append}
        assert "key" not in event
    shown = {"id": 1, "lines": ["a", "b", "c"], "text": "Once upon"}
    assert (await board(site, kind))["tasks"] == [shown]


NO_GROWTH: list[Any] = [
    "more",
    {"text": 1},
    {"mode": ["more"]},
    {"number": "1"},
    {"set": "more"},
    {"id": "more"},
    {"room": "more"},
    {"progress": "1"},
    {"append": "more"},
]


async def test_what_cannot_be_appended(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, mode="m", number=1))
    for append in NO_GROWTH:
        with subtests.test(repr(append)):
            assert await client.refused(progress(1, set="", append=append)) == "bad_task"
    assert (await board(site, kind))["tasks"] == [{"id": 1, "mode": "m", "number": 1}]


async def test_progress_of_an_unknown_task_creates_it(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted(progress("new", progress=5))
    assert (await board(site, kind))["tasks"] == [{"id": "new", "progress": 5}]


@pytest.mark.parametrize(
    ("event", "status", "field"),
    [
        ("task_completed", "completed", "result"),
        ("task_failed", "failed", "error"),
        ("task_cancelled", "cancelled", "reason"),
    ],
)
async def test_a_task_ends_once(
    site: Site, kind: type[Client], event: str, status: str, field: str
) -> None:
    client = await site.open(kind)
    await client.accepted(created(1))
    end = {"event": event, "data": {"id": 1, field: "so"}}
    await client.accepted(end)
    for late in (end, progress(1, progress=9), progress("1")):
        assert await client.refused(late) == "task_finished"
    await site.publish({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["task_created", event, "end"]
    shown = await stamped_board(site, kind)
    (finished,) = shown["finished"]
    assert shown["tasks"] == []
    assert finished.pop("endTime") >= finished.pop("createdAt") > 1_600_000_000_000
    assert finished == {"id": 1, field: "so", "status": status}


async def test_the_states_of_a_task(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)

    async def shown() -> dict[str, Any]:
        ((task,), _) = (await stamped_board(site, kind)).values()
        return dict(task)

    await client.accepted(created(1, status="forged", createdAt=1, startedAt=1, endTime=1))
    (event,) = await client.take(1)
    assert event["data"] == {"id": 1}
    queued = await shown()
    assert queued["status"] == "queued"
    assert set(queued) == {"id", "status", "createdAt"}
    await client.accepted(progress(1, progress=5))
    running = await shown()
    assert (running["status"], running["createdAt"]) == ("running", queued["createdAt"])
    assert running["startedAt"] >= running["createdAt"] > 1_600_000_000_000
    await client.accepted({"event": "task_cancel", "data": {"id": 1, "reason": "enough"}})
    cancelling = await shown()
    assert (cancelling["status"], cancelling["reason"]) == ("cancelling", "enough")
    assert await client.refused(progress(1, progress=6)) == "task_cancelling"
    await client.accepted({"event": "task_cancelled", "data": {"id": 1}})
    names = [event["event"] for event in await client.until("task_cancelled")]
    assert names == ["task_progress", "task_cancel", "task_cancelled"]


async def test_a_task_that_nobody_began_ends_with_its_cancel(
    site: Site, kind: type[Client]
) -> None:
    client = await site.open(kind, ["a"])
    await client.accepted(created(1) | {"room": "a"})
    cancel = {"event": "task_cancel", "data": {"id": 1, "reason": "enough"}, "room": "a"}
    await client.accepted(cancel)
    end = (await client.until("task_cancelled"))[-1]
    assert (end["data"], end["room"]) == ({"id": 1, "reason": "enough"}, "a")
    assert await client.refused(cancel) == "task_finished"
    unknown = {"event": "task_cancel", "data": {"id": "unknown"}}
    assert await client.refused(unknown) == "not_found"


@pytest.mark.one_node
@pytest.mark.settings(cancel_timeout=60)
async def test_the_server_ends_what_its_worker_does_not(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    await site.publish(*({**event, "room": "a"} for event in (created(1), progress(1))))
    await site.publish({"event": "task_cancel", "data": {"id": 1}, "room": "a"})
    (task,) = site.server._log.board.all_active()
    site.server._end_cancelled(task.time + 59)
    assert site.server._log.board.is_active("1")
    site.server._end_cancelled(task.time + 61)
    end = (await client.until("task_cancelled"))[-1]
    assert (end["data"], end["room"]) == ({"id": 1}, "a")
    assert await client.refused(progress(1, progress=9) | {"room": "a"}) == "task_finished"


# ---- workers -----------------------------------------------------------------


def claim(**fields: Any) -> dict[str, Any]:
    return {"event": "task_claim", "data": fields}


async def test_a_claim_gives_the_oldest_task_of_its_queues_to_one_worker(
    site: Site, kind: type[Client]
) -> None:
    watcher, one, other = [await site.open(kind, ["a"]) for _ in range(3)]
    await site.publish(created(1, queue="big"), created(2, worker="me"), created(3) | {"room": "a"})
    assert await one.accepted(claim(queues=["none"])) == {"task": None}
    claims = [one.accepted(claim(worker="gpu", queues=["default", "big"])), other.accepted(claim())]
    given, last = await asyncio.gather(*claims)
    assert await other.accepted(claim(wait=0.01)) == {"task": None}
    assert {given["task"]["id"], last["task"]["id"]} in ({1, 3}, {3})
    shown = (await site.get("/api/tasks/1")) if given["task"]["id"] == 1 else given["task"]
    assert given["task"] == shown
    assert (shown["status"], shown["worker"], shown["attempt"]) == ("running", "gpu", 1)
    assert given["expires"] > shown["startedAt"] >= shown["createdAt"]
    told = (await watcher.until("task_claimed"))[-1]["data"]
    assert told in (
        {"id": 1, "worker": "gpu", "attempt": 1},
        {"id": 3, "worker": "worker", "attempt": 1},
    )


async def test_a_claim_waits_for_a_task_beside_what_its_client_sends(
    site: Site, kind: type[Client]
) -> None:
    worker = await site.open(kind)
    waiting = asyncio.create_task(worker_claims(worker))
    await site.publish(created(1) | {"room": "of others"})
    answer = await waiting
    assert (answer["task"]["id"], answer["task"]["room"]) == (1, "of others")


async def test_claims_that_wait_end_with_one_that_names_no_queue(
    site: Site, kind: type[Client]
) -> None:
    worker = await site.open(kind)
    waiting = asyncio.create_task(worker.accepted(claim(wait=25)))
    while not waiting.done():
        await worker_says_no_more(worker)
    assert await waiting == {"task": None}
    await site.publish(created(1))
    assert (await site.get("/api/tasks/1"))["status"] == "queued"


async def worker_says_no_more(worker: Client) -> None:
    """Beside what the client waits for: on a WebSocket, and by a POST of its own."""
    await asyncio.wait([asyncio.create_task(worker.send(claim(queues=[]) | {"ack": "x"}))])
    await pause()


async def worker_claims(worker: Client) -> dict[str, Any]:
    """Claim, with something sent behind it where the transport has no answers of POSTs."""
    if worker.name == "websocket":
        await worker.send(claim(wait=10) | {"ack": "claim"})
        await worker.accepted({"event": "hello"})
        data: dict[str, Any] = (await worker.reply("claim"))["data"]
        return data
    found: dict[str, Any] = await worker.accepted(claim(wait=10))
    return found


async def test_only_the_attempt_that_has_a_task_speaks_for_it(
    site: Site, kind: type[Client]
) -> None:
    worker = await site.open(kind)
    await site.publish(created(1))
    await worker.accepted(claim())
    assert await worker.refused(progress(1)) == "claim_lost"
    assert await worker.refused(progress(1, attempt=2)) == "claim_lost"
    await worker.accepted(progress(1, attempt=1, progress=5, append={"text": "half"}))
    back = {"event": "task_requeued", "data": {"id": 1, "attempt": 1, "lost": 7}}
    await worker.accepted(back)
    assert await worker.refused(progress(1, attempt=1)) == "claim_lost"
    told = (await worker.until("task_requeued"))[-1]["data"]
    emptied = {"text": None, "worker": None, "startedAt": None, "progress": 0}
    assert told == {"id": 1, "attempt": 1, **emptied}
    (queued,) = (await stamped_board(site, kind))["tasks"]
    assert queued | emptied == queued
    assert (queued["status"], "lost" in queued) == ("queued", False)
    again = await worker.accepted(claim())
    assert again["attempt"] == 2
    await worker.accepted(progress(1, attempt=2, append={"text": "anew"}))
    assert await worker.refused({"event": "task_completed", "data": {"id": 1}}) == "claim_lost"
    await worker.accepted({"event": "task_completed", "data": {"id": 1, "attempt": 2}})
    (finished,) = (await stamped_board(site, kind))["finished"]
    assert (finished["text"], finished["status"]) == ("anew", "completed")


@pytest.mark.one_node
@pytest.mark.settings(claim_lease=30, max_attempts=2)
async def test_a_claim_ends_with_its_worker_and_not_while_that_is_connected(
    site: Site, kind: type[Client]
) -> None:
    worker, watcher = await site.open(kind), await site.open(kind)
    await site.publish(created(1))
    await worker.accepted(claim())
    await worker.accepted(progress(1, attempt=1))
    leases = site.server._leases
    for now in (0, 21, 42, 63):
        await leases.tick(now)
    await worker.close()
    await until(lambda: len(site.server._hub.sessions) == 1 or kind.name == "poll")
    site.server._hub.sessions.pop(worker.sid, None)
    for now in (84, 92):
        await leases.tick(now)
    assert not (await site.get("/api/tasks"))["tasks"][0].get("lost")
    await leases.tick(94)
    told = (await watcher.until("task_requeued"))[-1]["data"]
    assert (told["id"], told["attempt"], told["lost"]) == (1, 1, 1)
    # One that has not reported the attempt is not known to be at work.
    answer = await watcher.accepted(claim())
    assert (answer["attempt"], answer["task"]["lost"]) == (2, 1)
    await leases.tick(100)
    await leases.tick(131)
    end = (await watcher.until("task_failed"))[-1]["data"]
    assert end == {"id": 1, "attempt": 2, "error": "worker_lost"}


NO_CLAIMS = [
    {"queues": "default"},
    {"queues": [""]},
    {"queues": ["a"] * 101},
    {"wait": 26},
    {"wait": True},
    {"worker": 1},
    "default",
]


async def test_a_claim_that_cannot_be_understood(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    client = await site.open(kind)
    for data in NO_CLAIMS:
        with subtests.test(repr(data)):
            assert await client.refused({"event": "task_claim", "data": data}) == "bad_request"


async def test_places_and_times_are_told_and_are_in_snapshots(
    site: Site, kind: type[Client]
) -> None:
    client, other = await site.open(kind, ["a"]), await site.open(kind)
    for done in range(3):
        end = {"event": "task_completed", "data": {"id": done}}
        await site.publish(created(done), progress(done), end)
    await site.publish(created("running"), progress("running"))
    await site.publish(created("next"), created("last") | {"room": "a"}, created("x", queue="new"))
    told: dict[str, Any] = {}
    while len(told) < 3 or told["next"]["eta"] is None:
        event = (await client.until("task_estimates"))[-1]
        assert "id" not in event
        told |= {task["id"]: task for task in event["data"]["tasks"]}
    assert [told[key]["place"] for key in ("next", "last", "x")] == [1, 2, 1]
    assert told["x"]["eta"] is None
    assert told["last"]["eta"] >= told["next"]["eta"] > 1_600_000_000_000
    # Each node has its own second.
    while "estimates" not in (shown := await stamped_board(site, kind, ["a"])):
        await pause()
    assert {task["id"] for task in shown["estimates"]} >= {"next", "last", "x"}
    assert "last" not in str(other.received)


async def test_an_ended_task_makes_way_for_one_that_is_created(
    site: Site, kind: type[Client]
) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, mode="first", progress=5))
    await client.accepted({"event": "task_completed", "data": {"id": 1, "result": "old"}})
    await client.accepted({"event": "task_completed", "data": {"id": 2}})
    await client.accepted(created("1", mode="second"))
    assert await client.refused(created(1)) == "task_exists"
    shown = await board(site, kind)
    assert shown["tasks"] == [{"id": "1", "mode": "second"}]
    assert [task["id"] for task in shown["finished"]] == [2]
    await client.accepted({"event": "task_failed", "data": {"id": 1, "error": "new"}})
    shown = await board(site, kind)
    assert [(task["id"], task.get("error")) for task in shown["finished"]] == [
        ("1", "new"),
        (2, None),
    ]
    finished = (await site.get("/api/tasks"))["finished"]
    assert [(task["id"], task["status"]) for task in finished] == [
        ("1", "failed"),
        (2, "completed"),
    ]


async def test_a_percent_string_is_a_number(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    for given, number in (("45%", 45), ("45", 45), ("0.5%", 0.5), ("100%", 100), ("0%", 0)):
        await client.accepted(progress(1, progress=given))
        (event,) = await client.take(1)
        assert event["data"] == {"id": 1, "progress": number}, given
        assert (await board(site, kind))["tasks"] == [{"id": 1, "progress": number}]


async def test_an_unknown_task_can_end(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted({"event": "task_completed", "data": {"id": "unseen"}})
    assert [task["id"] for task in (await board(site, kind))["finished"]] == ["unseen"]


async def test_the_order_of_the_board(site: Site, kind: type[Client]) -> None:
    await site.publish(*(created(i) for i in range(4)), progress(0, progress=1))
    await site.publish(*({"event": "task_failed", "data": {"id": i}} for i in (3, 1)))
    shown = await board(site, kind)
    assert [task["id"] for task in shown["tasks"]] == [0, 2], "oldest first"
    assert [task["id"] for task in shown["finished"]] == [1, 3], "newest first"


NO_TASKS: list[Any] = [
    None,
    [],
    {},
    {"id": None},
    {"id": ""},
    {"id": "x" * 129},
    {"id": True},
    {"id": 1.5},
    {"id": 2**53 + 1},
    {"id": 1, "progress": -1},
    {"id": 1, "progress": 100.1},
    {"id": 1, "progress": "half"},
    {"id": 1, "progress": "101%"},
    {"id": 1, "progress": "-1%"},
    {"id": 1, "progress": "4e1%"},
    {"id": 1, "progress": "%"},
    {"id": 1, "progress": ""},
    {"id": 1, "progress": None},
    {"id": 1, "progress": True},
]


async def test_data_that_is_no_task(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for data in NO_TASKS:
        with subtests.test(repr(data)):
            client = await site.open(kind)
            for event in ("task_created", "task_progress", "task_completed", "task_failed"):
                assert await client.refused({"event": event, "data": data}) == "bad_task"
            assert await board(site, kind) == {"tasks": [], "finished": []}


async def test_ids_that_are_fit(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    ids = ["x" * 128, "1", "日本", 2**53, -(2**53), 0]
    for id_ in ids:
        await client.accepted(created(id_, progress=0))
        await client.accepted(progress(id_, progress=100))
    assert (await board(site, kind))["tasks"] == [{"id": id_, "progress": 100} for id_ in ids]


async def test_a_task_with_a_room_is_seen_only_there(site: Site, kind: type[Client]) -> None:
    inside, outside = await site.open(kind, ["a"]), await site.open(kind, ["b"])
    await inside.accepted(created(1) | {"room": "a"})
    # Its later events carry the same room.
    for wrong in ({}, {"room": "b"}):
        assert await outside.refused(progress(1, progress=1) | wrong) == "bad_task"
    await inside.accepted(progress(1, progress=1) | {"room": "a"})
    await site.publish({"event": "end"})
    assert [e["event"] for e in await outside.until("end")] == ["end"]
    assert len(await inside.until("end")) == 3
    assert (await board(site, kind, ["a"]))["tasks"] == [{"id": 1, "progress": 1, "room": "a"}]
    assert (await board(site, kind, ["b"]))["tasks"] == []


async def test_a_field_called_room_says_nothing(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted(created(1, room="forged"))
    assert (await board(site, kind))["tasks"] == [{"id": 1}]


@pytest.mark.one_node
@pytest.mark.settings(task_ttl=60)
async def test_a_silent_task_expires(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    await site.publish(created(1) | {"room": "a"})
    site.server._fail_expired(site.server._log.board.all_active()[0].time + 61)
    expired = (await client.until("task_failed"))[-1]
    assert expired["data"] == {"id": "1", "error": "expired"}
    assert expired["room"] == "a"
    (finished,) = (await stamped_board(site, kind, ["a"]))["finished"]
    assert (finished["id"], finished["status"]) == (1, "failed")


@pytest.mark.one_node
@pytest.mark.settings(finished_for=600)
async def test_what_ended_long_ago_is_told_no_more(site: Site, kind: type[Client]) -> None:
    await site.publish({"event": "task_completed", "data": {"id": 1}})
    task = site.server._log.board.all_finished(0)[0]
    assert site.server._log.board.all_finished(task.time + 600) == [task]
    assert site.server._log.board.all_finished(task.time + 601) == []


async def test_snapshot_and_later_events_are_the_whole_truth(
    site: Site, kind: type[Client]
) -> None:
    """Clients that come in the middle of it all end with the same board."""
    late = []
    for i in range(30):
        await site.publish(created(i), progress(i // 2, progress=i) if i % 3 else created(f"x{i}"))
        if i % 10 == 5:
            late.append(await site.open(kind))
    await site.publish({"event": "end"})
    truth = [said(task) for task in (await site.get("/api/tasks"))["tasks"]]
    for client in late:
        tasks = {str(task["id"]): said(task) for task in client.greeting[-1]["data"]["tasks"]}
        for event in (await client.until("end"))[:-1]:
            if "id" not in event:
                # A heartbeat, where that took long.
                continue
            key = str(event["data"]["id"])
            tasks[key] = tasks.get(key, {}) | event["data"]
        assert list(tasks.values()) == truth


async def test_a_large_board_is_one_envelope_at_one_position(
    site: Site, kind: type[Client]
) -> None:
    text = "x" * 1000
    await site.publish(*(created(i, text=text) for i in range(300)))
    await site.publish(*(created(f"r{i}", text=text) | {"room": "r"} for i in range(100)))
    ended = [{"event": "task_completed", "data": {"id": i, "result": text}} for i in range(100)]
    await site.publish(*ended)
    client = await site.open(kind, ["r"])
    first, second = client.greeting[-1], await board(site, kind)
    assert [task["id"] for task in first["data"]["tasks"]] == [
        *range(100, 300),
        *(f"r{i}" for i in range(100)),
    ]
    assert [task["id"] for task in first["data"]["finished"]] == [*reversed(range(100))]
    assert [task["id"] for task in second["tasks"]] == [*range(100, 300)]
    # It goes on behind it, and a room's part is as large.
    await site.publish({"event": "end"})
    assert [event["event"] for event in await client.until("end")] == ["end"]
    other = await site.open(kind)
    await other.send({"event": "join", "data": {"room": "r"}, "ack": 1})
    (part,) = [e for e in await other.until("active_tasks") if e.get("event") == "active_tasks"]
    assert part["room"] == "r"
    assert [task["id"] for task in part["data"]["tasks"]] == [f"r{i}" for i in range(100)]


@pytest.mark.one_node
async def test_the_board_outlives_a_restart(site: Site, kind: type[Client]) -> None:
    await site.publish(created(1, mode="m"), created(2))
    await site.publish({"event": "task_failed", "data": {"id": 2, "error": "e"}})
    before = await site.get("/api/tasks")
    await site.restart()
    if site.settings.log == "memory:":
        assert await board(site, kind) == {"tasks": [], "finished": []}
        return
    assert await site.get("/api/tasks") == before
    draft = Draft.of(Envelope("task_progress", {"id": 2, "progress": 1}))
    (outcome,) = await site.server._log.append([draft])
    assert getattr(outcome, "code", None) == "task_finished"
