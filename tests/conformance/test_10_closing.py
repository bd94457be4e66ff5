"""PROTOCOL.md, section 10: closing."""

from __future__ import annotations

import asyncio

import pytest
from clients import KINDS, Client, LongPoll, WebSocket, until
from sites import Site


async def told(client: Client) -> dict[str, object]:
    """The data of the `disconnect` that ends a connection."""
    await client.ended()
    assert client.received[-1]["event"] == "disconnect"
    data: dict[str, object] = client.received[-1]["data"]
    return data


async def asking(site: Site, *clients: Client) -> None:
    """Wait until long-poll clients have a request under way: only those can be told."""
    for client in clients:
        await until(lambda sid=client.sid: site.server._hub.sessions[sid].connection is not None)


@pytest.mark.one_node
async def test_the_close_code_of_a_stop(site: Site) -> None:
    client = await site.open(WebSocket)
    await site.server.stop()
    assert await client.ended() == 1001
    await site.server.start()


@pytest.mark.one_node
async def test_a_stop_says_when_to_come_back(site: Site, kind: type[Client]) -> None:
    clients = [await site.open(kind) for _ in range(5)]
    goodbyes = [asyncio.create_task(told(client)) for client in clients]
    await asking(site, *clients)
    await site.server.stop()
    said = await asyncio.gather(*goodbyes)
    assert {goodbye["code"] for goodbye in said} == {1001}
    waits = [goodbye["retry_after"] for goodbye in said]
    assert all(isinstance(wait, float) and 0 <= wait <= 2 for wait in waits)
    assert len(set(waits)) > 1, "a crowd must not come back at once"
    await site.server.start()


@pytest.mark.one_node
async def test_what_was_accepted_is_delivered_before_the_end(
    site: Site, kind: type[Client]
) -> None:
    client = await site.open(kind)
    goodbye = asyncio.create_task(told(client))
    await asking(site, client)
    await site.emit(50)
    if kind is LongPoll:
        # A long-poll that is between two requests hears nothing of the end.
        await until(lambda: len(client.received) >= 52)
        await asking(site, client)
    await site.server.stop()
    await goodbye
    assert len([e for e in client.received if e["event"] == "tick"]) == 50
    await site.server.start()


@pytest.mark.one_node
async def test_disconnect_has_a_reason_for_people(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    goodbye = asyncio.create_task(told(client))
    await asking(site, client)
    await site.call("DELETE", f"/api/connections/{client.sid}")
    data = await goodbye
    assert set(data) == {"reason", "code", "retry_after"}
    assert str(data["reason"]).endswith(".")
    assert data["retry_after"] is None, "this client must not come back by itself"


@pytest.mark.parametrize("code", [1000, 1001, 4321])
async def test_a_clients_close_is_answered_by_its_code(site: Site, code: int) -> None:
    client = await site.open(WebSocket)
    assert isinstance(client, WebSocket)
    await client._ws.close(code)
    assert client._ws.close_code == code
    assert client._ws.protocol.close_rcvd is not None
    assert client._ws.protocol.close_rcvd.code == code


@pytest.mark.one_node
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
async def test_who_comes_while_it_stops_is_sent_away(site: Site, kind: type[Client]) -> None:
    site.server._hub.stopping = True
    if kind is WebSocket:
        client = kind(site.url, site.http)
        await client._connect("")
        refusal = await client.next()
        assert (refusal["event"], refusal["data"]["code"]) == ("error", "going_away")
        assert refusal["data"]["retry_after"] == 1.0
        assert await client.ended() == 1001
        await client.close()
        return
    path = "/poll" if kind is LongPoll else "/sse"
    status, answer, headers = await site.call("GET", path)
    assert (status, answer["error"]["code"]) == (503, "going_away")
    assert headers["Retry-After"] == "1"
