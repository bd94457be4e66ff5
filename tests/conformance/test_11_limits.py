"""PROTOCOL.md, section 11: limits. Just inside of each works, just outside is refused."""

from __future__ import annotations

import itertools
import json
import re
from pathlib import Path
from typing import Any

import pytest
from clients import Client, WebSocket
from sites import Site

from rtpush.config.settings import SETTINGS

PROTOCOL = (Path(__file__).parents[2] / "PROTOCOL.md").read_text()


def test_every_setting_in_the_table_is_one() -> None:
    section = PROTOCOL[PROTOCOL.index("## 11.") : PROTOCOL.index("## 12.")]
    named = set(re.findall(r"`([a-z_]+)`(?=,| \|$)", section, re.M)) - {"ack", "data"}
    assert named <= {setting.name for setting in SETTINGS}
    assert {"max_message", "max_rooms", "rate_messages"} <= named


def sized(size: int, *, volatile: bool = False) -> dict[str, Any]:
    """An envelope of so many bytes of JSON."""
    envelope = {"event": "x", "data": "", "ack": 1} | ({"volatile": True} if volatile else {})
    return envelope | {"data": "*" * (size - len(json.dumps(envelope)))}


@pytest.mark.settings(max_message=2048)
async def test_the_largest_envelope_on_a_websocket(site: Site) -> None:
    client = await site.open(WebSocket)
    assert isinstance(client, WebSocket)
    # Volatile: a logged one comes out with an id, which counts, too.
    await client.send_text(json.dumps(sized(2048, volatile=True)))
    assert "error" not in await client.reply(1)
    await client.send_text(json.dumps(sized(2049, volatile=True)))
    assert await client.ended() == 1009


@pytest.mark.settings(max_message=2048)
@pytest.mark.parametrize("volatile", [False, True], ids=["logged", "volatile"])
async def test_no_envelope_comes_out_larger(site: Site, kind: type[Client], volatile: bool) -> None:
    client = await site.open(kind)
    for size in (1900, 2040):
        await client.send(sized(size, volatile=volatile))
        code = (await client.reply(1)).get("error", {}).get("code")
        assert code == (None if volatile or size == 1900 else "too_large")


# Numbers that come out three times as long as they went in.
GROWS = '"data": [' + ",".join(["1e9"] * 400) + "]}"


@pytest.mark.settings(max_message=2048)
async def test_no_envelope_grows_beyond_the_limit(site: Site) -> None:
    client = await site.open(WebSocket)
    assert isinstance(client, WebSocket)
    for head in ('{"event": "x"', '{"event": "x", "volatile": true', '{"event": "ping"'):
        await client.send_text(f'{head}, "ack": 1, {GROWS}')
        assert (await client.reply(1))["error"]["code"] == "too_large"
    status, answer, _ = await site.call("POST", "/api/publish", f'{{"event": "x", {GROWS}')
    assert (status, answer["error"]["code"]) == (413, "too_large")


@pytest.mark.settings(max_message=2048)
@pytest.mark.parametrize("path", ["/api/publish", "/poll"])
async def test_the_largest_envelope_in_a_body(site: Site, path: str) -> None:
    client = await site.open(WebSocket)
    small, large = json.dumps(sized(1000)), json.dumps(sized(2049))
    for body, codes in (
        (large, ["too_large"]),
        (f"[{small},{small},{small}]", ["too_large"]),
        ("\n".join([small] * 3), [None] * 3),
        ("\n".join([small, large, small]), [None, "too_large", None]),
    ):
        _, answer, _ = await site.call("POST", path, body, sid=client.sid)
        answers = answer if isinstance(answer, list) else [answer]
        errors = [one.get("error") or one.get("data") or {} for one in answers]
        assert [error.get("code") for error in errors] == codes, answer


@pytest.mark.settings(max_message=2**20)
async def test_the_most_objects_and_arrays(site: Site) -> None:
    client = await site.open(WebSocket)
    await client.accepted({"event": "ping", "data": [[]] * 19_998})
    await client.send({"event": "ping", "data": [[]] * 19_999})
    # Nothing of it was read, so the error cannot name an `ack`.
    assert (await client.until("error"))[-1]["data"]["code"] == "too_large"
    body = json.dumps({"event": "x", "data": [[]] * 19_999})
    assert (await site.call("POST", "/api/publish", body))[0] == 413
    # Brackets in a text are no arrays, whatever quotes and escapes stand between them.
    await client.accepted({"event": "ping", "data": '[\\"[\\\\' * 20_000})


