"""Connections that have much to handle take turns in the loop."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
from frames import TEXT, Raw, frame

from rtpush.server import Server
from rtpush.transports import websocket_connection
from rtpush.transports.websocket_connection import MAX_TURN_BYTES, WebSocketConnection
from rtpush.transports.work_queue import FRESH_SECONDS, TURN_SECONDS, WorkQueue


async def test_long_work_has_a_turn_of_the_loop_each() -> None:
    queue, loop = WorkQueue(), asyncio.get_running_loop()
    turn, done = 0, asyncio.Event()
    ran: list[tuple[str, int]] = []
    left = {"a": 2, "b": 2, "c": 1}

    def next_turn() -> None:
        nonlocal turn
        turn += 1
        if any(left.values()):
            loop.call_soon(next_turn)
        else:
            done.set()

    def work(name: str) -> None:
        ran.append((name, turn))
        time.sleep(TURN_SECONDS * 1.5)
        left[name] -= 1
        if left[name]:
            queue.add(lambda: work(name))

    next_turn()
    for name in left:
        queue.add(lambda name=name: work(name))
    await asyncio.wait_for(done.wait(), 10)
    assert [name for name, _ in ran] == ["a", "b", "c", "a", "b"]
    turns = [at for _, at in ran]
    assert len(set(turns)) == len(turns)


def use_up(queue: WorkQueue) -> int:
    """What else is done in this turn of the loop; how often there was time for more."""
    begun = 0
    while queue.has_time():
        begun += 1
        time.sleep(FRESH_SECONDS / 4)
    return begun


async def test_what_has_come_begins_in_this_turn_as_long_as_it_has_time() -> None:
    queue = WorkQueue()
    assert 1 <= use_up(queue) <= 4
    assert not queue.has_time()
    await asyncio.sleep(0)
    assert queue.has_time()


async def test_a_connection_begins_later_when_the_turn_has_no_time_left() -> None:
    async with Server(port=0, log="memory:") as server:
        raw = await Raw.upgraded(server.port)
        (connection,) = server._transport_context.connections
        use_up(server._transport_context.work_queue)
        connection.data_received(frame(TEXT, b'{"event":"ping","ack":1}'))
        assert connection._reading_paused
        while json.loads((await raw.frame()).payload).get("ack") != 1:
            """What came before it."""
        assert not connection._reading_paused
        raw.abort()


async def test_a_turn_of_costly_frames_is_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Server(port=0, log="memory:") as server:
        raw = await Raw.upgraded(server.port)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        # Each look at the clock is half a turn later.
        clock = itertools.count()
        monkeypatch.setattr(
            websocket_connection, "monotonic", lambda: next(clock) * TURN_SECONDS / 2
        )
        connection.data_received(frame(TEXT, b'{"event":"ping","ack":1}') * 5)
        assert connection._turn_due
        for _ in range(5):
            while json.loads((await raw.frame()).payload).get("ack") != 1:
                """What came before it."""
        raw.abort()


async def test_work_that_fails_does_not_hold_up_the_others() -> None:
    queue, ran = WorkQueue(), asyncio.Event()
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    queue.add(lambda: 1 // 0)
    queue.add(ran.set)
    await asyncio.wait_for(ran.wait(), 10)


async def test_a_connection_waits_its_turn_behind_a_large_message() -> None:
    async with Server(port=0, log="memory:") as server:
        raw = await Raw.upgraded(server.port)
        (connection,) = server._transport_context.connections
        assert isinstance(connection, WebSocketConnection)
        envelope = {"event": "x", "data": "*" * MAX_TURN_BYTES}
        connection.data_received(frame(TEXT, json.dumps(envelope).encode()))
        assert connection._reading_paused
        connection.data_received(frame(TEXT, b'{"event":"ping","ack":1}'))
        while json.loads((await raw.frame()).payload).get("ack") != 1:
            """What came before it."""
        assert not connection._reading_paused
        raw.abort()
