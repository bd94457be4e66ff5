"""PROTOCOL.md, section 3: positions."""

from __future__ import annotations

import re

import pytest
from clients import KINDS, Client, split
from sites import Site


async def test_a_position_is_an_epoch_and_a_number(site: Site) -> None:
    position = (await site.get("/api/tasks"))["position"]
    assert re.fullmatch(r"[A-Za-z0-9]{1,32}-0", position)


async def test_seq_rises_by_one_in_all_rooms_together(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind, ["a"])
    ids = await site.publish(
        {"event": "x"},
        {"event": "x", "room": "a"},
        {"event": "x", "room": "b"},
        {"event": "x", "volatile": True},
        {"event": "connect-ed"},
        {"event": "end"},
    )
    numbers = [split(id_)[1] for id_ in ids if id_ is not None]
    assert numbers == [1, 2, 3, 4, 5]
    seen = [split(e["id"])[1] for e in await client.until("end") if "id" in e]
    assert seen == [1, 2, 4, 5], "a client that is not in every room sees gaps"


async def test_refused_and_repeated_events_take_no_number(site: Site) -> None:
    await site.publish({"event": "x", "idempotency_key": "k"})
    await site.publish({"event": "x", "idempotency_key": "k"})
    status, _, _ = await site.call("POST", "/api/publish", '{"event": "connect"}')
    assert status == 403
    (last,) = await site.publish({"event": "x"})
    assert split(last)[1] == 2


async def test_everybody_sees_one_order(site: Site) -> None:
    clients = [await site.open(kind) for kind in KINDS for _ in range(2)]
    for i in range(10):
        for client in clients:
            await client.send({"event": "said", "data": i})
    await site.publish({"event": "end"})
    told = [[e["id"] for e in await client.until("end") if "id" in e] for client in clients]
    assert len(told[0]) == 10 * len(clients) + 1
    assert all(ids == told[0] for ids in told)


async def test_an_epoch_is_one_life_of_the_log(site: Site) -> None:
    (before,) = await site.publish({"event": "x"})
    await site.restart()
    (after,) = await site.publish({"event": "x"})
    if site.settings.log == "memory:":
        assert split(before)[0] != split(after)[0], "it lost what it had handed out"
        assert split(after)[1] == 1
    else:
        assert split(before)[0] == split(after)[0]
        assert split(after)[1] == 2


NOT_POSITIONS = [
    "x",
    "-",
    "x-",
    "-1",
    "x-1x",
    "x-01",
    "x--1",
    "x-+1",
    "x-1.0",
    "x- 1",
    "x-1\n",
    "x-१",
    "é-1",
    "a b-1",
    "x" * 33 + "-1",
    "x-" + "9" * 19,
]


async def test_what_is_no_position_is_refused(site: Site, subtests: pytest.Subtests) -> None:
    for last in NOT_POSITIONS:
        with subtests.test(last):
            await check_refused(site, last)


async def check_refused(site: Site, last: str) -> None:
    for path in ("/sse", "/poll"):
        status, answer, _ = await site.call("GET", path, last=last)
        assert (status, answer["error"]["code"]) == (400, "bad_position")
    status, answer, _ = await site.call("GET", "/api/history", after=last)
    assert (status, answer["error"]["code"]) == (400, "bad_position")
    async with site.http.ws_connect(f"{site.url}/ws", params={"last": last}) as ws:
        told = await ws.receive_json()
        assert (told["event"], told["data"]["code"]) == ("error", "bad_position")
        await ws.receive()
        assert ws.close_code == 4400
