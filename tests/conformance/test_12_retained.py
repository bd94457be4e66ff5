"""PROTOCOL.md, section 12: retained events."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clients import Client, Envelope, WebSocket, split
from sites import Site
from truth import Truth


def kept(key: str, data: Any, room: str | None = None, event: str = "e") -> Envelope:
    fields = {"event": event, "data": data, "key": key, "retain": True}
    return fields if room is None else fields | {"room": room}


async def known(site: Site, client: Client, truth: Truth | None = None) -> dict[str, Any]:
    """What a client knows that has just connected; its node may have been behind then."""
    await site.publish({"event": "end"})
    return (truth or Truth()).take(client.greeting + await client.until("end"))


async def test_who_comes_later_is_told_what_is_retained(site: Site, kind: type[Client]) -> None:
    early = await site.open(kind)
    assert [one["event"] for one in early.greeting] == ["connect", "active_tasks"]
    await early.accepted(kept("a", 1))
    await site.publish(kept("b", [1], "room"), kept("gone", 1), kept("gone", None), kept("a", 2))
    await site.publish({"event": "e", "key": "a", "data": "not retained"}, {"event": "end"})
    live = await early.until("end")
    assert [one["data"] for one in live if one.get("retain")] == [1, 1, None, 2]
    assert await known(site, await site.open(kind, ["room"])) == {"a": 2, "b": [1]}


async def test_who_joins_is_told_what_the_room_retains(site: Site, kind: type[Client]) -> None:
    await site.publish(kept("a", 1, "room"), kept("b", 1, "other"), kept("c", 1))
    client = await site.open(kind)
    truth = Truth()
    assert await known(site, client, truth) == {"c": 1}
    await client.accepted({"event": "join", "data": {"room": "room"}})
    state, tasks = await client.take(2)
    assert [state["event"], state["room"]] == ["state", "room"]
    assert truth.take([state, tasks]) == {"a": 1, "c": 1}
    await client.accepted({"event": "join", "data": {"room": "empty"}})
    assert [one["event"] for one in await client.take(1)] == ["active_tasks"]
    await site.publish(kept("a", 2, "room"), {"event": "end"})
    assert truth.take(await client.until("end")) == {"a": 2, "c": 1}


@pytest.mark.settings(high_water=16384, compress=False)
async def test_a_large_state_comes_in_parts_and_is_true(site: Site, kind: type[Client]) -> None:
    many = [kept(str(i), "*" * 1000, "room" if i % 2 else None) for i in range(200)]
    await site.publish(*many)
    client = await site.open(kind, ["room"])
    await site.publish(kept("7", "new", "room"), kept("8", None), {"event": "end"})
    truth = Truth()
    truth.take(client.greeting)
    known = truth.take(await client.until("end"))
    entries = (await site.get("/api/state"))["entries"]
    assert known == {entry["key"]: entry["data"] for entry in entries}
    assert (len(known), known["7"]) == (199, "new")


@pytest.mark.settings(retention_count=5)
async def test_after_resync_the_state_comes_anew(site: Site, kind: type[Client]) -> None:
    await site.publish(kept("a", 1), kept("b", 1, "room"))
    client = await site.open(kind, ["room"])
    truth = Truth()
    truth.take(client.greeting)
    await client.close()
    await site.publish(kept("a", None), kept("b", 2, "room"), *({"event": "x"} for _ in range(20)))
    position = client.position
    back = await site.open(kind, ["room"], position)
    assert back.greeting[1]["event"] == "resync"
    assert await known(site, back, truth) == {"b": 2}


@pytest.mark.parametrize(
    "envelope",
    [
        {"event": "e", "data": 1, "retain": True},
        {"event": "e", "data": 1, "key": "k", "retain": True, "volatile": True},
        {"event": "task_created", "data": {"id": 1}, "key": "k", "retain": True},
        {"event": "e", "data": 1, "key": "k", "retain": "yes"},
    ],
    ids=["no key", "volatile", "a task", "no flag"],
)
async def test_what_cannot_be_retained_is_refused(
    site: Site, kind: type[Client], envelope: Envelope
) -> None:
    client = await site.open(kind)
    assert await client.refused(envelope) == "bad_envelope"
    status, answer, _ = await site.call("POST", "/api/publish", data=json.dumps(envelope))
    assert (status, answer["error"]["code"]) == (400, "bad_envelope")


@pytest.mark.one_node
@pytest.mark.settings(max_retained=2)
async def test_retained_events_have_a_limit(site: Site) -> None:
    client = await site.open(WebSocket)
    assert await client.refused(kept("a", 1, client.sid)) == "bad_envelope"
    await client.accepted(kept("a", 1))
    assert await client.refused(kept("b", 1)) == "retained_full"
    await site.publish(kept("c", 1))
    status, answer, headers = await site.call("POST", "/api/publish", data=json.dumps(kept("d", 1)))
    assert (status, answer["error"]["code"]) == (503, "retained_full")
    assert "Retry-After" in headers
    await site.publish(kept("c", None), kept("d", 1))
    assert await client.refused({"event": "state", "data": 1}) == "reserved_event"


async def test_the_api_shows_what_is_retained(site: Site) -> None:
    await site.publish(kept("a", 1), kept("b", [True], "room"), kept("c", 1, "other"))
    answer = await site.get("/api/state")
    assert {entry["key"] for entry in answer["entries"]} == {"a", "b", "c"}
    answer = await site.get("/api/state", room="room")
    (entry,) = answer["entries"]
    epoch, seq = split(answer["position"])
    assert seq == 3
    assert entry == {
        "event": "e", "data": [True], "key": "b", "room": "room", "retained": True,
        "id": f"{epoch}-2",
    }  # fmt: skip
    status, answer, _ = await site.call("GET", "/api/state", room="")
    assert (status, answer["error"]["code"]) == (400, "bad_room")
