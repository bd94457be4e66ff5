"""PROTOCOL.md, section 4: what is particular to Server-Sent Events, and sending without one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from clients import KINDS, PATIENCE, Client, LongPoll, Sse, WebSocket, _Posting
from processes import pause
from sites import Site

POSTING = pytest.mark.parametrize("kind", [Sse, LongPoll], ids=lambda kind: kind.name)


@asynccontextmanager
async def stream(
    site: Site, query: str = "", **headers: str
) -> AsyncIterator[aiohttp.ClientResponse]:
    async with (
        asyncio.timeout(PATIENCE),
        site.http.get(
            f"{site.url}/sse{query}",
            headers={name.replace("_", "-"): value for name, value in headers.items()},
        ) as response,
    ):
        yield response


async def next_data(response: aiohttp.ClientResponse) -> dict[str, object]:
    while not (line := await response.content.readline()).startswith(b"data: "):
        assert line, "the stream ended"
    envelope: dict[str, object] = json.loads(line[6:])
    return envelope


async def test_an_event_stream_that_nobody_holds_back(site: Site) -> None:
    async with stream(site) as response:
        assert response.status == 200
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        assert "no-cache" in response.headers["Cache-Control"]
        assert response.headers["X-Accel-Buffering"] == "no"
        assert (await next_data(response))["event"] == "connect"


async def test_every_block_of_a_stream_has_data(site: Site) -> None:
    """Some clients hand a block without data to the application as an empty event."""
    async with stream(site) as response:
        for _ in range(2):
            block = (await response.content.readuntil(b"\n\n")).decode()
            assert "data: " in block, block


async def test_a_client_may_ask_for_more_heartbeats(site: Site) -> None:
    async with stream(site, "?heartbeat=1") as response:
        while (await next_data(response))["event"] != "heartbeat":
            pass
    for odd in ("0.9", "3601", "often", "nan", ""):
        async with stream(site, f"?heartbeat={odd}") as response:
            assert (await response.json())["error"]["code"] == "bad_request"


async def test_last_event_id_wins_over_last(site: Site) -> None:
    first, second, third = await site.emit(3)
    async with stream(site, f"?last={first}", Last_Event_ID=second) as response:
        hello = await next_data(response)
        assert hello["data"]["recovered"] is True  # type: ignore[index]
        assert (await next_data(response))["id"] == third


async def test_a_bad_last_event_id_is_refused(site: Site) -> None:
    async with stream(site, Last_Event_ID="nonsense") as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "bad_position"


@POSTING
async def test_one_envelope_an_array_or_lines(site: Site, kind: type[_Posting]) -> None:
    client = await site.open(kind)
    assert isinstance(client, _Posting)
    one, two = {"event": "leave", "ack": 1, "data": "a"}, {"event": "leave", "ack": 2, "data": "二"}
    answers = [{"ack": 1, "data": {"room": "a"}}, {"ack": 2, "data": {"room": "二"}}]
    assert await client.post(json.dumps(one)) == answers[:1]
    assert await client.post(json.dumps([one, two])) == answers
    lines = json.dumps(one) + "\n\n" + json.dumps(two, ensure_ascii=False) + "\r\n"
    assert await client.post(lines) == answers
    assert await client.post("[]") == []


async def test_a_pong_shows_that_the_stream_is_not_held_back(site: Site) -> None:
    client = await site.open(Sse)
    assert await client.post('{"event": "ping", "data": 1, "ack": 2}') == [{"ack": 2, "data": None}]
    assert await client.next() == {"event": "pong", "data": 1}
    # It waits for a reader that is slow, so it must not be large.
    large = {"event": "ping", "data": "x" * 1100}
    assert await client.post(json.dumps(large)) == [large | {"event": "pong"}]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_a_page_that_is_being_closed_has_a_last_word(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    rest = await site.open(WebSocket, ["a"])
    await client.close()
    # To a session that has no connection, or lives by long-poll, or is not known at all.
    for number, sid in enumerate((client.sid, client.sid, "unknown")):
        query = {"sid": sid, "last": client.position}
        said = json.dumps({"event": "said", "data": number, "ack": 1})
        status, answers, _ = await site.call("POST", "/poll", said, **query)
        assert (status, answers[0]["ack"]) == (200, 1)
    assert [one["data"] for one in await rest.take(3)] == [0, 1, 2]
    assert (await site.call("POST", "/poll", "[]", sid="unknown"))[0] == 404
    # It goes on, in its rooms, when it comes back.
    again = await kind.open(site.url, site.http, (), client.position, sid=client.sid)
    assert again.sid == client.sid
    await site.publish({"event": "end", "room": "a"})
    await again.until("end")
    await again.close()


@POSTING
async def test_answers_come_in_order(site: Site, kind: type[_Posting]) -> None:
    client = await site.open(kind)
    assert isinstance(client, _Posting)
    answers = await client.post(
        json.dumps(
            [
                {"event": "join", "data": {"room": "a"}, "ack": "j"},
                {"event": "said", "room": "a", "ack": "s"},
                {"event": "connect"},
                {"event": "ping"},
                {"event": "said"},
                {"event": "leave", "data": {"room": "a"}, "ack": "l"},
            ]
        )
    )
    told = [a.get("event") or a["ack"] for a in answers]
    pong = [] if kind is Sse else ["pong"]
    assert told == ["active_tasks", "j", "s", "error", *pong, "l"]


@POSTING
async def test_bad_lines_do_not_hide_good_ones(site: Site, kind: type[_Posting]) -> None:
    client = await site.open(kind)
    assert isinstance(client, _Posting)
    answers = await client.post('{"event":"said","ack":1}\nnonsense\n{"event":7,"ack":2}\n')
    assert [a.get("event") or a["ack"] for a in answers] == [1, "error", 2]
    assert answers[1]["data"]["code"] == "bad_envelope"
    assert answers[2]["error"]["code"] == "bad_event"


@POSTING
async def test_a_body_that_is_no_json_is_refused_as_a_whole(
    site: Site, kind: type[_Posting]
) -> None:
    client = await site.open(kind)
    for body in ("", "nonsense", b"\xff\xfe"):
        status, answer, _ = await site.call("POST", "/poll", body, sid=client.sid)
        assert (status, answer["error"]["code"]) == (400, "bad_envelope")


async def test_an_unknown_sid_is_not_found(site: Site) -> None:
    for sid in ("", "unknown", "x" * 22):
        status, answer, _ = await site.call("POST", "/poll", '{"event":"ping"}', sid=sid)
        assert (status, answer["error"]["code"]) == (404, "not_found"), sid
    assert (await site.get("/api/history"))["events"] == []


async def test_a_closed_stream_is_no_session_any_more(site: Site) -> None:
    client = await site.open(Sse)
    await client.close()
    async with asyncio.timeout(PATIENCE):
        while (await site.get("/api/connections"))["connections"]:
            await pause()
    status, _, _ = await site.call("POST", "/poll", '{"event":"ping"}', sid=client.sid)
    assert status == 404
