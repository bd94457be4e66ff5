"""PROTOCOL.md, section 5: what a client sends."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from clients import KINDS, Client, LongPoll, Sse, WebSocket
from sites import Site

RESERVED = ["connect", "connect_error", "disconnect", "active_tasks", "resync"]


async def test_ping_is_answered_with_the_same_data(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for data in (None, 7, "你好 👋", {"a": [1]}, False):
        with subtests.test(repr(data)):
            client = await site.open(kind)
            await client.send({"event": "ping", "data": data})
            assert await client.next() == {"event": "pong", "data": data}
            assert await client.request({"event": "ping", "data": data}) == {"ack": 1, "data": None}
            assert await client.next() == {"event": "pong", "data": data}
            assert (await site.get("/api/history"))["events"] == []


async def test_join_enters_a_room(site: Site, kind: type[Client]) -> None:
    await site.publish({"event": "task_created", "data": {"id": 1}, "room": "a"})
    await site.publish({"event": "task_created", "data": {"id": 2}})
    await site.emit(3, room="a")
    client = await site.open(kind)
    assert await client.accepted({"event": "join", "data": {"room": "a"}}) == {"room": "a"}
    snapshot = await client.next()
    board = await site.get("/api/tasks")
    assert snapshot == {
        "event": "active_tasks",
        "room": "a",
        "id": board["position"],
        "data": {"tasks": [task for task in board["tasks"] if task["id"] == 1], "finished": []},
    }
    assert snapshot["data"]["tasks"][0].items() >= {"id": 1, "room": "a"}.items()
    await site.publish({"event": "x", "room": "a"}, {"event": "end"})
    # Nothing of the room from before the join.
    assert [e["event"] for e in await client.until("end")] == ["x", "end"]


async def test_leave_leaves_it(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a", "b"])
    before = await site.emit(2, room="a")
    assert await client.accepted({"event": "leave", "data": {"room": "a"}}) == {"room": "a"}
    await site.emit(2, room="a")
    after = await site.emit(1, room="b")
    await site.publish({"event": "end"})
    seen = [e["id"] for e in await client.until("end")][:-1]
    if kind is not LongPoll:
        assert seen == before + after
    else:
        # It read after it had left: the room's events are no longer its.
        assert seen == after


async def test_joining_and_leaving_twice_is_no_error(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    for event in ("leave", "join", "join", "leave", "leave"):
        assert await client.accepted({"event": event, "data": {"room": "a"}}) == {"room": "a"}
    snapshots = await client.take(2)
    assert [e["event"] for e in snapshots] == ["active_tasks"] * 2
    await site.publish({"event": "x", "room": "a"}, {"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["end"]


async def test_a_second_stay_begins_with_the_second_join(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted({"event": "join", "data": {"room": "a"}})
    (first,) = await site.emit(1, room="a")
    if kind is not LongPoll:
        assert (await client.until("tick"))[-1]["id"] == first
    await client.accepted({"event": "leave", "data": {"room": "a"}})
    await site.emit(2, room="a")
    await client.accepted({"event": "join", "data": {"room": "a"}})
    (last,) = await site.emit(1, room="a")
    await site.publish({"event": "end"})
    told = [e["id"] for e in await client.until("end") if e["event"] == "tick"]
    assert told == [last]


async def test_joining_amid_a_stream_of_events_misses_and_repeats_none(
    site: Site, kind: type[Client]
) -> None:
    """The room's snapshot names the point from which on its events come."""
    client = await site.open(kind)
    speaker = await site.open(WebSocket)
    for i in range(50):
        await speaker.send({"event": "said", "data": i, "room": "a"})
    await client.send({"event": "join", "data": {"room": "a"}, "ack": "joined"})
    for i in range(50, 100):
        await speaker.send({"event": "said", "data": i, "room": "a"})
    await speaker.accepted({"event": "end"})
    told = await client.until("end")
    (snapshot,) = [e for e in client.received if e.get("room") == "a" and e["event"] != "said"]
    heard = [e["id"] for e in told if e.get("event") == "said"]
    history = await site.get("/api/history", room="a", after=snapshot["id"], limit=1000)
    assert heard == [e["id"] for e in history["events"]]


NO_ROOMS: list[Any] = [{}, {"room": ""}, {"room": 7}, {"room": "x" * 129}, [], 7]


