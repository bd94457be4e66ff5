"""WebSockets of an ASGI server: frames there, messages here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from clients import PATIENCE, until

from rtpush.asgi.websocket import AsgiWebSocket, FrameCache, client_frame
from rtpush.framing import WEBSOCKET, control_frame, text_frame

ACCEPT = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
PING = control_frame(9, b"")


class Taker(asyncio.Protocol):
    """Remembers what it is given."""

    def __init__(self) -> None:
        self.data = b""
        self.lost = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def data_received(self, data: bytes) -> None:
        self.data += data


class Far:
    """The far end of one WebSocket; `room` is set while it takes events."""

    def __init__(self, cache: FrameCache) -> None:
        self.sent: list[dict[str, Any]] = []
        self.room = asyncio.Event()
        self.room.set()
        self.taker = Taker()
        self.transport = AsgiWebSocket({"type": "websocket"}, self._send, cache)
        serving = self.transport.serve(self.taker, b"", asyncio.Event().wait)  # type: ignore[arg-type]
        self.serving = asyncio.create_task(serving)

    async def _send(self, event: Any) -> None:
        await self.room.wait()
        self.sent.append(event)

    def _texts(self) -> list[str]:
        return [event["text"] for event in self.sent if event["type"] == "websocket.send"]

    async def texts(self, count: int) -> list[str]:
        """The messages, when there are so many."""
        await until(lambda: len(self._texts()) >= count)
        return self._texts()


@pytest.fixture
async def far() -> AsyncIterator[Far]:
    far = Far(FrameCache())
    yield far
    far.transport.abort()
    await far.serving


async def test_frames_that_many_share_are_decoded_once() -> None:
    cache = FrameCache()
    ends = [Far(cache) for _ in range(2)]
    shared = text_frame(b'"one"') + text_frame("zwei: ü".encode() * 100)
    for far in ends:
        far.transport.write(ACCEPT)
    for far in ends:
        far.transport.write(shared)
    one, other = [await far.texts(2) for far in ends]
    assert one == ['"one"', "zwei: ü" * 100]
    assert all(left is right for left, right in zip(one, other, strict=True))
    for far in ends:
        far.transport.close()
        await far.serving


async def test_a_message_in_parts_is_sent_when_it_is_whole(far: Far) -> None:
    whole = "é" * 70_000
    data = whole.encode()
    far.transport.write(ACCEPT + WEBSOCKET.first_part(data[:1], None))
    far.transport.write(WEBSOCKET.part(data[1:7]) + PING)
    far.transport.write(WEBSOCKET.last_part(data[7:]) + text_frame(b"next"))
    assert await far.texts(2) == [whole, "next"]


async def test_a_ping_is_answered_when_what_was_before_it_is_taken(far: Far) -> None:
    far.transport.write(ACCEPT)
    far.room.clear()
    far.transport.write(text_frame(b"before") + PING)
    for _ in range(3):
        await asyncio.sleep(0)
    assert far.taker.data == b""
    far.room.set()
    await far.texts(1)
    await until(lambda: far.taker.data == client_frame(10, b""))


async def test_a_send_that_takes_for_ever_ends_with_the_connection(far: Far) -> None:
    far.room.clear()
    far.transport.write(ACCEPT)
    await asyncio.sleep(0)
    far.transport.abort()
    # It is no cancellation of the ASGI server's.
    await asyncio.wait_for(far.serving, PATIENCE)
    assert far.sent == []


async def test_a_cancellation_by_the_asgi_server_goes_on(far: Far) -> None:
    far.transport.write(ACCEPT)
    await until(lambda: far.sent != [])
    far.serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await far.serving
    assert far.taker.lost
    far.serving = asyncio.create_task(asyncio.sleep(0))
