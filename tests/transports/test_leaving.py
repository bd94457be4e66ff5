"""Clients that leave before they are answered."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from clients import until
from frames import Raw, handshake

from rtpush.log.group_commit import Batch
from rtpush.log.memory import MemoryLog
from rtpush.server import Server

HEAD = b"GET %b HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
RESET = struct.pack("ii", 1, 0)
REQUESTS = {
    "websocket": handshake("/ws"),
    "refused": handshake("/ws?last=-"),
    "sse": HEAD % b"/sse",
    "poll": HEAD % b"/poll",
}


@pytest.mark.parametrize("turns", [0, 1, 3])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("name", REQUESTS)
async def test_a_client_that_leaves_at_once_leaves_nothing(
    name: str, how: str, turns: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = Server(port=0, log="memory:")

    @server.event
    async def connect(*_: object) -> None:
        for _turn in range(turns):
            await asyncio.sleep(0)

    async with server:
        for _ in range(5):
            sock = socket.create_connection(("127.0.0.1", server.port))
            sock.sendall(REQUESTS[name])
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            sock.close()
        raw = await Raw.connect(server.port)
        raw.send(HEAD % b"/healthz")
        assert (await raw.head()).startswith(b"HTTP/1.1 200 ")
        raw.abort()
        listener = server._door._runner.server
        assert listener is not None
        await until(lambda: not listener.connections and not server._hub.sessions)
        assert not server._transport_context.connections
    assert [one for one in caplog.records if one.levelname == "ERROR"] == []


async def test_a_publisher_that_hangs_up_undoes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server(port=0, log="memory:") as server:
        log, held = server._log, list[Batch]()
        assert isinstance(log, MemoryLog)
        store = log._write
        monkeypatch.setattr(log, "_write", held.append)
        raw = await Raw.connect(server.port)
        body = b'{"event": "x"}'
        head = b"POST /api/publish HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n"
        raw.send(head % len(body) + body)
        await until(lambda: bool(held))
        raw.abort()
        listener = server._door._runner.server
        assert listener is not None
        await until(lambda: not listener.connections)
        monkeypatch.undo()
        store(held[0])
        assert log.last == 1
        # And the log goes on.
        await server.emit("y")
        assert log.last == 2
