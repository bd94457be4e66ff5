"""PROTOCOL.md, section 9: errors."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from clients import Client, LongPoll, WebSocket
from sites import Site

from rtpush.errors import CODES

PROTOCOL = (Path(__file__).parents[2] / "PROTOCOL.md").read_text()


def test_the_table_lists_every_code() -> None:
    section = PROTOCOL[PROTOCOL.index("## 9.") : PROTOCOL.index("## 10.")]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (\d*) ?\| .+ \|$", section, re.M)
    listed = {code: (int(status), close) for code, status, close in rows}
    assert {code: status for code, (status, _) in listed.items()} == {
        code: meaning.status for code, meaning in CODES.items()
    }
    for code, (_, close) in listed.items():
        # Codes that end no connection have no close code in the table.
        assert close in ("", str(CODES[code].close)), code


# An envelope that is refused, and the code.
REFUSED: list[tuple[Any, str]] = [
    ([], "bad_envelope"),
    ("text", "bad_envelope"),
    (None, "bad_envelope"),
    ({}, "bad_event"),
    ({"event": ""}, "bad_event"),
    ({"event": "x" * 129}, "bad_event"),
    ({"event": "x", "room": 1}, "bad_room"),
    ({"event": "join"}, "bad_room"),
    ({"event": "join", "data": {"room": "r" * 129}}, "bad_room"),
    ({"event": "leave", "data": 7}, "bad_room"),
    ({"event": "x", "key": ""}, "bad_envelope"),
    ({"event": "x", "volatile": 1}, "bad_envelope"),
    ({"event": "connect"}, "reserved_event"),
    ({"event": "task_created", "data": {}}, "bad_task"),
    ({"event": "task_created", "data": {"id": 1}, "volatile": True}, "bad_task"),
    ({"event": "auth", "data": {"token": "t"}}, "forbidden"),
]


async def test_an_error_without_an_ack_is_an_event(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for envelope, code in REFUSED:
        with subtests.test(repr(envelope)):
            client = await site.open(kind)
            # As one of an array: a POST of an array alone would be taken apart.
            await client.send(envelope if kind is WebSocket else [envelope])
            (error,) = await client.take(1)
            assert error["event"] == "error"
            assert error["data"]["code"] == code
            assert error["data"]["message"].endswith(".")
            assert "id" not in error
            assert await client.accepted({"event": "ping"}) is None


async def test_an_error_with_an_ack_is_a_reply(
    site: Site, kind: type[Client], subtests: pytest.Subtests
) -> None:
    for envelope, code in [row for row in REFUSED if isinstance(row[0], dict)]:
        with subtests.test(repr(envelope)):
            client = await site.open(kind)
            reply = await client.request(envelope)
            assert set(reply) == {"ack", "error"}
            assert reply["error"]["code"] == code


async def test_text_that_is_no_json(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    if isinstance(client, WebSocket):
        await client.send_text("{nonsense")
        (error,) = await client.take(1)
        assert (error["event"], error["data"]["code"]) == ("error", "bad_envelope")
        return
    status, answer, _ = await site.call("POST", "/poll", "{nonsense", sid=client.sid)
    assert (status, answer["error"]["code"]) == (400, "bad_envelope")


async def test_over_http_it_is_the_answer(site: Site) -> None:
    status, answer, headers = await site.call("POST", "/api/publish", "nonsense")
    assert status == 400
    assert set(answer) == {"error"}
    assert set(answer["error"]) == {"code", "message"}
    assert "Retry-After" not in headers


@pytest.mark.settings(max_tasks=1)
async def test_retry_after_where_trying_again_can_help(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.accepted({"event": "task_created", "data": {"id": 1}})
    refused = {"event": "task_created", "data": {"id": 2}}
    error = (await client.request(refused))["error"]
    assert (error["code"], error["retry_after"]) == ("board_full", 30.0)
    status, answer, headers = await site.call("POST", "/api/publish", json.dumps(refused))
    assert (status, headers["Retry-After"]) == (503, "30")
    assert answer["error"] == error


@pytest.mark.settings(relay=("chat_*", "cursor"))
async def test_what_clients_may_not_send_is_forbidden(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    for allowed in ("chat_line", "cursor", "task_created"):
        await client.accepted({"event": allowed, "data": {"id": 1}})
    assert await client.refused({"event": "news"}) == "forbidden"
    assert await client.refused({"event": "news", "volatile": True}) == "forbidden"
    # A publisher may.
    await site.publish({"event": "news"})


async def test_twenty_bad_envelopes_in_a_row(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    for _ in range(3):
        for _ in range(19):
            assert await client.refused({"event": ""}) == "bad_event"
        # One that is understood, and the count begins again.
        await client.accepted({"event": "ping"})
        await client.take(1)
    for number in range(20):
        bad = {"event": "", "ack": number}
        if kind is LongPoll and number == 19:
            status, _, _ = await site.call("POST", "/poll", json.dumps(bad), sid=client.sid)
            assert status == 200
            break
        await client.send(bad)
    if kind is LongPoll:
        status, answer, _ = await site.call("POST", "/poll", "[]", sid=client.sid)
        assert (status, answer["error"]["code"]) == (404, "not_found")
    else:
        assert (await client.until("disconnect"))[-1]["data"]["code"] == 4400
        assert await client.ended() == (4400 if kind is WebSocket else None)
