"""PROTOCOL.md, section 2: envelopes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from clients import Client, WebSocket
from sites import Site

VALUES = [
    None,
    True,
    0,
    -1.5,
    2**53,
    2**63 - 1,
    -(2**63),
    1e300,
    "",
    "生成一张湖边日落的照片 🌅👩‍👩‍👧",
    "line\nbreak\r\n\ttab \u2028 \u0000 data: id: 7\n\n",
    [],
    {},
    [1, [2, {"三": [None, False]}]],
    {"event": "connect", "id": "x-1", "ack": 1, "": "empty name"},
]


async def test_data_is_any_json_value(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for data in VALUES:
        with subtests.test(repr(data)):
            client = await site.open(kind)
            reply = await client.accepted({"event": "note", "data": data})
            assert await client.next() == {"event": "note", "data": data, "id": reply["id"]}


async def test_several_arguments(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    several = {"event": "note", "data": [1, [2], None], "args": True}
    reply = await client.accepted(several)
    (last,) = await site.publish({**several, "data": []})
    assert await client.take(2) == [several | reply, several | {"data": [], "id": last}]
    # From the store, too.
    back = await site.open(kind, last=client.hello["position"])
    assert await back.take(2) == [several | reply, several | {"data": [], "id": last}]
    for odd in ({"data": 1, "args": True}, {"args": True}, {"data": [1], "args": 1}):
        assert await client.refused({"event": "note", **odd}) == "bad_envelope"
    for one in ({"data": [1], "args": False}, {"data": [1], "args": None}):
        assert "args" not in await _echo(client, one)
    stream = await site.open(WebSocket)
    await stream.send({**several, "volatile": True})
    assert await stream.next() == several


async def _echo(client: Client, fields: dict[str, Any]) -> dict[str, Any]:
    await client.accepted({"event": "note", **fields})
    return await client.next()


async def test_every_field_arrives_and_none_is_made_up(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["lobby"])
    first = await client.accepted({"event": "bare"})
    second = await client.accepted(
        {
            "event": "full",
            "data": {"a": 1},
            "room": "lobby",
            "key": "k",
            "idempotency_key": "i",
            "volatile": False,
            "id": "forged-1",
            "unknown": [1],
        }
    )
    assert await client.take(2) == [
        {"event": "bare", "data": None, "id": first["id"]},
        {"event": "full", "data": {"a": 1}, "room": "lobby", "key": "k", "id": second["id"]},
    ]


async def test_an_optional_field_that_is_null_counts_as_absent(
    site: Site, kind: type[Client]
) -> None:
    client = await site.open(kind)
    nothing = dict.fromkeys(["data", "room", "key", "volatile", "idempotency_key"])
    first = await client.accepted({"event": "note"} | nothing)
    second = await client.accepted({"event": "note"} | nothing)
    assert first != second
    assert await client.take(2) == [
        {"event": "note", "data": None, "id": first["id"]},
        {"event": "note", "data": None, "id": second["id"]},
    ]
    # And a null `ack` asks for no reply.
    await client.send({"event": "note", "ack": None})
    assert set(await client.next()) == {"event", "data", "id"}


async def test_names_have_up_to_128_characters(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for name in ("x", "湖" * 128, "🌅" * 128, " ", "a/b?c#d%20"):
        with subtests.test(repr(name)):
            client = await site.open(kind, [name])
            fields = {"event": name, "room": name, "key": name}
            reply = await client.accepted(fields | {"idempotency_key": name})
            assert await client.next() == fields | {"data": None, "id": reply["id"]}


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "bad_event"),
    ({"event": None}, "bad_event"),
    ({"event": ""}, "bad_event"),
    ({"event": 7}, "bad_event"),
    ({"event": "x" * 129}, "bad_event"),
    ({"event": "x", "room": ""}, "bad_room"),
    ({"event": "x", "room": 7}, "bad_room"),
    ({"event": "x", "room": ["a"]}, "bad_room"),
    ({"event": "x", "room": "湖" * 129}, "bad_room"),
    ({"event": "x", "key": ""}, "bad_envelope"),
    ({"event": "x", "key": 7}, "bad_envelope"),
    ({"event": "x", "key": "x" * 129}, "bad_envelope"),
    ({"event": "x", "idempotency_key": ""}, "bad_envelope"),
    ({"event": "x", "idempotency_key": 7}, "bad_envelope"),
    ({"event": "x", "idempotency_key": "x" * 129}, "bad_envelope"),
    ({"event": "x", "volatile": 1}, "bad_envelope"),
    ({"event": "x", "volatile": "true"}, "bad_envelope"),
]


async def test_a_wrong_field_is_refused_and_nothing_is_logged(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for envelope, code in WRONG:
        with subtests.test(repr(envelope)):
            client = await site.open(kind)
            assert await client.refused(envelope) == code
            # Without an `ack` the same is told by an event.
            await client.send(envelope)
            told = await client.next()
            assert set(told) == {"event", "data"}
            assert (told["event"], told["data"]["code"]) == ("error", code)
            assert await site.get("/api/history") == {
                "events": [],
                "last": client.position,
                "more": False,
            }


async def test_ack_is_a_number_or_a_string(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for ack in (0, -7, 2**53, 1.5, "", "x" * 64, "确认"):
        with subtests.test(repr(ack)):
            client = await site.open(kind)
            await client.send({"event": "ping", "ack": ack})
            assert await client.reply(ack) == {"ack": ack, "data": None}


async def test_an_ack_of_another_kind_is_refused(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    client = await site.open(kind)
    for ack in (True, [], {}, "x" * 65):
        with subtests.test(repr(ack)):
            await client.send({"event": "note", "ack": ack})
            told = await client.next()
            assert (told["event"], told["data"]["code"]) == ("error", "bad_envelope")


NOT_ENVELOPES = [
    "",
    " ",
    "hello",
    "{",
    "null",
    "7",
    '"ping"',
    "[]",
    '[{"event":"ping"}]',
    '{"event":"x","data":NaN}',
    '{"event":"x","data":"\\ud800"}',
    '{"event":"x"} {"event":"y"}',
    "{'event':'x'}",
]


async def test_a_text_frame_holds_one_envelope(site: Site, subtests: pytest.Subtests) -> None:
    for text in NOT_ENVELOPES:
        with subtests.test(text):
            client = await site.open(WebSocket)
            assert isinstance(client, WebSocket)
            await client.send_text(text)
            told = await client.next()
            assert (told["event"], told["data"]["code"]) == ("error", "bad_envelope")
            assert await client.accepted({"event": "ping"}) is None


async def test_the_same_idempotency_key_is_logged_once(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    once = {"event": "paid", "data": 1, "idempotency_key": "order-7"}
    first = await client.accepted(once)
    assert await client.accepted(once) == first
    assert await client.accepted(once | {"data": 2}) == first
    other = await site.open(kind)
    assert await other.accepted(once) == first
    # The publisher's key is another sender's.
    assert await site.publish(once) != [first["id"]]
    await site.publish({"event": "end"})
    assert [e["event"] for e in await client.until("end")] == ["paid", "paid", "end"]


async def test_an_idempotency_key_outlives_a_restart_with_a_log_on_disk(site: Site) -> None:
    once = {"event": "paid", "idempotency_key": "order-7"}
    (first,) = await site.publish(once)
    await site.restart()
    (second,) = await site.publish(once)
    assert (first == second) == (site.settings.log != "memory:")


async def test_a_key_is_of_any_transport(site: Site, kind: type[Client]) -> None:
    """Conflation keys of a client arrive with the event, also those that the server sets."""
    client = await site.open(kind)
    await client.send({"event": "task_progress", "data": {"id": 7, "progress": 1}})
    await client.send({"event": "task_progress", "data": {"id": 7, "progress": 2}, "key": "mine"})
    assert [e["key"] for e in await client.take(2)] == ["7", "mine"]


async def test_replies_have_no_event(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    good = await client.request({"event": "note"})
    bad = await client.request({"event": "connect"})
    assert set(good) == {"ack", "data"}
    assert set(bad) == {"ack", "error"}
    assert set(bad["error"]) == {"code", "message"}


# ------------------------------------------------------------ the first application's events

CREATED = {
    "id": 1,
    "formData": {"prompt": "一只在湖边看日落的猫 🐱🌅、水彩", "negative": "模糊"},
    "mode": "landscape",
    "startTime": 1759500000000,
}
PROGRESS = {"id": 1, "progress": 40, "message": "正在绘制… 🎨", "serverTaskId": "srv-1"}
RESULT = {"id": 1, "result": {"images": ["/img/1.png"], "说明": "完成 ✅"}}
ERROR = {"id": 2, "error": "显存不足 ❌"}


async def test_the_five_events_typed_on_a_bare_websocket(site: Site) -> None:
    """`active_tasks` on connect; the four task events as typed, told to everyone."""
    typist = await site.open(WebSocket)
    assert isinstance(typist, WebSocket)
    watcher = await site.open(WebSocket)
    assert typist.greeting[1]["data"] == {"tasks": [], "finished": []}
    lines = [
        ("task_created", CREATED),
        ("task_progress", PROGRESS),
        ("task_completed", RESULT),
        ("task_created", CREATED | {"id": 2}),
        ("task_failed", ERROR),
    ]
    for event, data in lines:
        text = json.dumps({"event": event, "data": data}, ensure_ascii=False)
        await typist.send_text(text)
    for client in (typist, watcher):
        assert [(e["event"], e["data"]) for e in await client.take(5)] == lines


async def test_a_latecomer_gets_the_active_tasks(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted({"event": "task_created", "data": CREATED})
    await client.accepted({"event": "task_progress", "data": PROGRESS})
    late = await site.open(kind)
    (task,) = late.greeting[1]["data"]["tasks"]
    sent = CREATED | PROGRESS
    assert {name: task[name] for name in sent} == sent
