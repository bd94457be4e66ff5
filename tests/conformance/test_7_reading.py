"""PROTOCOL.md, section 7: recovery, slow readers, resync."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest
from clients import PATIENCE, Client, LongPoll, Sse, WebSocket, split, until
from sites import Site

BIG = "x" * 8192


class Stopped:
    """A client whose socket nobody reads, so that the server finds it slow."""

    def __init__(self, site: Site, path: str, *headers: str) -> None:
        self._site = site
        self._request = "\r\n".join([f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *headers, "", ""])

    async def __aenter__(self) -> Stopped:
        # A small window: the kernel holds little in its place.
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        connection.setblocking(False)
        address = ("127.0.0.1", self._site.port)
        await asyncio.get_running_loop().sock_connect(connection, address)
        self._reader, self._writer = await asyncio.open_connection(sock=connection, limit=1024)
        self._writer.write(self._request.encode())
        await self._reader.readuntil(b"\r\n\r\n")
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *_exc: object) -> None:
        self._writer.transport.abort()

    async def events(self, last: str) -> list[dict[str, Any]]:
        """What comes when it reads on, up to a position."""
        data, wanted = bytearray(), f'"id":"{last}"'.encode()
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(PATIENCE):
            while data.find(wanted, -(1 << 17)) < 0:
                chunk = await self._reader.read(1 << 16)
                assert chunk
                data += chunk
        lines = [line[6:] for line in data.split(b"\n") if line.startswith(b"data: ")]
        return [json.loads(line) for line in lines]


async def fill(site: Site, **fields: Any) -> None:
    """Publish until a reader that has stopped is found slow."""
    for _ in range(400):
        await site.publish(*({"event": "fill", "data": BIG} | fields for _ in range(25)))
        if site.server._hub.lagging():
            return
    raise AssertionError("nobody is slow")


@pytest.mark.settings(compress=False, high_water=16384)
async def test_a_slow_reader_gets_all_unkeyed_and_the_newest_keyed(site: Site) -> None:
    async with Stopped(site, "/sse") as slow:
        await fill(site)
        for i in range(20):
            await site.publish(
                {"event": "plain", "data": i},
                {"event": "keyed", "key": "k", "data": i},
                {"event": "keyed", "key": "other", "data": i},
                {"event": "else", "key": "k", "data": i},
            )
        (last,) = await site.publish({"event": "end"})
        events = await slow.events(last)
    by_name = {
        name: [e["data"] for e in events if (e["event"], e.get("key")) == name]
        for name in (("plain", None), ("keyed", "k"), ("keyed", "other"), ("else", "k"))
    }
    assert by_name == {
        ("plain", None): list(range(20)),
        ("keyed", "k"): [19],
        ("keyed", "other"): [19],
        ("else", "k"): [19],
    }
    seqs = [split(e["id"])[1] for e in events if "id" in e]
    assert seqs == sorted(set(seqs))


@pytest.mark.settings(compress=False, high_water=16384)
async def test_a_slow_reader_gets_what_a_task_appended_as_little_more_than_the_text(
    site: Site,
) -> None:
    async with Stopped(site, "/sse") as slow:
        await fill(site)
        text = await write_text(site)
        (last,) = await site.publish({"event": "end"})
        events = await slow.events(last)
    given = [e for e in events if e["event"] == "task_progress"]
    assert "".join(e["data"]["append"]["text"] for e in given) == text
    assert sum(len(json.dumps(e)) for e in given) < 1.2 * len(text)


async def test_a_client_that_comes_back_gets_it_likewise(site: Site, kind: type[Client]) -> None:
    client = await site.open(kind)
    await client.close()
    text = await write_text(site)
    await site.publish({"event": "end"})
    again = await site.open(kind, last=client.position)
    given = (await again.until("end"))[:-1]
    assert "".join(e["data"]["append"]["text"] for e in given) == text
    assert len(given) < 20


async def write_text(site: Site) -> str:
    """A task writes 1,000 words, each an event."""
    words = [f"{n:04} " for n in range(1000)]
    events = [
        {"event": "task_progress", "data": {"id": 1, "append": {"text": word}}} for word in words
    ]
    for start in range(0, len(events), 500):
        await site.publish(*events[start : start + 500])
    return "".join(words)


@pytest.mark.settings(compress=False, high_water=16384)
async def test_without_conflation_it_gets_everything(site: Site) -> None:
    async with Stopped(site, "/sse?conflate=0") as slow:
        await fill(site, key="k")
        (last,) = await site.publish({"event": "end"})
        events = await slow.events(last)
    assert len([e for e in events if e["event"] == "fill"]) == split(last)[1] - 1


@pytest.mark.settings(compress=False, high_water=16384)
async def test_a_slow_reader_costs_the_others_nothing(site: Site, kind: type[Client]) -> None:
    other = await site.open(kind)
    async with Stopped(site, "/sse"):
        await fill(site)
        (last,) = await site.publish({"event": "end"})
        found = await other.until("end")
        assert len(found) == split(last)[1]


@pytest.mark.one_node
@pytest.mark.settings(compress=False, high_water=16384, write_timeout=1)
async def test_who_takes_nothing_for_too_long_is_closed(site: Site) -> None:
    async with Stopped(site, "/sse"):
        await fill(site)
        await until(lambda: not site.server._hub.sessions)


@pytest.mark.settings(retention_count=50)
@pytest.mark.parametrize("reason", ["expired", "epoch", "ahead"])
async def test_resync_when_the_log_does_not_reach(
    site: Site, kind: type[Client], reason: str
) -> None:
    (old,) = await site.emit(1)
    await site.publish({"event": "task_created", "data": {"id": 1}})
    # A log on disk trims with a commit that follows.
    for _ in range(3):
        await site.emit(60)
    epoch, _ = split(old)
    last = {"expired": old, "epoch": "other-3", "ahead": f"{epoch}-999999"}[reason]
    client = await site.open(kind, last=last)
    assert client.hello["recovered"] is False
    connect, resync, snapshot = client.greeting
    assert resync == {"event": "resync", "data": {"reason": reason}}
    assert snapshot["event"] == "active_tasks"
    assert [task["id"] for task in snapshot["data"]["tasks"]] == [1]
    assert connect["data"]["position"] == snapshot["id"]
    # It goes on from there.
    (next_id,) = await site.publish({"event": "end"})
    assert [e["id"] for e in await client.until("end")] == [next_id]


@pytest.mark.settings(compress=False, high_water=16384, retention_count=200)
async def test_resync_when_retention_passes_a_slow_reader(site: Site) -> None:
    async with Stopped(site, "/sse") as slow:
        await fill(site)
        # More than the log keeps in memory, whatever retention says.
        for _ in range(25):
            await site.emit(100, data=BIG)
        (last,) = await site.publish({"event": "end"})
        events = await slow.events(last)
    names = [e["event"] for e in events]
    at = names.index("resync")
    assert events[at]["data"] == {"reason": "expired"}
    assert names[at + 1] == "active_tasks"
    # "goes on from there": nothing after the snapshot is older than it.
    position = split(events[at + 1]["id"])[1]
    assert all(split(e["id"])[1] > position for e in events[at + 2 :] if "id" in e)


async def test_exactly_once_while_transports_change_in_flight(site: Site) -> None:
    """Publishing never stops; the reader is now here, now there."""
    published: list[str] = []
    stop = asyncio.Event()

    async def publish() -> None:
        while not stop.is_set():
            published.extend(await site.publish({"event": "tick", "data": len(published)}))

    start = (await site.get("/api/tasks"))["position"]
    publishing = asyncio.create_task(publish())
    seen: list[Any] = []
    position: str | None = start
    for kind in (WebSocket, Sse, LongPoll) * 4:
        client = await site.open(kind, last=position)
        assert client.hello["recovered"] is True
        seen += [e["data"] for e in await client.take(5)]
        seen += [e["data"] for e in client._inbox]
        position = client.position
        await client.close()
    stop.set()
    await publishing
    assert seen == list(range(len(seen)))
    assert len(seen) >= 60
