"""PROTOCOL.md, section 13: presence."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import jwt
import pytest
from clients import Client, Envelope, Sse, WebSocket
from needs import needs
from sites import Site

from rtpush.application import presence
from rtpush.server import Server

SECRET = "a secret that is long enough for HS256, says RFC 7518"


def token(subject: str, **claims: Any) -> str:
    return jwt.encode({"sub": subject, "exp": time.time() + 600, **claims}, SECRET)


async def enter(client: Client, name: str, room: str = "room") -> str:
    """Join a room as a member; the public id."""
    data = {"room": room, "presence": {"name": name}}
    reply = await client.accepted({"event": "join", "data": data})
    assert set(reply) == {"room", "presence"}
    public: str = reply["presence"]["id"]
    assert client.sid not in public
    return public


async def watch(site: Site) -> Client:
    return await site.open(WebSocket, ["room"])


class Seen:
    """The members that a client knows, and what it was told of them, in order."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.members: dict[str, Any] = {}
        self.told: list[tuple[str, str]] = []
        for envelope in client.greeting:
            self.take(envelope)

    def take(self, envelope: Envelope) -> None:
        if envelope.get("event") == "state":
            for entry in envelope["data"]["entries"]:
                assert entry["event"] == "presence"
                assert entry["key"] == entry["data"]["id"]
                self.members[entry["key"]] = entry["data"]["info"]["name"]
        elif envelope.get("event") == "presence":
            assert set(envelope["data"]) <= {"joined", "changed", "left"}
            for what, members in envelope["data"].items():
                for member in members:
                    self.told.append((what, member["info"]["name"]))
                    self.members.pop(member["id"], None)
                    if what != "left":
                        self.members[member["id"]] = member["info"]["name"]

    async def until(self, *names: str) -> list[tuple[str, str]]:
        """Until these are there, in any order; what was told since the last call."""
        while sorted(self.members.values()) != sorted(names):
            self.take(await self.client.next())
        told, self.told = self.told, []
        return told

    async def settled(self, site: Site) -> list[tuple[str, str]]:
        """Until all that was published so far has come."""
        await site.publish({"event": "end", "room": "room"})
        for envelope in await self.client.until("end"):
            self.take(envelope)
        told, self.told = self.told, []
        return told


async def lose(client: Client) -> None:
    """Lose the connection, without a word to the server."""
    if isinstance(client, WebSocket):
        client._ws.transport.abort()
    else:
        await client.close()


async def test_others_see_who_enters_changes_and_leaves(site: Site, kind: type[Client]) -> None:
    seen = Seen(await watch(site))
    ann = await site.open(kind)
    public = await enter(ann, "Ann")
    assert await seen.until("Ann") == [("joined", "Ann")]
    assert list(seen.members) == [public] == [site.server.member_id(ann.sid)]
    bob = await site.open(kind, ["room"])
    later = Seen(bob)
    await later.until("Ann")
    await enter(bob, "Bob")
    assert await seen.until("Ann", "Bob") == [("joined", "Bob")]
    await later.until("Ann", "Bob")
    assert await enter(ann, "Anna") == public
    assert await seen.until("Anna", "Bob") == [("changed", "Anna")]
    answer = await site.get("/api/presence", room="room")
    assert {member["info"]["name"] for member in answer["members"]} == {"Anna", "Bob"}
    await ann.accepted({"event": "leave", "data": {"room": "room"}})
    assert await seen.until("Bob") == [("left", "Anna")]
    assert ann.sid not in str(seen.client.received)
    assert (await site.get("/api/presence", room="other"))["members"] == []


async def test_who_comes_back_has_neither_left_nor_joined(site: Site, kind: type[Client]) -> None:
    seen = Seen(await watch(site))
    ann = await site.open(kind)
    await enter(ann, "Ann")
    await seen.until("Ann")
    await lose(ann)
    # With several nodes, on another one.
    back = await kind.open(site.url, site.http, last=ann.position, sid=ann.sid)
    assert back.sid == ann.sid
    await back.accepted({"event": "ping"})
    assert await seen.settled(site) == []
    await back.accepted({"event": "leave", "data": {"room": "room"}})
    assert await seen.until() == [("left", "Ann")]
    await back.close()


async def leave_page(client: Client) -> None:
    """Close the page, as a browser and its script do."""
    if isinstance(client, WebSocket):
        await client._ws.close(4001)
        return
    query = {"sid": client.sid, "last": client.position, "close": "away"}
    async with client.http.post(f"{client.url}/poll", params=query, data=b"") as response:
        assert (response.status, await response.json()) == (200, [])


