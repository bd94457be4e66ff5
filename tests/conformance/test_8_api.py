"""PROTOCOL.md, section 8: the HTTP API."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from clients import KINDS, Client, LongPoll, WebSocket, split
from prometheus_client.parser import text_string_to_metric_families
from sites import Site

from rtpush.errors import CODES

X = {"event": "x"}


# ---- publish -----------------------------------------------------------------


async def test_one_envelope_is_answered_by_its_position(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    envelope = {"event": "x", "data": {"n": 1}, "room": "a", "key": "k", "ack": 1}
    status, answer, _ = await site.call("POST", "/api/publish", json.dumps(envelope))
    assert status == 200
    (event,) = await client.take(1)
    assert event == {"event": "x", "data": {"n": 1}, "room": "a", "key": "k", **answer}


async def test_a_volatile_event_has_no_position(site: Site) -> None:
    status, answer, _ = await site.call("POST", "/api/publish", '{"event":"x","volatile":true}')
    assert (status, answer) == (200, {"id": None})
    assert (await site.get("/api/history"))["events"] == []


@pytest.mark.parametrize(
    "body",
    [
        '[{"event":"x"},{"event":"x"}]',
        '{"event":"x"}\n{"event":"x"}',
        '{"event":"x"}\r\n\n{"event":"x"}\n',
    ],
    ids=["array", "lines", "lines-with-blanks"],
)
async def test_many_are_answered_in_order(site: Site, body: str) -> None:
    status, answers, _ = await site.call("POST", "/api/publish", body)
    assert status == 200
    assert [split(answer["id"])[1] for answer in answers] == [1, 2]


async def test_an_empty_array_is_answered_by_one(site: Site) -> None:
    status, answers, _ = await site.call("POST", "/api/publish", "[]")
    assert (status, answers) == (200, [])


async def test_some_of_many(site: Site) -> None:
    body = '{"event":"x"}\n{"event":"connect"}\nnonsense\n{"event":"x"}'
    status, answers, _ = await site.call("POST", "/api/publish", body)
    assert status == 207
    codes = [answer.get("error", {}).get("code") for answer in answers]
    assert codes == [None, "reserved_event", "bad_envelope", None]
    assert len((await site.get("/api/history"))["events"]) == 2


async def test_none_of_many_has_the_status_of_the_first(site: Site) -> None:
    status, answers, _ = await site.call("POST", "/api/publish", '[{"event":"resync"},{}]')
    assert status == 403
    assert [answer["error"]["code"] for answer in answers] == ["reserved_event", "bad_event"]


async def test_the_same_idempotency_key_is_logged_once(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    first = await site.publish(X | {"idempotency_key": "k", "data": 1})
    for _ in range(2):
        assert await site.publish(X | {"idempotency_key": "k", "data": 2}) == first
    # A client is another sender than a publisher, and its key another key.
    sent = await client.accepted(X | {"idempotency_key": "k", "data": 3})
    assert sent["id"] != first[0]
    assert await client.accepted(X | {"idempotency_key": "k", "data": 4}) == sent
    (other,) = await site.publish(X | {"idempotency_key": "other"})
    assert other != first[0]
    assert [e["data"] for e in await client.take(3)] == [1, 3, None]


async def test_the_same_key_at_once(site: Site) -> None:
    answers = await asyncio.gather(*(site.publish(X | {"idempotency_key": "k"}) for _ in range(20)))
    assert len({id_ for (id_,) in answers}) == 1


async def test_a_key_within_one_batch(site: Site) -> None:
    ids = await site.publish(*[X | {"idempotency_key": "k"}] * 3)
    assert len(set(ids)) == 1


async def test_a_refused_event_does_not_use_up_its_key(site: Site) -> None:
    task = {"event": "task_progress", "data": {"id": 1}, "idempotency_key": "k"}
    await site.publish({"event": "task_failed", "data": {"id": 1}})
    status, _, _ = await site.call("POST", "/api/publish", json.dumps(task))
    assert status == 409
    assert await site.publish(task | {"data": {"id": 2}})


async def test_the_key_outlives_a_restart(site: Site) -> None:
    first = await site.publish(X | {"idempotency_key": "k"})
    await site.restart()
    again = await site.publish(X | {"idempotency_key": "k"})
    assert (again == first) is (site.settings.log != "memory:")


# ---- look --------------------------------------------------------------------


async def test_tasks_of_all_rooms(site: Site) -> None:
    await site.publish(
        {"event": "task_created", "data": {"id": 1}, "room": "a"},
        {"event": "task_created", "data": {"id": "two"}},
        {"event": "task_failed", "data": {"id": "gone"}},
    )
    answer = await site.get("/api/tasks")
    first, second = answer["tasks"]
    assert (first["id"], first["room"], second["id"]) == (1, "a", "two")
    assert [task["id"] for task in answer["finished"]] == ["gone"]
    assert split(answer["position"])[1] == 3
    assert await site.get("/api/tasks/1") == first
    assert (await site.get("/api/tasks/gone"))["status"] == "failed"


async def test_history_page_by_page(site: Site) -> None:
    ids = await site.emit(25)
    await site.emit(3, room="a")
    found, after = [], None
    while True:
        query = {"limit": 7} | ({"after": after} if after else {})
        page = await site.get("/api/history", **query)
        found += [e["id"] for e in page["events"] if "room" not in e]
        after = page["last"]
        assert len(page["events"]) <= 7
        if not page["more"]:
            break
    assert found == ids
    assert (await site.get("/api/history", after=after))["events"] == []


async def test_history_of_one_room(site: Site) -> None:
    await site.emit(5)
    ids = await site.emit(2, room="a")
    await site.emit(5)
    page = await site.get("/api/history", room="a")
    assert [e["id"] for e in page["events"]] == ids
    assert page["more"] is False
    assert split(page["last"])[1] == 12
    assert (await site.get("/api/history", room="none"))["events"] == []


async def test_history_newest_first(site: Site) -> None:
    everyone = await site.emit(25)
    ids = await site.emit(10, room="a")
    more = await site.emit(5)
    for room, wanted in (("a", ids), (None, everyone + ids + more)):
        found: list[str] = []
        query: dict[str, Any] = {"limit": 7, "order": "newest"} | ({"room": room} if room else {})
        while True:
            page = await site.get("/api/history", **query)
            assert len(page["events"]) <= 7
            found += [e["id"] for e in page["events"]]
            if not page["more"]:
                break
            query |= {"before": page["first"]}
        assert found == wanted[::-1]
    page = await site.get("/api/history", before=ids[3], room="a", limit=2)
    assert [e["id"] for e in page["events"]] == [ids[2], ids[1]]


async def test_which_history_there_is_not(site: Site, subtests: pytest.Subtests) -> None:
    (one,) = await site.emit(1)
    epoch, _ = split(one)
    for query, code in (
        ({"order": "sideways"}, "bad_request"),
        ({"after": one, "before": one}, "bad_request"),
        ({"after": one, "order": "newest"}, "bad_request"),
        ({"before": one, "order": "oldest"}, "bad_request"),
        ({"limit": 0}, "bad_request"),
        ({"limit": 1001}, "bad_request"),
        ({"before": "nonsense"}, "bad_position"),
        ({"before": "other-1"}, "not_found"),
        ({"before": f"{epoch}-7"}, "not_found"),
        ({"after": f"{epoch}-7"}, "not_found"),
    ):
        with subtests.test(str(query)):
            _, answer, _ = await site.call("GET", "/api/history", **query)
            assert answer["error"]["code"] == code


async def test_history_is_what_readers_were_given(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await site.publish(X | {"data": {"a": [1, None]}}, X | {"key": "k"}, {"event": "日本"})
    assert (await site.get("/api/history"))["events"] == await client.take(3)


async def test_rooms_and_who_is_in_them(site: Site) -> None:
    clients = [await site.open(kind, ["a", "b"] if kind is WebSocket else ["a"]) for kind in KINDS]
    rooms = (await site.get("/api/rooms"))["rooms"]
    assert rooms == [{"room": "a", "members": 3}, {"room": "b", "members": 1}]
    (only,) = (await site.get("/api/rooms/b"))["members"]
    assert only["sid"] == clients[0].sid
    assert (await site.get("/api/rooms/none"))["members"] == []


async def test_connections(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    (found,) = (await site.get("/api/connections"))["connections"]
    assert found.pop("opened") > 1_600_000_000
    assert found == {
        "sid": client.sid,
        "transport": kind.name,
        "address": "127.0.0.1",
        "rooms": ["a"],
        "position": (await site.get("/api/tasks"))["position"],
        "behind": 0,
    }


async def test_a_connection_can_be_ended(site: Site, kind: type[Client]) -> None:
    client, other = await site.open(kind), await site.open(kind)
    status, answer, _ = await site.call("DELETE", f"/api/connections/{client.sid}")
    assert (status, answer) == (200, {"sid": client.sid})
    if kind is LongPoll:
        # Between two requests there is nobody to tell; the next one is.
        read = {"sid": client.sid, "last": client.position}
        status, answer, _ = await site.call("GET", "/poll", **read)
        assert (status, answer["error"]["code"]) == (403, "forbidden")
    else:
        assert (await client.until("disconnect"))[-1]["data"]["code"] == 4403
        assert await client.ended() == (4403 if kind is WebSocket else None)
    (left,) = (await site.get("/api/connections"))["connections"]
    assert left["sid"] == other.sid
    status, _, _ = await site.call("DELETE", f"/api/connections/{client.sid}")
    assert status == 404


# ---- operations --------------------------------------------------------------


@pytest.mark.one_node
async def test_health_and_readiness(site: Site) -> None:
    assert await site.get("/healthz") == {"status": "ok"}
    ready = await site.get("/readyz")
    assert ready["status"] == "ready"
    site.server._hub.stopping = True
    status, answer, headers = await site.call("GET", "/readyz")
    assert (status, answer["error"]["code"]) == (503, "going_away")
    assert int(headers["Retry-After"]) >= 1
    assert await site.get("/healthz") == {"status": "ok"}


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
async def test_a_balancer_need_not_name_the_host(site: Site, path: str) -> None:
    assert (await site.http.get(site.url + path, headers={"Host": "balancer"})).status == 200
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
    assert (await reader.readline()).split()[1] == b"200"
    writer.close()


@pytest.mark.one_node
async def test_metrics_are_what_prometheus_reads(site: Site) -> None:
    await site.open(WebSocket, ["a"])
    await site.emit(3)
    async with site.http.get(f"{site.url}/metrics") as response:
        assert response.content_type == "text/plain"
        text = await response.text()
    samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
    values = {(s.name, *s.labels.values()): s.value for s in samples}
    assert values["rtpush_published_total",] == 3
    assert values["rtpush_sessions", "websocket"] == 1
    # Every series is there from the start: an alert on one that is missing never fires.
    assert values["rtpush_sessions", "sse"] == 0
    assert {name[1] for name in values if name[0] == "rtpush_refusals_total"} == set(CODES)


@pytest.mark.one_node
async def test_every_refusal_is_counted(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.refused({"event": "connect"})
    await site.call("POST", "/api/publish", '[{"event":"connect"},{"event":"x"}]')
    await site.call("POST", "/api/publish", '{"event":"connect"}')
    async with site.http.get(f"{site.url}/metrics") as response:
        assert 'rtpush_refusals_total{code="reserved_event"} 3.0' in await response.text()


@pytest.mark.one_node
async def test_the_description_names_every_route_and_no_other(site: Site) -> None:
    document = await site.get("/api/openapi.json")
    described = {
        (method, path) for path, methods in document["paths"].items() for method in methods
    }
    served = {
        (route.method.lower(), route.resource.canonical)
        for route in site.server._door._runner.app.router.routes()
        if route.method != "HEAD" and "{path" not in route.resource.canonical
    }
    # A handshake is no operation that OpenAPI could describe, and the description not either.
    assert described == served - {("get", "/ws"), ("get", "/api/openapi.json")}


async def test_answers_are_not_kept_by_caches(site: Site) -> None:
    for name in ("tasks", "rooms", "connections", "history"):
        _, _, headers = await site.call("GET", f"/api/{name}")
        assert headers["Cache-Control"] == "no-store", name
