"""What a client on a stream is told when its connection ends amid a large envelope."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import aiohttp
from clients import until
from frames import Raw

from rtpush.server import Server


async def fill_board(server: Server) -> None:
    """More than the buffers of a connection take."""
    for number in range(40):
        await server.emit("task_created", {"id": number, "text": "x" * 500_000})


async def test_the_newest_pong_waits_for_a_reader_that_is_slow() -> None:
    async with Server(port=0, log="memory:") as server, aiohttp.ClientSession() as http:
        await fill_board(server)
        async with http.get(f"{server.url}sse") as stream:
            sessions = server._hub.sessions
            await until(lambda: any(one.snapshot and one.paused for one in sessions.values()))
            for number in range(3):
                ping = {"event": "ping", "data": number}
                params = {"sid": next(iter(sessions))}
                async with http.post(f"{server.url}poll", params=params, json=ping) as answer:
                    assert await answer.json() == []
            pongs: list[int] = []
            async for line in lines(stream):
                envelope = json.loads(line[6:]) if line.startswith(b"data: ") else {}
                if envelope.get("event") == "pong":
                    pongs.append(envelope["data"])
                    break
    assert pongs == [2]


async def lines(stream: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for chunk in stream.content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line


async def test_a_client_that_is_put_out_amid_a_snapshot_is_told_over_sse() -> None:
    async with Server(port=0, log="memory:") as server:
        await fill_board(server)
        raw = await Raw.connect(server.port)
        raw.send(b"GET /sse HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        hub = server._hub
        await until(lambda: any(one.snapshot and one.paused for one in hub.sessions.values()))
        (sid,) = hub.sessions
        await server.disconnect(sid)
        stream = await raw.rest()
        raw.abort()
    *_, broken, last, end = stream.split(b"\n\n")
    assert broken.startswith(b"id: ")
    assert broken.endswith(b"\nid:\nevent: unfinished")
    envelope = json.loads(last.removeprefix(b"data: "))
    assert (envelope["event"], envelope["data"]["code"]) == ("disconnect", 4403)
    assert end == b""
