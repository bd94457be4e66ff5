"""PROTOCOL.md, section 4: connecting, on every transport alike.

What only one transport has is in `test_4_websocket.py`, `test_4_sse.py` and
`test_4_longpoll.py`.
"""

from __future__ import annotations

import itertools
import json
import re
from typing import Any

import pytest
from clients import KINDS, Client, LongPoll, split
from sites import Site

import rtpush

EVERY_PATH = ("/ws", "/sse", "/poll")


async def test_the_first_envelope_is_connect(site: Site, kind: type[Client]) -> None:
    (position,) = await site.publish({"event": "x"})
    client = await site.open(kind, ["lobby", "大厅 🚪"])
    assert client.greeting[0] == {
        "event": "connect",
        "data": {
            "sid": client.sid,
            "protocol": 1,
            "server": f"rtpush/{rtpush.__version__}",
            "heartbeat": 25.0,
            "recovered": False,
            "position": position,
            "rooms": ["lobby", "大厅 🚪"],
        },
    }
    assert client.greeting[1:] == [
        {"event": "active_tasks", "id": position, "data": {"tasks": [], "finished": []}}
    ]


async def test_sid_is_128_random_bits(site: Site) -> None:
    sids = {(await site.open(kind)).sid for kind in KINDS for _ in range(5)}
    assert len(sids) == 15
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", sid) for sid in sids)


