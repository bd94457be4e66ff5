"""PROTOCOL.md, section 4: what is particular to long-poll."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from clients import PATIENCE, LongPoll, Sse, WebSocket
from processes import pause
from sites import Site


async def poll(site: Site, **query: Any) -> tuple[list[dict[str, Any]], str]:
    answer = await site.get("/poll", **query)
    assert set(answer) == {"events", "last"}
    return answer["events"], answer["last"]


async def waiting(site: Site, **query: Any) -> asyncio.Task[tuple[list[dict[str, Any]], str]]:
    """A poll that the server has begun to wait on: its session is listed as moved."""
    task = asyncio.create_task(poll(site, **query))
    # One exchange on another connection: the request before it has been read by then.
    for _ in range(3):
        await site.get("/healthz")
    assert not task.done()
    return task


async def test_without_last_it_answers_at_once(site: Site) -> None:
    (position,) = await site.emit(1)
    events, last = await poll(site)
    assert [e["event"] for e in events] == ["connect", "active_tasks"]
    assert last == position


async def test_it_answers_as_soon_as_there_is_something_newer(site: Site) -> None:
    client = await site.open(LongPoll)
    task = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    ids = await site.emit(1)
    events, last = await asyncio.wait_for(task, PATIENCE)
    assert [e["id"] for e in events] == ids == [last]


async def test_it_answers_at_once_when_there_is_something_newer(site: Site) -> None:
    client = await site.open(LongPoll)
    ids = await site.emit(3)
    events, last = await poll(site, sid=client.sid, last=client.position, timeout=55)
    assert [e["id"] for e in events] == ids
    assert last == ids[-1]


async def test_a_read_of_a_known_session_opens_no_other(site: Site) -> None:
    client = await site.open(LongPoll)
    for sid, expected in ((client.sid, 200), ("unknown", 404)):
        query = {"sid": sid, "last": client.position, "timeout": 0, "known": 1}
        status, _, _ = await site.call("GET", "/poll", **query)
        assert status == expected


async def test_a_rooms_board_comes_again_until_its_answer_is_confirmed(site: Site) -> None:
    # Too large for the answer to the `join`.
    task = {"event": "task_created", "data": {"id": 1, "text": "x" * 40_000}, "room": "r"}
    await site.publish(task)
    client = await site.open(LongPoll)
    query = {"sid": client.sid, "last": client.position, "timeout": 0}
    await client.post('{"event": "join", "data": {"room": "r"}}')
    lost = await site.get("/poll", **query)
    again = await site.get("/poll", **query)
    assert [one["room"] for one in again["events"]] == ["r"]
    assert again["events"][0]["data"] == lost["events"][0]["data"]
    assert again["last"] == client.position
    assert lost["receipt"] != again["receipt"]
    late = await site.get("/poll", **query, receipt=lost["receipt"])
    assert [one["room"] for one in late["events"]] == ["r"]
    query["receipt"] = late["receipt"]
    assert await site.get("/poll", **query) == {"events": [], "last": client.position}


async def test_a_client_without_receipts_is_not_given_a_board_without_end(site: Site) -> None:
    task = {"event": "task_created", "data": {"id": 1, "text": "x" * 40_000}, "room": "r"}
    await site.publish(task)
    client = await site.open(LongPoll)
    await client.post('{"event": "join", "data": {"room": "r"}}')
    query = {"sid": client.sid, "last": client.position, "timeout": 0}
    for _ in range(4):
        assert len((await site.get("/poll", **query))["events"]) == 1
    assert await site.get("/poll", **query) == {"events": [], "last": client.position}


async def test_an_event_of_another_room_does_not_answer_but_moves_last(site: Site) -> None:
    client = await site.open(LongPoll)
    (elsewhere,) = await site.emit(1, room="elsewhere")
    events, last = await poll(site, sid=client.sid, last=client.position, timeout=0)
    assert (events, last) == ([], elsewhere)


@pytest.mark.parametrize("seconds", ["0", "0.05"])
async def test_no_events_when_the_time_is_up(site: Site, seconds: str) -> None:
    client = await site.open(LongPoll)
    events, last = await poll(site, sid=client.sid, last=client.position, timeout=seconds)
    assert (events, last) == ([], client.position)


@pytest.mark.settings(poll_timeout=0.1)
async def test_the_time_when_the_client_names_none(site: Site) -> None:
    client = await site.open(LongPoll)
    assert await poll(site, sid=client.sid, last=client.position) == ([], client.position)


async def test_a_timeout_is_from_0_to_55(site: Site) -> None:
    for seconds in ("-1", "56", "x", "", "nan", "inf", "1e9"):
        status, answer, _ = await site.call("GET", "/poll", timeout=seconds)
        assert (status, answer["error"]["code"]) == (400, "bad_request"), seconds


async def test_the_same_last_gives_the_same_events(site: Site) -> None:
    client = await site.open(LongPoll)
    first_ids = await site.emit(3)
    first = await poll(site, sid=client.sid, last=client.position)
    assert await poll(site, sid=client.sid, last=client.position) == first
    more_ids = await site.emit(2, key="k")
    events, last = await poll(site, sid=client.sid, last=client.position)
    assert [e["id"] for e in events] == first_ids + more_ids
    assert last == more_ids[-1]
    # Going back after having gone on is no different.
    await poll(site, sid=client.sid, last=last, timeout=0)
    assert await poll(site, sid=client.sid, last=client.position) == (events, last)


@pytest.mark.one_node
async def test_a_second_request_ends_the_first(site: Site) -> None:
    client = await site.open(LongPoll)
    first = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    second = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    assert await asyncio.wait_for(first, PATIENCE) == ([], client.position)
    ids = await site.emit(1)
    events, _ = await asyncio.wait_for(second, PATIENCE)
    assert [e["id"] for e in events] == ids


async def test_a_client_that_gives_up_waiting_misses_nothing(site: Site) -> None:
    client = await site.open(LongPoll)
    first = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    ids = await site.emit(2)
    events, _ = await poll(site, sid=client.sid, last=client.position)
    assert [e["id"] for e in events] == ids


async def test_an_unknown_sid_becomes_a_new_session_at_once(site: Site) -> None:
    client = await site.open(LongPoll, ["a"])
    ids = await site.emit(2) + await site.emit(1, room="a")
    query = {"last": client.position, "room": "a", "timeout": 55}
    events, last = await poll(site, sid="gone", **query)
    hello = events[0]
    assert hello["event"] == "connect"
    assert hello["data"]["recovered"] is True
    assert hello["data"]["sid"] not in ("gone", client.sid)
    assert hello["data"]["rooms"] == ["a"]
    if len(events) == 1:
        # "then what was missed": in this answer or the next.
        events, last = await poll(site, **(query | {"sid": hello["data"]["sid"], "last": last}))
    else:
        events = events[1:]
    assert [e["id"] for e in events] == ids
    assert last == ids[-1]


async def test_an_unknown_sid_with_nothing_missed_answers_at_once_too(site: Site) -> None:
    client = await site.open(LongPoll)
    events, last = await poll(site, sid="gone", last=client.position, timeout=55)
    assert [e["event"] for e in events] == ["connect"]
    assert events[0]["data"]["recovered"] is True
    assert last == client.position


async def test_a_session_moves_here_from_another_transport(site: Site) -> None:
    other = await site.open(WebSocket)
    events, last = await poll(site, sid=other.sid, last=other.position, timeout=0)
    assert events[0]["data"]["sid"] == other.sid
    assert events[0]["data"]["recovered"] is True
    assert await other.ended() == 1000
    (id_,) = await site.emit(1)
    events, _ = await poll(site, sid=other.sid, last=last)
    assert [e["id"] for e in events] == [id_]


async def test_with_last_and_no_sid_it_is_a_new_session(site: Site) -> None:
    client = await site.open(LongPoll)
    (missed,) = await site.emit(1)
    events, last = await poll(site, last=client.position)
    assert events[0]["event"] == "connect"
    assert events[0]["data"]["recovered"] is True
    sid = events[0]["data"]["sid"]
    found = [one["sid"] for one in (await site.get("/api/connections"))["connections"]]
    assert sorted(found) == sorted([client.sid, sid])
    if len(events) == 1:
        events, _ = await poll(site, sid=sid, last=last)
    assert events[-1]["id"] == missed


@pytest.mark.parametrize("last", [None, "known", "none-0"])
async def test_a_session_that_is_for_one_answer(site: Site, last: str | None) -> None:
    start = (await site.get("/api/tasks"))["position"]
    await site.publish({"event": "task_created", "data": {"id": 1}})
    query = {} if last is None else {"last": start if last == "known" else last}
    events, _ = await poll(site, once=1, **query)
    assert [e["event"] for e in events if e["event"] != "task_created"] == {
        None: ["connect", "active_tasks"],
        "known": ["connect"],
        "none-0": ["connect", "resync", "active_tasks"],
    }[last]
    assert await site.get("/api/connections") == {"connections": []}


@pytest.mark.settings(session_lease=1, heartbeat=1)
async def test_a_session_without_requests_ends(site: Site) -> None:
    client = await site.open(LongPoll)
    async with asyncio.timeout(PATIENCE):
        while (await site.get("/api/connections"))["connections"]:
            await pause()
    status, answer, _ = await site.call("POST", "/poll", '{"event":"ping"}', sid=client.sid)
    assert (status, answer["error"]["code"]) == (404, "not_found")
    ids = await site.emit(1)
    again = await site.open(LongPoll, last=client.position)
    assert again.hello["recovered"] is True
    # The new session may have ended, too, when the client asks again.
    assert [e["id"] for e in await again.until("tick") if "id" in e] == ids


@pytest.mark.one_node
@pytest.mark.settings(session_lease=1, heartbeat=1)
async def test_a_session_does_not_end_while_its_request_waits(site: Site) -> None:
    client = await site.open(LongPoll)
    task = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    # When a session that began later has ended, this one's time is up, too.
    other = await site.open(LongPoll)
    async with asyncio.timeout(PATIENCE):
        while other.sid in site.server._hub.sessions:
            await site.get("/healthz")
    (id_,) = await site.emit(1)
    events, _ = await asyncio.wait_for(task, PATIENCE)
    assert [e["id"] for e in events] == [id_]


async def test_after_a_restart_the_client_goes_on(site: Site) -> None:
    client = await site.open(LongPoll, ["a"])
    ids = await site.emit(2, room="a")
    await site.restart()
    events, last = await poll(site, sid=client.sid, last=client.position, room="a", timeout=0)
    assert events[0]["event"] == "connect"
    if site.settings.log == "memory:":
        assert [e["event"] for e in events] == ["connect", "resync", "active_tasks"]
        assert events[1]["data"] == {"reason": "epoch"}
        return
    assert events[0]["data"]["recovered"] is True
    if len(events) == 1:
        events += (await poll(site, sid=events[0]["data"]["sid"], last=last, timeout=0))[0]
    assert [e["id"] for e in events[1:]] == ids


async def test_volatile_events_reach_a_request_that_waits(site: Site) -> None:
    client = await site.open(LongPoll)
    task = await waiting(site, sid=client.sid, last=client.position, timeout=55)
    async with asyncio.timeout(PATIENCE):
        while not task.done():
            await site.publish({"event": "now", "data": 1, "volatile": True})
    events, last = await task
    assert events[0] == {"event": "now", "data": 1}
    assert last == client.position


@pytest.mark.parametrize("kind", [LongPoll, Sse])
async def test_a_client_says_goodbye(site: Site, kind: type[LongPoll | Sse]) -> None:
    client = await site.open(kind)
    envelope = {"event": "last words", "ack": 1}
    body = json.dumps([envelope])
    status, answers, _ = await site.call("POST", "/poll", body, sid=client.sid, close="1")
    assert (status, answers[0]["ack"]) == (200, 1)
    assert (await site.get("/api/connections"))["connections"] == []
    status, answer, _ = await site.call("POST", "/poll", "[]", sid=client.sid)
    assert (status, answer["error"]["code"]) == (404, "not_found")