async def test_a_room_needs_a_name(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for event, data in itertools.product(("join", "leave"), NO_ROOMS):
        with subtests.test(f"{event} {data!r}"):
            client = await site.open(kind)
            assert await client.refused({"event": event, "data": data}) == "bad_room"


async def test_many_rooms(site: Site) -> None:
    rooms = [f"room {i}" for i in range(100)]
    clients = [await site.open(kind, rooms[i::3]) for i, kind in enumerate(KINDS)]
    await site.publish(*({"event": "x", "room": room} for room in rooms), {"event": "end"})
    for i, client in enumerate(clients):
        heard = [e["room"] for e in await client.until("end") if e["event"] == "x"]
        assert heard == rooms[i::3]


async def test_auth_is_refused_without_authentication(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    assert await client.refused({"event": "auth", "data": {"token": "t"}}) == "forbidden"


async def test_what_only_the_server_says(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for event in RESERVED:
        with subtests.test(repr(event)):
            client = await site.open(kind)
            assert await client.refused({"event": event}) == "reserved_event"
            assert await client.refused({"event": event, "volatile": True}) == "reserved_event"
            status, answer, _ = await site.call("POST", "/api/publish", f'{{"event":"{event}"}}')
            assert (status, answer["error"]["code"]) == (403, "reserved_event")


async def test_names_that_the_server_says_without_an_id(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for event in ("error", "pong", "heartbeat"):
        with subtests.test(event):
            client = await site.open(kind)
            reply = await client.accepted({"event": event, "data": 1})
            assert await client.next() == {"event": event, "data": 1, "id": reply["id"]}
            assert await client.refused({"event": event, "volatile": True}) == "reserved_event"
            body = f'{{"event":"{event}","volatile":true}}'
            status, answer, _ = await site.call("POST", "/api/publish", body)
            assert (status, answer["error"]["code"]) == (403, "reserved_event")


async def test_any_other_event_goes_to_everyone_the_sender_included(
    site: Site, kind: type[Client]
) -> None:
    sender = await site.open(kind)
    others = [await site.open(other) for other in KINDS]
    stored = await sender.accepted({"event": "said", "data": "大家好 👋"})
    for client in (sender, *others):
        assert await client.next() == {"event": "said", "data": "大家好 👋", "id": stored["id"]}


async def test_one_need_not_be_in_a_room_to_send_to_it(site: Site, kind: type[Client]) -> None:
    sender = await site.open(kind)
    member = await site.open(WebSocket, ["a"])
    await sender.accepted({"event": "said", "room": "a"})
    assert (await member.next())["room"] == "a"
    await site.publish({"event": "end"})
    assert [e["event"] for e in await sender.until("end")] == ["end"]


async def test_an_ack_means_stored(site: Site, kind: type[Client]) -> None:
    """What is acknowledged is in the log by then."""
    client = await site.open(kind)
    for i in range(20):
        stored = await client.accepted({"event": "said", "data": i})
        history = await site.get("/api/history", limit=1000)
        assert history["events"][-1]["id"] == stored["id"]


async def test_acks_come_in_order_and_once(site: Site) -> None:
    client = await site.open(WebSocket)
    for i in range(200):
        await client.send({"event": "said", "data": i, "ack": i})
    await client.reply(199)
    replies = [e for e in client.received if "ack" in e]
    events = [e for e in client.received if e.get("event") == "said"]
    assert [e["ack"] for e in replies] == list(range(200))
    assert [e["data"] for e in events] == list(range(200))
    assert [e["data"]["id"] for e in replies] == [e["id"] for e in events]


async def test_without_ack_there_is_no_reply(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.send({"event": "said"})
    await client.send({"event": "leave", "data": {"room": "a"}})
    await client.send({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["said", "end"]


@pytest.mark.settings(relay=("chat_*", "note"))
async def test_relay_says_what_clients_may_send(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted({"event": "chat_message"})
    await client.accepted({"event": "note"})
    await client.accepted({"event": "task_created", "data": {"id": 1}})
    await client.accepted({"event": "ping"})
    for event in ("notes", "CHAT_message", "other"):
        assert await client.refused({"event": event}) == "forbidden"
        assert await client.refused({"event": event, "volatile": True}) == "forbidden"
    # Publishers are not clients.
    await site.publish({"event": "other"})


@pytest.mark.settings(relay=())
async def test_relay_may_be_nothing(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    assert await client.refused({"event": "said"}) == "forbidden"


@pytest.mark.parametrize("kind", [WebSocket, Sse], ids=lambda kind: kind.name)
@pytest.mark.one_node
async def test_volatile_events_reach_those_who_are_connected(
    site: Site, kind: type[Client]
) -> None:
    sender = await site.open(kind)
    member = await site.open(kind, ["a"])
    assert await sender.accepted({"event": "now", "data": "✨", "volatile": True}) is None
    assert await sender.accepted({"event": "here", "room": "a", "volatile": True}) is None
    await site.publish({"event": "end"})
    assert (await member.until("end"))[:-1] == [
        {"event": "now", "data": "✨"},
        {"event": "here", "data": None, "room": "a"},
    ]
    assert [e["event"] for e in await sender.until("end")] == ["now", "end"]
    history = await site.get("/api/history")
    assert [e["event"] for e in history["events"]] == ["end"]


async def test_task_events_cannot_be_volatile(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for event in ("task_created", "task_progress", "task_completed", "task_failed"):
        with subtests.test(repr(event)):
            client = await site.open(kind)
            envelope = {"event": event, "data": {"id": 1}, "volatile": True}
            assert await client.refused(envelope) == "bad_task"
            assert (await site.get("/api/tasks"))["tasks"] == []


# ---- history -----------------------------------------------------------------


async def test_a_client_reads_history(site: Site, kind: type[Client]) -> None:
    everyone = await site.emit(3)
    ids = await site.emit(12, room="a")
    client = await site.open(kind, ["a"])
    for room, wanted in (("a", ids), (None, everyone)):
        data: dict[str, Any] = {"limit": 5} | ({"room": room} if room else {})
        oldest, newest = list[str](), list[str]()
        ask = data
        while True:
            page = await client.accepted({"event": "history", "data": ask})
            oldest += [e["id"] for e in page["events"]]
            ask = data | {"after": page["last"]}
            if not page["more"]:
                break
        ask = data | {"order": "newest"}
        while True:
            page = await client.accepted({"event": "history", "data": ask})
            newest += [e["id"] for e in page["events"]]
            ask = data | {"before": page["first"]}
            if not page["more"]:
                break
        assert oldest == wanted
        assert newest == wanted[::-1]
    # It has not moved: what follows is all new to it.
    (last,) = await site.emit(1, room="a")
    assert (await client.until("tick"))[-1]["id"] == last


async def test_history_of_large_events_ends_early(site: Site, kind: type[Client]) -> None:
    await site.publish(*({"event": "x", "room": "a", "data": "y" * 30_000} for _ in range(5)))
    client = await site.open(kind, ["a"])
    page = await client.accepted({"event": "history", "data": {"room": "a"}})
    assert len(page["events"]) == 5 if not page["more"] else len(page["events"]) < 5


async def test_history_needs_an_answer_and_sound_data(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    client = await site.open(kind, ["a"])
    for data, code in (
        ({"room": 7}, "bad_room"),
        ({"limit": 101}, "bad_request"),
        ({"limit": True}, "bad_request"),
        ({"after": 7}, "bad_position"),
        ({"order": []}, "bad_request"),
        ({"after": client.position, "before": client.position}, "bad_request"),
    ):
        with subtests.test(str(data)):
            assert await client.refused({"event": "history", "data": data}) == code
    await client.send({"event": "history", "data": {"room": "a"}})
    assert (await client.next())["data"]["code"] == "bad_request"


# ---- rewind ------------------------------------------------------------------


async def rewound(site: Site, client: Client) -> list[str]:
    """The positions of rewound events, up to an event that is for everyone."""
    await site.publish({"event": "end"})
    return [e["rewound"] for e in await client.until("end") if "rewound" in e]


async def test_a_join_rewinds(site: Site, kind: type[Client], subtests: pytest.Subtests) -> None:
    ids = await site.emit(30, room="a", key="k")
    await site.emit(3, room="b")
    for given, wanted, complete in (
        (20, ids[-20:], True),
        ("5", ids[-5:], True),
        (1000, ids, True),
        ("10m", ids, True),
        (ids[9], ids[10:], True),
        ("lost-1", ids, False),
    ):
        with subtests.test(str(given)):
            client = await site.open(kind)
            data = {"room": "a", "rewind": given}
            reply = await client.accepted({"event": "join", "data": data})
            assert reply == {"room": "a", "rewind": {"complete": complete}}
            assert await rewound(site, client) == wanted
            # It is in the room now.
            assert await client.accepted({"event": "join", "data": data}) == {"room": "a"}
            assert await rewound(site, client) == []


async def test_a_connection_rewinds(site: Site, kind: type[Client]) -> None:
    ids = await site.emit(30, room="a")
    others = await site.emit(5, room="b")
    client = await site.open(kind, ["a", "b"], rewind="3")
    assert sorted(await rewound(site, client)) == sorted(ids[-3:] + others[-3:])
    # Who comes back has had it.
    back = await site.open(kind, ["a", "b"], last=client.position, rewind="3")
    assert await rewound(site, back) == []


async def test_a_room_of_the_address_is_rewound_by_a_join(site: Site, kind: type[Client]) -> None:
    """As a client asks that joins while it connects."""
    ids = await site.emit(5, room="a")
    client = await site.open(kind, ["a"])
    live = await site.emit(5, room="a")
    assert [e["id"] for e in await client.take(5)] == live
    join = {"event": "join", "data": {"room": "a", "rewind": 3}}
    assert (await client.accepted(join))["rewind"] == {"complete": True}
    assert await rewound(site, client) == ids[-3:]
    assert await client.accepted(join) == {"room": "a"}
    # Another stay begins with the next join.
    await client.accepted({"event": "leave", "data": {"room": "a"}})
    assert (await client.accepted(join))["rewind"] == {"complete": True}
    assert len(await rewound(site, client)) == 3


async def test_rewound_and_live_events_meet(site: Site, kind: type[Client]) -> None:
    """Amid a stream of events there is neither a gap nor a repeat."""
    client, speaker = await site.open(kind), await site.open(WebSocket)
    for i in range(100):
        await speaker.send({"event": "said", "data": i, "room": "a"})
    data = {"room": "a", "rewind": 1000}
    await client.send({"event": "join", "data": data, "ack": "joined"})
    for i in range(100, 200):
        await speaker.send({"event": "said", "data": i, "room": "a"})
    await speaker.accepted({"event": "end"})
    heard = [e for e in await client.until("end") if e.get("event") == "said"]
    assert [e["data"] for e in heard] == list(range(200))
    kinds = ["rewound" in e for e in heard]
    assert kinds == sorted(kinds, reverse=True)


async def test_a_rewind_that_cannot_be(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    for given, code in ((0, "bad_request"), (1001, "bad_request"), ("soon", "bad_request"),
                        (True, "bad_request"), ("x-y", "bad_position")):  # fmt: skip
        data = {"room": "a", "rewind": given}
        assert await client.refused({"event": "join", "data": data}) == code
    assert (await site.get("/api/rooms"))["rooms"] == []


# ---- rules of rooms ----------------------------------------------------------

RULES = {
    "quiet": {"events": ["said", "end"], "rewind": False},
    "cursors:*": {"volatile": True},
    "closed": {"enter": "token"},
}


@pytest.mark.settings(rooms=RULES)
async def test_a_room_has_the_rule_that_fits_it(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["quiet", "cursors:1", "plain"])
    for event, room in (
        ("moved", "quiet"),
        ("task_created", "quiet"),
        ("task_created", "cursors:1"),
    ):
        code = await client.refused({"event": event, "data": {"id": 1}, "room": room})
        assert code == ("bad_task" if room == "cursors:1" else "forbidden")
    for event, data in (
        ("history", {"room": "quiet"}),
        ("join", {"room": "quiet", "rewind": 5}),
        ("join", {"room": "closed"}),
    ):
        assert await client.refused({"event": event, "data": data}) == "forbidden"
    assert "id" in await client.accepted({"event": "said", "room": "quiet"})
    # Nothing of the room is logged, whoever sends it.
    assert await client.accepted({"event": "moved", "room": "cursors:1", "key": "ada"}) is None
    assert await site.publish({"event": "moved", "room": "cursors:1"}) == [None]
    assert [e["event"] for e in (await site.get("/api/history"))["events"]] == ["said"]
    status, answer, _ = await site.call("GET", "/poll", room="quiet", rewind="5")
    assert (status, answer["error"]["code"]) == (403, "forbidden")


BOUNDED = {"few": {"history_count": 3}, "none": {"history_count": 0}, "new": {"history_age": "1h"}}


@pytest.mark.settings(rooms=BOUNDED)
async def test_a_rule_bounds_what_is_given_of_the_past(site: Site, kind: type[Client]) -> None:
    ids = {room: await site.emit(5, room=room) for room in ("few", "none", "new", "all")}
    # It is in no room that has more news than may be given.
    both = await site.open(kind, ["few", "all"], last=ids["few"][1])
    assert both.hello["recovered"]
    assert [e["id"] for e in await both.take(8)] == ids["few"][2:] + ids["all"]
    late = await site.open(kind, ["few", "all"], last=ids["few"][0])
    assert [e["event"] for e in late.greeting] == ["connect", "resync", "active_tasks"]
    for room, given in (("few", ids["few"][2:]), ("none", []), ("new", ids["new"])):
        await both.accepted({"event": "join", "data": {"room": room}})
        for order, expected in (("oldest", given), ("newest", given[::-1])):
            ask = {"room": room, "order": order}
            page = await both.accepted({"event": "history", "data": ask})
            assert ([e["id"] for e in page["events"]], page["more"]) == (expected, False)
            assert (await site.get("/api/history", **ask))["events"] == page["events"]
        other = await site.open(kind, [room], rewind="5")
        assert await rewound(site, other) == given
    refused = {"event": "history", "data": {"room": "few", "after": ids["few"][0]}}
    assert await both.refused(refused) == "not_found"
    assert len((await site.get("/api/history", limit=1000))["events"]) == 23