async def test_a_page_that_is_left_may_come_back_and_leaves_soon(
    site: Site, kind: type[Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen(await watch(site))
    ann = await site.open(kind)
    await enter(ann, "Ann")
    await seen.until("Ann")
    await leave_page(ann)
    back = await site.open(kind, last=ann.position, sid=ann.sid)
    assert back.sid == ann.sid
    await back.accepted({"event": "ping"})
    assert await seen.settled(site) == []
    for server in (site.server, *site._others):
        monkeypatch.setattr(server._hub._parting, "_seconds", 0)
    if isinstance(back, Sse):
        # The browser cuts the stream first.
        await back.close()
    await leave_page(back)
    assert await seen.until() == [("left", "Ann")]


@pytest.mark.one_node
@pytest.mark.settings(session_lease=1)
async def test_who_does_not_come_back_leaves(site: Site) -> None:
    seen = Seen(await watch(site))
    ann = await site.open(Sse)
    await enter(ann, "Ann")
    await seen.until("Ann")
    await lose(ann)
    assert await seen.until() == [("left", "Ann")]


async def test_a_goodbye_is_told_at_once(site: Site) -> None:
    seen = Seen(await watch(site))
    ann, bob = await site.open(WebSocket), await site.open(WebSocket)
    await enter(ann, "Ann")
    await enter(bob, "Bob")
    await seen.until("Ann", "Bob")
    await ann.close()
    assert await seen.until("Bob") == [("left", "Ann")]
    await site.call("DELETE", f"/api/connections/{bob.sid}")
    assert await seen.until() == [("left", "Bob")]


@pytest.mark.one_node
async def test_a_crowd_is_told_in_few_events(site: Site) -> None:
    seen = Seen(await watch(site))
    crowd = [await site.open(WebSocket) for _ in range(40)]
    await asyncio.gather(*(enter(client, f"c{i}") for i, client in enumerate(crowd)))
    await seen.until(*(f"c{i}" for i in range(40)))
    events = [one for one in seen.client.received if one.get("event") == "presence"]
    assert len(events) <= 8
    room = site.server._hub.presence
    assert len(room) == 40


@pytest.mark.settings(rooms={"quiet": {"presence": False}}, max_retained=3)
async def test_what_cannot_be_is_refused(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)

    def join(room: str, info: Any) -> Envelope:
        return {"event": "join", "data": {"room": room, "presence": info}}

    assert await client.refused(join("room", "Ann")) == "bad_request"
    assert await client.refused(join("room", {"name": "*" * 1024})) == "too_large"
    assert await client.refused(join("quiet", {})) == "forbidden"
    assert await client.refused({"event": "presence", "data": {"joined": []}}) == "reserved_event"
    for room in ("a", "b"):
        await client.accepted(join(room, {}))
    assert await client.refused(join("c", {})) == "retained_full"
    await client.accepted(join("a", {"name": "Ann"}))


@pytest.mark.one_node
@pytest.mark.settings(auth_secret=SECRET)
async def test_a_token_says_who_it_is(site: Site) -> None:
    rights = {"rooms": ["room"]}

    async def connect(subject: str, **claims: Any) -> Client:
        bearer = token(subject, **rights, **claims)
        return await WebSocket.open(site.url, site.http, ["room"], token=bearer)

    watcher = await connect("watcher")
    ann = await connect("ann", presence={"name": "Ann"})
    seen = Seen(watcher)
    await seen.until("Ann")
    (member,) = await site.server.presence("room")
    assert member == {"id": next(iter(seen.members)), "subject": "ann", "info": {"name": "Ann"}}
    data = {"room": "room", "presence": {"name": "Mallory", "mood": "fine"}}
    await ann.accepted({"event": "join", "data": data})
    while not seen.told:
        seen.take(await watcher.next())
    (member,) = await site.server.presence("room")
    assert member["info"] == {"name": "Ann", "mood": "fine"}
    renewed = token("ann", **rights, presence={"name": "Anna"})
    await ann.accepted({"event": "auth", "data": {"token": renewed}})
    await seen.until("Anna")
    for client in (watcher, ann):
        await client.close()


@pytest.mark.parametrize("site", [pytest.param("redis", marks=needs("redis"))], indirect=True)
async def test_the_members_of_a_dead_node_leave(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(presence, "LOOK_EVERY", 1)
    node = Server(site.settings)
    await node.start()
    seen = Seen(await watch(site))
    ann = await WebSocket.open(node.url.rstrip("/"), site.http)
    await enter(ann, "Ann")
    bob = await site.open(WebSocket)
    await enter(bob, "Bob")
    await seen.until("Ann", "Bob")
    # A node that stops tells nothing of its members, like one that dies.
    await node.stop()
    assert await seen.until("Bob") == [("left", "Ann")]


@pytest.mark.one_node
async def test_a_server_that_begins_anew_begins_with_nobody(site: Site) -> None:
    ann = await site.open(WebSocket)
    seen = Seen(await watch(site))
    await enter(ann, "Ann")
    await seen.until("Ann")
    if site.settings.log.startswith("redis"):
        return
    await site.restart()
    assert (await site.get("/api/presence", room="room"))["members"] == []
    assert await site.server.presence("room") == []
