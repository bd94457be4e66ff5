"""A hub without sockets and without an event loop: the tests own the time and the turns."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from rtpush.access.room_policy import RoomPolicy
from rtpush.config.settings import Settings
from rtpush.framing import JSON, Framing
from rtpush.handlers.registry import HandlerRegistry
from rtpush.hub import Hub
from rtpush.log.clock import LogClock
from rtpush.log.entry import Draft
from rtpush.log.memory import MemoryLog
from rtpush.protocol import Envelope, Position
from rtpush.sessions.catch_up import WRITE_BYTES
from rtpush.sessions.runtime import Runtime
from rtpush.sessions.session import Session

Event = dict[str, Any]


class Turns:
    """An event loop of which the test does every turn, and a clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.soon: deque[Callable[[], None]] = deque()
        self.spawned: deque[Coroutine[Any, Any, None]] = deque()
        self.runtime = Runtime(
            self.soon.append, self._later, self.spawned.append, self._tick, lambda: self.now
        )
        # What is due later, with when.
        self.later: deque[tuple[float, Callable[[], None]]] = deque()
        # Every look at the clock may cost a turn: passes then breathe as often as they can.
        self.step = 0.0

    def _tick(self) -> float:
        self.now += self.step
        return self.now

    def log_clock(self) -> LogClock:
        """The clock of a log that lives in these turns."""
        return LogClock(lambda: self.now, lambda: self.now)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self.later.append((self.now + seconds, act))

    def turn(self) -> None:
        """Do what is due, not what that makes due."""
        due = [act for when, act in self.later if when <= self.now]
        self.later = deque(one for one in self.later if one[0] > self.now)
        self.soon.extend(due)
        for _ in range(len(self.soon)):
            self.soon.popleft()()
        for _ in range(len(self.spawned)):
            finish(self.spawned.popleft())

    def settle(self) -> None:
        """Until nothing is due, now or later."""
        while self.soon or self.spawned or self.later:
            if self.later and not self.soon and not self.spawned:
                self.now = max(self.now, min(when for when, _ in self.later))
            self.turn()


def finish(work: Coroutine[Any, Any, None]) -> None:
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        work.send(None)


class Connection:
    """Takes what is written, up to a high-water mark that the test sets."""

    def __init__(self, hub: Hub, framing: Framing = JSON, room_for: int = 1 << 30) -> None:
        self.framing = framing
        self.hub = hub
        self.session: Session | None = None
        self.written: list[bytes] = []
        self.room_for = room_for
        self.held = 0
        # An envelope that comes in parts, and what was written behind it.
        self.parts: bytes | None = None
        self.behind: list[bytes] = []
        self.beats = 0
        self.closed: tuple[int, str] | None = None

    def write(self, data: bytes) -> None:
        if self.parts is None:
            self.written.append(data)
        else:
            self.behind.append(data)
        self._fill(data)

    def write_part(self, data: bytes, *, last: bool) -> None:
        self.parts = (self.parts or b"") + data
        if last:
            self.written += [self.parts, *self.behind]
            self.parts, self.behind = None, []
        self._fill(data)

    def _fill(self, data: bytes) -> None:
        self.held += len(data)
        if self.held >= self.room_for and self.session is not None:
            self.hub.pause(self.session)

    def drain(self) -> None:
        """The client has read everything."""
        full, self.held = self.held >= self.room_for, 0
        if full and self.session is not None and self.session.paused:
            self.hub.resume(self.session)

    def taken(self) -> int:
        return -self.held

    def heartbeat(self) -> None:
        self.beats += 1

    def close(self, code: int, reason: str) -> None:
        self.closed = code, reason

    @property
    def events(self) -> list[Event]:
        """Everything that was written, in order."""
        found: list[Event] = json.loads(b"[%b]" % b",".join(self.written))
        return found


class House:
    """A hub over a memory log, and a way to publish without an event loop."""

    def __init__(self, log: type[MemoryLog] = MemoryLog, **changes: Any) -> None:
        self.turns = Turns()
        self.settings = Settings(log="memory:", **changes)
        self.log = log(self.settings, self.turns.log_clock())
        room_policy = RoomPolicy(self.settings, HandlerRegistry())
        self.hub = Hub(self.log, self.settings, self.turns.runtime, room_policy)

    def publish(self, *envelopes: Envelope, skip: tuple[str, ...] = ()) -> None:
        async def append() -> None:
            await self.log.append([Draft.of(envelope, skip) for envelope in envelopes])

        asyncio.run(append())

    def lose_the_log(self) -> None:
        """What a log does that lost entries which it had handed out: it begins anew."""
        fresh = MemoryLog(self.settings, self.turns.log_clock())
        fresh.on_grow, fresh.on_lost = self.log.on_grow, self.log.on_lost
        vars(self.log).update(vars(fresh))
        self.log.on_lost()

    def open(
        self,
        *rooms: str,
        last: str | None = None,
        framing: Framing = JSON,
        room_for: int = 1 << 30,
        **options: Any,
    ) -> tuple[Session, Connection]:
        connection = Connection(self.hub, framing, room_for)
        session = self.hub.prepare(last, **options)
        for room in rooms:
            self.hub.enter(session, room)
        session.admitted = True
        self.hub.open(session, connection, last)
        connection.session = session
        return session, connection


def x(data: Any = None, **fields: Any) -> Envelope:
    return Envelope("x", data, **fields)


def told(connection: Connection) -> list[Any]:
    return [event["data"] for event in connection.events if event["event"] == "x"]


BIG = "y" * WRITE_BYTES


def keyed(*numbers: int) -> list[Envelope]:
    """Events of one key that fill a write each."""
    return [x([number, BIG], key="k") for number in numbers]


def numbers(connection: Connection) -> list[int]:
    return [number for number, _ in told(connection)]


def resyncs(connection: Connection) -> list[str]:
    """The reasons of the resyncs that were sent."""
    return [e["data"]["reason"] for e in connection.events if e["event"] == "resync"]


def read_all(house: House, connection: Connection) -> None:
    """The client reads all there is, one full buffer after the other."""
    for _ in range(20):
        house.turns.settle()
        connection.drain()


def start_of(house: House) -> str:
    return str(Position(house.log.epoch, 0))