@pytest.mark.settings(max_body=2048)
async def test_the_largest_body(site: Site) -> None:
    client = await site.open(WebSocket)
    sizes = ((2048, 200), (2049, 413))
    for path, (size, status) in itertools.product(["/api/publish", "/poll"], sizes):
        body = " " * (size - 100) + json.dumps(sized(100))
        assert (await site.call("POST", path, body, sid=client.sid))[0] == status


@pytest.mark.settings(max_body=2048)
async def test_a_body_of_unknown_length_is_measured(site: Site) -> None:
    async def chunks() -> Any:
        for _ in range(100):
            yield b" " * 1000

    async with site.http.post(f"{site.url}/api/publish", data=chunks()) as response:
        assert response.status == 413


@pytest.mark.settings(max_batch=5)
@pytest.mark.parametrize("path", ["/api/publish", "/poll"])
async def test_the_largest_batch(site: Site, path: str) -> None:
    client = await site.open(WebSocket)
    for count, status in ((5, 200), (6, 413)):
        body = json.dumps([{"event": "x"}] * count)
        answer = await site.call("POST", path, body, sid=client.sid)
        assert answer[0] == status
    assert len((await site.get("/api/history"))["events"]) == 5, "all of it or nothing"


async def test_the_longest_names(site: Site, kind: type[Client], subtests: pytest.Subtests) -> None:
    client = await site.open(kind)
    for field in ("event", "room", "key", "idempotency_key"):
        with subtests.test(field):
            # Characters, not bytes.
            await client.accepted({"event": "x"} | {field: "日" * 128})
            code = {"event": "bad_event", "room": "bad_room"}.get(field, "bad_envelope")
            assert await client.refused({"event": "x"} | {field: "日" * 129}) == code


async def test_the_deepest_data(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    data: Any = 0
    for _ in range(128):
        data = [data]
    await client.accepted({"event": "x", "data": data})
    assert (await client.until("x"))[-1]["data"] == data
    assert await client.refused({"event": "x", "data": [data]}) == "bad_envelope"


@pytest.mark.settings(max_rooms=3)
async def test_the_most_rooms(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["1", "2"])
    await client.accepted({"event": "join", "data": {"room": "3"}})
    assert await client.refused({"event": "join", "data": {"room": "4"}}) == "too_many_rooms"
    await client.accepted({"event": "join", "data": {"room": "1"}})
    await client.accepted({"event": "leave", "data": {"room": "1"}})
    await client.accepted({"event": "join", "data": {"room": "4"}})


@pytest.mark.settings(max_connections=2)
@pytest.mark.one_node
async def test_the_most_connections(site: Site, kind: type[Client]) -> None:
    clients = [await site.open(kind) for _ in range(2)]
    if kind is WebSocket:
        extra = kind(site.url, site.http)
        await extra._connect("")
        assert (await extra.next())["data"]["code"] == "unavailable"
        assert await extra.ended() == 4503
        await extra.close()
    else:
        path = "/sse" if kind.name == "sse" else "/poll"
        status, answer, headers = await site.call("GET", path)
        assert (status, answer["error"]["code"]) == (503, "unavailable")
        assert "Retry-After" in headers
    await site.call("DELETE", f"/api/connections/{clients[0].sid}")
    await site.open(kind)


@pytest.mark.settings(max_tasks=3, max_board=4096, max_task=1024)
async def test_the_board(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)

    def task(id_: int, size: int = 0) -> dict[str, Any]:
        return {"event": "task_created", "data": {"id": id_, "text": "*" * size}}

    assert await client.refused(task(1, 1024)) == "task_too_large"
    await client.accepted(task(1, 900))
    await client.accepted(task(2))
    # The last tenth is the application's and its publishers'.
    assert await client.refused(task(3)) == "board_full"
    assert (await site.call("POST", "/api/publish", json.dumps(task(4))))[0] == 200
    assert (await site.call("POST", "/api/publish", json.dumps(task(5))))[0] == 503
    grow = {"event": "task_progress", "data": {"id": 2, "text": "*" * 1024}}
    assert await client.refused(grow) == "task_too_large"
    await client.accepted({"event": "task_failed", "data": {"id": 1}})
    await client.accepted(task(3))