async def test_without_last_reading_begins_now(site: Site, kind: type[Client]) -> None:
    await site.emit(3)
    client = await site.open(kind)
    await site.publish({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["end"]


async def test_rooms_from_the_start(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a", "b"])
    events = [{"event": "x", "data": room, "room": room} for room in ("a", "b", "c")]
    await site.publish(*events, {"event": "end"})
    assert [e.get("room") for e in await client.until("end")] == ["a", "b", None]


async def test_a_room_named_twice_counts_once(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a", "a"])
    assert client.hello["rooms"] == ["a"]
    await site.publish({"event": "x", "room": "a"}, {"event": "end"})
    assert len(await client.until("end")) == 2


async def test_the_snapshot_is_of_everyone_and_of_the_clients_rooms(
    site: Site, kind: type[Client]
) -> None:
    rooms = (None, "a", "b", "c")
    for room in rooms:
        await site.publish({"event": "task_created", "data": {"id": f"in {room}"}, "room": room})
    client = await site.open(kind, ["a", "c"])
    ids = [task["id"] for task in client.greeting[1]["data"]["tasks"]]
    assert ids == ["in None", "in a", "in c"]


@pytest.mark.parametrize("back", KINDS, ids=lambda kind: f"back-by-{kind.name}")
async def test_recovered_over_any_mix_of_transports(
    site: Site, kind: type[Client], back: type[Client]
) -> None:
    client = await site.open(kind, ["a"])
    seen_ids = await site.emit(3) + await site.emit(2, room="a")
    seen = await client.take(5)
    await client.close()
    missed_ids = await site.emit(2, key="k") + await site.emit(3, room="a", key="k")
    await site.emit(4, room="b")

    again = await site.open(back, ["a"], client.position)
    assert again.hello["recovered"] is True
    assert again.hello["position"] == client.position
    assert again.hello["rooms"] == ["a"]
    assert len(again.greeting) == 1
    assert again.sid != client.sid
    missed = await again.take(5)
    live_ids = await site.publish({"event": "end"})
    live = await again.until("end")
    assert [e["id"] for e in seen + missed + live] == seen_ids + missed_ids + live_ids
    assert [e["data"] for e in missed] == [0, 1, 0, 1, 2], "what was missed is never conflated"


async def test_what_is_too_long_for_an_address_is_prepared(site: Site, kind: type[Client]) -> None:
    rooms = [f"{'комната' * 10}-{number}" for number in range(100)]

    async def prepare(**asked: Any) -> Any:
        return (await site.call("POST", "/session", json.dumps(asked)))[1]

    client = await site.open(kind, sid=(await prepare(rooms=rooms))["sid"])
    assert client.hello["rooms"] == rooms
    await site.emit(1, room=rooms[99])
    (seen,) = await client.take(1)
    await client.close()
    (missed_id,) = await site.emit(1, room=rooms[0])

    # The session goes on, or begins at the position: as with `sid` and `last` in an address.
    prepared = await prepare(rooms=rooms, last=seen["id"], sid=client.sid)
    again = await site.open(kind, sid=prepared["sid"])
    if kind is LongPoll:
        # A session that still lives is not greeted.
        again.sid = client.sid
    assert (again.sid, again.hello["recovered"]) == (client.sid, True)
    (missed,) = await again.take(1)
    assert missed["id"] == missed_id

    # Once, and what it asks for is checked at once.
    for path in EVERY_PATH:
        assert (await site.call("GET", path, **prepared))[0] == 503
    for asked, code in (
        ({"rooms": ["x" * 129]}, "bad_room"),
        ({"rooms": [*rooms, "more"]}, "too_many_rooms"),
        ({"last": "x"}, "bad_position"),
        ({"rooms": "x"}, "bad_request"),
        ({"rooms": ["x" * 300_000]}, "too_large"),
    ):
        assert (await prepare(**asked))["error"]["code"] == code


async def test_recovered_with_nothing_missed(site: Site, kind: type[Client]) -> None:
    await site.emit(3)
    last = (await site.get("/api/tasks"))["position"]
    client = await site.open(kind, last=last)
    assert client.hello["recovered"] is True
    await site.publish({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["end"]


async def test_recovered_after_more_than_one_write(site: Site, kind: type[Client]) -> None:
    """More events, and more bytes, than are read at a time; events arrive meanwhile."""
    start = (await site.get("/api/tasks"))["position"]
    for i in range(4):
        await site.publish(
            *({"event": "big", "data": f"{i}.{j}" + "x" * 3000} for j in range(100)),
        )
    await site.emit(1000)
    client = await site.open(kind, last=start)
    await site.publish({"event": "end"})
    seqs = [split(e["id"])[1] for e in await client.until("end")]
    assert seqs == list(range(1, 1402))


async def test_volatile_events_are_not_recovered(site: Site, kind: type[Client]) -> None:
    start = (await site.get("/api/tasks"))["position"]
    await site.publish({"event": "x"}, {"event": "gone", "volatile": True}, {"event": "end"})
    client = await site.open(kind, last=start)
    assert [e["event"] for e in await client.until("end")] == ["x", "end"]


NO_QUERIES = [
    ("conflate=2", "bad_request"),
    ("conflate=", "bad_request"),
    ("conflate=true", "bad_request"),
    ("room=", "bad_room"),
    ("room=a&room=" + "x" * 129, "bad_room"),
]


async def test_a_query_that_cannot_be_understood(site: Site, subtests: pytest.Subtests) -> None:
    for path, (query, code) in itertools.product(EVERY_PATH[1:], NO_QUERIES):
        with subtests.test(f"{path}?{query}"):
            status, answer, _ = await site.call("GET", f"{path}?{query}")
            assert (status, answer["error"]["code"]) == (400, code)
    assert await site.get("/api/connections") == {"connections": []}


async def test_once_is_0_or_1(site: Site) -> None:
    for given in ("2", "", "true"):
        status, answer, _ = await site.call("GET", f"/poll?once={given}")
        assert (status, answer["error"]["code"]) == (400, "bad_request"), given


@pytest.mark.parametrize("path", EVERY_PATH)
async def test_an_empty_last_is_no_last(site: Site, path: str) -> None:
    """As a form or a script writes it that has none yet."""
    if path == "/ws":
        async with site.http.ws_connect(f"{site.url}/ws?last=") as ws:
            hello = await ws.receive_json()
    elif path == "/sse":
        async with site.http.get(f"{site.url}/sse?last=") as response:
            while not (line := await response.content.readline()).startswith(b"data:"):
                assert line
            hello = json.loads(line[5:])
    else:
        hello = (await site.get("/poll", last=""))["events"][0]
    assert hello["event"] == "connect"
    assert hello["data"]["recovered"] is False
