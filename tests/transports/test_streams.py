"""What a client on a stream is told when its connection ends amid a large envelope."""

from __future__ import annotations

import json

from clients import until
from frames import Raw

from rtpush.server import Server


async def fill_board(server: Server) -> None:
    """More than the buffers of a connection take."""
    for number in range(40):
        await server.emit("task_created", {"id": number, "text": "x" * 500_000})


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
