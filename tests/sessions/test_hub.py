"""The hub without sockets and without an event loop: the tests own the time and the turns."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtpush.access.auth import Grant
from rtpush.access.room_policy import RoomPolicy
from rtpush.config.settings import Settings
from rtpush.errors import RtpushError
from rtpush.framing import FRAMINGS, JSON, Framing
from rtpush.handlers.registry import HandlerRegistry
from rtpush.hub import Hub
from rtpush.log.base import Page
from rtpush.log.entry import Draft, Entry
from rtpush.log.memory import MemoryLog
from rtpush.protocol import Envelope, Position, dumps
from rtpush.sessions import catch_up, snapshots
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
        self.runtime = Runtime(self.soon.append, self.spawned.append, self._tick, lambda: self.now)
        # Every look at the clock may cost a turn: passes then breathe as often as they can.
        self.step = 0.0

    def _tick(self) -> float:
        self.now += self.step
        return self.now

    def turn(self) -> None:
        """Do what is due, not what that makes due."""
        for _ in range(len(self.soon)):
            self.soon.popleft()()
        for _ in range(len(self.spawned)):
            finish(self.spawned.popleft())

    def settle(self) -> None:
        """Until nothing is due."""
        while self.soon or self.spawned:
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

    def backlog(self) -> int:
        return self.held

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
        self.log = log(self.settings, lambda: self.turns.now)
        room_policy = RoomPolicy(self.settings, HandlerRegistry())
        self.hub = Hub(self.log, self.settings, self.turns.runtime, room_policy)

    def publish(self, *envelopes: Envelope, skip: tuple[str, ...] = ()) -> None:
        async def append() -> None:
            await self.log.append([Draft.of(envelope, skip) for envelope in envelopes])

        asyncio.run(append())

    def lose_the_log(self) -> None:
        """What a log does that lost entries which it had handed out: it begins anew."""
        fresh = MemoryLog(self.settings, lambda: self.turns.now)
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


@pytest.fixture
def house() -> House:
    return House()


def x(data: Any = None, **fields: Any) -> Envelope:
    return Envelope("x", data, **fields)


def told(connection: Connection) -> list[Any]:
    return [event["data"] for event in connection.events if event["event"] == "x"]


# ---- passes ------------------------------------------------------------------


@pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: f"{framing.index}-{framing.name}")
def test_all_of_a_group_get_the_same_bytes(house: House, framing: Framing) -> None:
    wires = [house.open("a", framing=framing)[1] for _ in range(3)]
    before = [len(connection.written) for connection in wires]
    house.publish(x(1, room="a"), x(2))
    shared = [connection.written[n:] for connection, n in zip(wires, before, strict=True)]
    assert len(shared[0]) == 1, "one write for a pass"
    assert all(written[0] is shared[0][0] for written in shared)


def test_a_broken_wire_does_not_end_the_pass(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    wires = [house.open()[1] for _ in range(3)]

    def fail(data: bytes) -> None:
        raise OSError("gone")

    wires[1].write = fail  # type: ignore[method-assign]
    house.publish(x(1))
    assert [told(wires[0]), told(wires[2])] == [[1], [1]]
    assert len(house.hub.sessions) == 2
    assert "a connection failed" in caplog.text


def test_a_long_pass_breathes_and_whoever_comes_meanwhile_misses_nothing(house: House) -> None:
    wires = [house.open()[1] for _ in range(500)]
    house.turns.step = 0.002
    house.publish(x(1))
    assert house.turns.soon, "it lets the loop breathe"
    assert not house.hub.idle.is_set()
    late = house.open()[1]
    back = house.open(last=str(Position(house.log.epoch, 0)))[1]
    house.publish(x(2))
    house.turns.settle()
    assert house.hub.idle.is_set()
    assert all(told(connection) == [1, 2] for connection in [*wires, back])
    assert told(late) == [2]


def test_a_session_that_comes_between_two_events_gets_the_second(house: House) -> None:
    for _ in range(500):
        house.open()
    house.turns.step = 0.002
    house.publish(x(1))
    house.publish(x(2))
    late = house.open()[1]
    house.publish(x(3))
    house.turns.settle()
    assert told(late) == [3]


def test_a_session_that_moves_to_a_group_already_served_gets_what_it_is_owed(
    house: House,
) -> None:
    for _ in range(500):
        house.open("a")
    session, connection = house.open()
    house.turns.step = 0.002
    house.publish(x(1), x("theirs", room="a"))
    assert told(connection) == []
    house.hub.join(session, "a")
    house.publish(x(2, room="a"))
    house.turns.settle()
    assert told(connection) == [1, 2]


def test_groups_that_an_event_concerns_alike_share_its_bytes(house: House) -> None:
    wires = [house.open(*rooms)[1] for rooms in (("a",), ("a", "b"))]
    house.publish(x(1, room="a"))
    assert wires[0].written[-1] is wires[1].written[-1]


def test_deliveries_are_counted(house: House) -> None:
    assert house.hub.idle.is_set()
    (session, _), _ = house.open("a"), house.open("a")
    house.publish(x(1), x(2))
    house.publish(x(3, room="b"))
    assert house.hub.deliveries == 2
    house.publish(x(4, room=session.sid))
    house.hub.send_volatile("x", 5, "a", skip=(session.sid,))
    assert house.hub.deliveries == 4


def test_volatile_events_reach_those_who_keep_up(house: House) -> None:
    (one, first), (two, second), (_, third) = house.open("a"), house.open("a"), house.open()
    house.hub.send_volatile("x", 1, "a")
    house.hub.send_volatile("x", 2, None, skip=(one.sid,))
    house.hub.send_volatile("x", 3, one.sid)
    house.hub.pause(one)
    house.hub.pause(two)
    house.hub.send_volatile("x", 4, None)
    house.hub.send_volatile("x", 5, one.sid)
    assert (told(first), told(second), told(third)) == ([1, 3], [1, 2], [2, 4])


def test_a_session_that_is_named_reads_for_itself(house: House) -> None:
    (one, first), (two, second) = house.open("a"), house.open("a")
    house.publish(x(1, room="a"), skip=(one.sid,))
    house.publish(x(2, room=two.sid))
    house.publish(x(3, room="a"), x(4))
    assert told(first) == [3, 4]
    assert told(second) == [1, 2, 3, 4]


# ---- groups ------------------------------------------------------------------


def test_nothing_is_left_of_those_who_have_gone(house: House) -> None:
    sessions = [house.open(*rooms)[0] for rooms in ((), ("a",), ("a", "b"), ("b",), ("a",))]
    assert house.hub.groups.rooms() == {"a": 3, "b": 2}
    for session in sessions:
        house.hub.join(session, "c")
        house.hub.leave(session, "a")
    assert house.hub.groups.rooms() == {"b": 2, "c": 5}
    for session in sessions:
        house.hub.close(session)
        house.hub.close(session)
    assert house.hub.groups.rooms() == {}
    assert list(house.hub.groups) == []
    assert house.hub.sessions == {}


def test_snapshots_are_shared_until_the_board_changes(house: House) -> None:
    house.publish(Envelope("task_created", {"id": 1, "text": "x" * 10_000}))
    wires = [house.open()[1] for _ in range(3)]
    assert len({id(connection.written[-1]) for connection in wires}) == 1
    house.publish(Envelope("task_progress", {"id": 1, "progress": 5}))
    (task,) = house.open()[1].events[-1]["data"]["tasks"]
    assert task["progress"] == 5


def test_snapshots_follow_the_time() -> None:
    house = House(finished_for=60)
    house.publish(Envelope("task_created", {"id": 1}), Envelope("task_completed", {"id": 1}))
    assert len(house.open()[1].events[-1]["data"]["finished"]) == 1
    house.turns.now += 61
    house.hub.tick()
    assert house.open()[1].events[-1]["data"]["finished"] == []


# ---- large boards ------------------------------------------------------------


def task(id_: int, size: int, **fields: Any) -> Envelope:
    return Envelope("task_created", {"id": id_, "text": "x" * size}, **fields)


def tasks(connection: Connection) -> list[Any]:
    return [task["id"] for task in connection.events[-1]["data"]["tasks"]]


def test_a_large_board_is_encoded_once_for_readers_in_all_rooms(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.publish(*(task(n, 1000) for n in range(500)))
    encoded = 0

    def count(value: Any) -> bytes:
        nonlocal encoded
        data = dumps(value)
        encoded += len(data)
        return data

    monkeypatch.setattr(snapshots, "dumps", count)
    wires = [house.open(f"r{n}")[1] for n in range(50)]
    house.turns.settle()
    assert all(tasks(wire) == list(range(500)) for wire in wires)
    assert encoded < 600_000
    house.publish(Envelope("task_progress", {"id": 7, "progress": 1}))
    late = house.open("late")[1]
    house.turns.settle()
    assert tasks(late) == list(range(500))
    assert encoded < 700_000, "only the page that has changed is encoded again"


def test_who_does_not_read_a_large_board_holds_none_of_it(house: House) -> None:
    house.publish(*(task(n, 30_000) for n in range(100)))
    wires = [house.open(f"r{n}", room_for=40_000)[1] for n in range(20)]
    house.turns.settle()
    assert all(wire.held < 80_000 for wire in wires)
    house.publish(x(1))
    for wire in wires:
        while wire.held:
            wire.drain()
            house.turns.settle()
        # The board at one position, and then what came after it.
        board, after = wire.events[-2:]
        assert [task["id"] for task in board["data"]["tasks"]] == list(range(100))
        assert (board["id"], after["id"]) == (f"{house.log.epoch}-100", f"{house.log.epoch}-101")


def test_many_joins_of_a_room_are_answered_as_they_are_read(house: House) -> None:
    house.publish(*(task(n, 1000, room="a") for n in range(20)))
    session, wire = house.open(framing=replace(JSON, name="websocket"), room_for=40_000)
    for _ in range(1000):
        house.hub.join(session, "a")
    house.turns.settle()
    assert wire.held < 80_000
    wire.drain()
    house.turns.settle()
    boards = [event for event in wire.events if event.get("room") == "a"]
    assert [len(board["data"]["tasks"]) for board in boards] == [20] * len(boards)
    assert 2 <= len(boards) <= 4


def test_a_large_room_comes_whole_to_who_loses_its_connection_amid_it(house: House) -> None:
    house.publish(*(task(n, 30_000, room="a") for n in range(5)))
    session, wire = house.open(room_for=40_000)
    house.hub.join(session, "a")
    house.turns.settle()
    assert wire.parts
    house.hub.close(session)
    _, again = house.open(last=str(house.log.position), sid=session.sid)
    house.turns.settle()
    assert tasks(again) == list(range(5))
    assert again.events[-1]["room"] == "a"


def test_readers_cannot_hold_old_boards_without_end(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catch_up, "MAX_OUTDATED_BYTES", 400_000)
    house.publish(*(task(n, 30_000) for n in range(10)))
    wires = []
    for _ in range(10):
        wires.append(house.open(room_for=10)[1])
        house.publish(
            *(Envelope("task_progress", {"id": n, "text": "y" * 30_000}) for n in range(10))
        )
    house.hub.tick()
    assert house.log.board.index.outdated.bytes <= 400_000
    closed = [wire.closed for wire in wires]
    assert closed[0] == (4508, "too_slow")
    assert closed[-1] is None


# ---- time --------------------------------------------------------------------


def test_heartbeats_are_spread_and_everybody_gets_them() -> None:
    house = House(heartbeat=10)
    wires = [house.open()[1] for _ in range(200)]
    each_second = []
    for _ in range(10):
        before = sum(connection.beats for connection in wires)
        house.hub.tick()
        each_second.append(sum(connection.beats for connection in wires) - before)
    assert all(connection.beats == 1 for connection in wires)
    assert max(each_second) < 100, "a crowd does not beat at once"


def test_a_wire_of_which_nothing_leaves_is_closed() -> None:
    house = House(write_timeout=60)
    stuck, slow = house.open(room_for=500)[1], house.open(room_for=500)[1]
    house.publish(x("y" * 1000))
    assert house.hub.lagging() == 2
    house.turns.now += 59
    house.hub.tick()
    slow.held -= 1
    house.turns.now += 2
    house.hub.tick()
    assert stuck.closed == (4508, "too_slow")
    assert stuck.events[-1]["event"] == "disconnect"
    assert slow.closed is None
    house.turns.now += 61
    house.hub.tick()
    assert slow.closed == (4508, "too_slow")


def test_a_session_that_was_lost_can_be_taken_up_for_a_while() -> None:
    house = House(session_lease=60)
    ends: list[tuple[str, str]] = []
    house.hub.on_closed = lambda session, reason: ends.append((session.sid, reason))
    session, _ = house.open("a")
    house.hub.join(session, "b")
    house.hub.close(session, "transport error")
    assert ends == [(session.sid, "transport error")]
    house.turns.now += 59
    house.hub.tick()
    again, connection = house.open("c", last=str(house.log.position), sid=session.sid)
    assert again is session
    assert connection.events[0]["data"]["rooms"] == ["a", "b", "c"]
    house.hub.close(again)
    house.turns.now += 61
    house.hub.tick()
    assert house.open(last=str(house.log.position), sid=session.sid)[0] is not session


def test_who_was_sent_away_cannot_take_its_session_up(house: House) -> None:
    session, connection = house.open()
    house.hub.disconnect(session, RtpushError("forbidden", "Go."))
    assert connection.closed == (4403, "forbidden")
    last = str(house.log.position)
    assert house.open(last=last, sid=session.sid)[0] is not session


# ---- reading for oneself -----------------------------------------------------

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


@pytest.mark.parametrize("again", [False, True], ids=["new connection", "next request"])
def test_what_a_client_missed_before_it_came_back_is_never_conflated(
    house: House, again: bool
) -> None:
    house.publish(*keyed(1, 2, 3))
    if again:
        session, _ = house.open()
        house.hub.detach(session)
        connection = Connection(house.hub, room_for=400)
        connection.session = session
        house.hub.reattach(session, connection, start_of(house))
    else:
        _, connection = house.open(last=start_of(house), room_for=400)
    assert connection.held, "it is slow from its first event on"
    house.publish(*keyed(4, 5, 6))
    read_all(house, connection)
    assert numbers(connection) == [1, 2, 3, 6]


def test_a_client_that_lags_is_not_conflated_when_it_asked_for_that(house: House) -> None:
    _, connection = house.open(room_for=400, conflate=False)
    house.publish(*keyed(1, 2, 3, 4))
    read_all(house, connection)
    assert numbers(connection) == [1, 2, 3, 4]


def test_a_client_that_has_caught_up_is_not_conflated_until_it_lags_again(house: House) -> None:
    session, connection = house.open(room_for=400)
    house.publish(*keyed(1, 2, 3))
    read_all(house, connection)
    assert numbers(connection) == [1, 3]
    connection.room_for = 1 << 30
    # The last one lets the session read for itself.
    small = [x([number, ""], key="k") for number in (4, 5)]
    house.publish(*small, x([6, ""], room=session.sid))
    house.turns.settle()
    assert numbers(connection) == [1, 3, 4, 5, 6]


def test_after_a_loss_of_the_log_a_slow_client_is_conflated_from_the_start(house: House) -> None:
    house.publish(*(x(n) for n in range(10)))
    session, connection = house.open(room_for=400)
    away = house.open()[0]
    house.hub.close(away)
    house.hub.pause(session)
    house.lose_the_log()
    house.turns.settle()
    assert resyncs(connection) == []
    assert str(house.hub.position_of(session)) == "lost-0"
    house.hub.resume(session)
    house.turns.settle()
    connection.drain()
    house.publish(*keyed(1, 2, 3))
    read_all(house, connection)
    assert resyncs(connection) == ["epoch"]
    assert numbers(connection) == [1, 3]


def test_a_client_that_stops_and_goes_on_begins_no_second_read() -> None:
    house = House(retention_count=3)
    session, connection = house.open()
    house.hub.pause(session)
    house.publish(*(x(n) for n in range(10)))
    for _ in range(3):
        house.hub.resume(session)
        assert len(house.turns.spawned) == 1
        house.hub.pause(session)
    house.hub.resume(session)
    house.turns.settle()
    assert resyncs(connection) == ["expired"]


def test_a_client_that_stops_and_goes_on_gets_one_write_a_turn(house: House) -> None:
    house.publish(*keyed(1, 2, 3, 4, 5))
    session, connection = house.open(last=start_of(house))
    for _ in range(3):
        house.hub.pause(session)
        house.hub.resume(session)
    assert numbers(connection) == [1]
    for turn in range(2, 6):
        house.turns.turn()
        assert numbers(connection) == list(range(1, turn + 1))


def test_what_is_sent_to_a_session_before_it_opens_reaches_it() -> None:
    house = House(retention_count=3)
    house.publish(*(x(n) for n in range(10)))
    session = house.hub.prepare()
    house.publish(x("yours", room=session.sid), x("all"))
    connection = Connection(house.hub)
    house.hub.open(session, connection)
    assert told(connection) == ["yours"]


def test_what_was_sent_to_a_session_before_it_opens_may_be_gone() -> None:
    house = House(retention_count=3)
    session = house.hub.prepare()
    house.publish(x("yours", room=session.sid), *(x(n) for n in range(10)))
    connection = Connection(house.hub)
    house.hub.open(session, connection)
    assert [event["event"] for event in connection.events] == ["connect", "active_tasks"]


@pytest.mark.parametrize("wakes", ["a message", "a room", "a full connection"])
def test_a_session_whose_rooms_were_silent_has_missed_nothing(wakes: str) -> None:
    house = House(retention_count=3)
    session, connection = house.open("a")
    for n in range(10):
        house.publish(x(n, room="b"))
    if wakes == "a message":
        house.publish(x("yours", room=session.sid))
    elif wakes == "a full connection":
        house.hub.pause(session)
        assert house.hub.lagging() == 1
        house.hub.resume(session)
        assert house.hub.lagging() == 0
        house.publish(x("yours", room="a"))
    else:
        house.hub.join(session, "c")
        house.publish(x("yours", room="c"))
    house.turns.settle()
    assert told(connection) == ["yours"]
    assert resyncs(connection) == []


def test_a_batch_larger_than_the_memory_of_the_log() -> None:
    house = House(retention_count=3)
    (slow, held), (_, quick) = house.open(), house.open()
    house.hub.pause(slow)
    house.publish(*(x(n) for n in range(10)))
    house.turns.settle()
    assert (resyncs(quick), resyncs(held)) == (["expired"], [])
    house.publish(x(10))
    assert told(quick) == [10]


def test_a_room_that_a_session_was_put_in_while_away_is_shown_when_it_is_back(
    house: House,
) -> None:
    session, _ = house.open()
    last = str(house.hub.position_of(session))
    assert last == str(house.log.position)
    house.hub.detach(session)
    house.hub.put(session, "a")
    house.publish(x(1, room="a"))
    connection = Connection(house.hub)
    house.hub.reattach(session, connection, last)
    house.hub.reattach(session, connection, last)
    events = [(event["event"], event.get("room")) for event in connection.events]
    assert events.count(("active_tasks", "a")) == 1
    assert told(connection) == [1, 1]


class ShortMemory(MemoryLog):
    """A log whose older entries are in its store alone."""

    def recent(self, after: int, max_bytes: int) -> Sequence[Entry] | None:
        return super().recent(after, max_bytes) if after >= self.last - 1 else None


@pytest.fixture
def stored() -> House:
    return House(ShortMemory)


def test_the_store_is_read_without_what_was_superseded(stored: House) -> None:
    _, connection = stored.open(room_for=400)
    _, all_of_it = stored.open(room_for=400, conflate=False)
    stored.publish(*keyed(1))
    stored.turns.settle()
    stored.publish(x([0, ""]))
    stored.publish(*keyed(2, 3, 4))
    read_all(stored, connection)
    read_all(stored, all_of_it)
    assert numbers(connection) == [1, 0, 4]
    assert numbers(all_of_it) == [1, 0, 2, 3, 4]


def test_the_store_gives_a_client_that_comes_back_all_that_it_missed(stored: House) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    _, connection = stored.open(last=start_of(stored))
    _, slow = stored.open(last=start_of(stored), room_for=400)
    stored.hub.pause(slow.session)  # type: ignore[arg-type]
    slow.held = 400
    stored.publish(*keyed(5, 6, 7))
    read_all(stored, connection)
    read_all(stored, slow)
    assert numbers(connection)[:4] == [1, 2, 3, 4]
    assert numbers(slow) == [1, 2, 3, 4, 7]


@pytest.mark.parametrize("client", ["stays", "goes", "comes back"])
def test_a_store_that_cannot_be_read(stored: House, client: str) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    read = stored.log.read

    async def fail(*_: Any) -> Page:
        stored.log.read = read  # type: ignore[method-assign]
        raise RtpushError("unavailable", "The disk is gone.")

    stored.log.read = fail  # type: ignore[method-assign]
    session, connection = stored.open(last=start_of(stored))
    if client == "goes":
        stored.hub.close(session)
    elif client == "comes back":
        connection = Connection(stored.hub)
        stored.hub.reattach(session, connection, start_of(stored))
    stored.turns.settle()
    assert connection.closed == ((4503, "unavailable") if client == "stays" else None)
    assert numbers(connection) == ([1, 2, 3, 4] if client == "comes back" else [])


def test_a_client_that_goes_while_the_store_is_read(stored: House) -> None:
    stored.publish(*keyed(1, 2, 3, 4))
    session, connection = stored.open(last=start_of(stored))
    stored.hub.detach(session)
    again = Connection(stored.hub)
    stored.hub.reattach(session, again, start_of(stored))
    stored.turns.settle()
    assert numbers(connection) == []
    assert numbers(again) == [1, 2, 3, 4]


# ---- opening, coming back, ending ----------------------------------------------


def test_a_client_takes_over_a_session_that_seems_connected(house: House) -> None:
    session, dead = house.open("a")
    last = str(house.log.position)
    house.publish(x(1))
    again, connection = house.open(last=last, sid=session.sid)
    assert again is session
    assert dead.closed == (1000, "another connection took over")
    assert told(connection) == [1]
    assert connection.events[0]["data"]["recovered"] is True
    assert house.open(sid=session.sid)[0] is not session, "without a position it begins anew"
    stranger = house.open(last=last, sid=session.sid, grant=Grant(subject="eve"))[0]
    assert stranger is not session


def test_the_application_is_told_once_and_of_sessions_alone(house: House) -> None:
    ends: list[str] = []
    house.hub.on_closed = lambda session, _reason: ends.append(session.sid)
    session, _ = house.open()
    reader = house.hub.peek(Connection(house.hub), start_of(house))
    refused = house.hub.prepare()
    for one in (reader, refused, session, session):
        house.hub.close(one)
    assert ends == [session.sid]


def test_nothing_has_changed_after_a_refusal() -> None:
    house = House(max_rooms=2, max_connections=1)
    for rooms, last, code in (
        ([], "nonsense", "bad_position"),
        ([""], None, "bad_room"),
        (["a", "b", "c"], None, "too_many_rooms"),
    ):
        with pytest.raises(RtpushError) as refused:
            house.hub.check_connect_request(rooms, last)
        assert refused.value.code == code
    with pytest.raises(RtpushError, match="bad_position"):
        house.hub.prepare("nonsense")
    house.hub.check_connect_request(["a", "b"], start_of(house))
    house.open()
    with pytest.raises(RtpushError, match="as many connections as it allows"):
        house.open()
    house.hub.stopping = True
    with pytest.raises(RtpushError, match="is stopping"):
        house.open()
    assert len(house.hub.sessions) == 1


def test_a_position_of_another_log_is_answered_with_a_resync(house: House) -> None:
    _, connection = house.open(last="other-5")
    assert [event["event"] for event in connection.events] == [
        "connect",
        "resync",
        "active_tasks",
    ]
    assert connection.events[0]["data"]["recovered"] is False
    assert connection.events[0]["data"]["position"] == str(house.log.position)
    assert resyncs(connection) == ["epoch"]


def test_a_reader_of_the_process_gets_everything_and_hears_of_a_loss(house: House) -> None:
    connection = Connection(house.hub, room_for=400)
    house.publish(x(0))
    connection.session = house.hub.peek(connection, start_of(house))
    house.publish(*keyed(1, 2, 3))
    for _ in range(5):
        house.turns.settle()
        connection.drain()
    assert [data if data == 0 else data[0] for data in told(connection)] == [0, 1, 2, 3]
    house.lose_the_log()
    house.turns.settle()
    assert resyncs(connection) == ["epoch"]


def test_a_session_that_came_back_often_beats_as_one() -> None:
    house = House(heartbeat=10)
    session, connection = house.open()
    for _ in range(20):
        house.hub.close(session)
        connection = house.open(last=str(house.log.position), sid=session.sid)[1]
    for _ in range(10):
        house.hub.tick()
    assert connection.beats == 1


def test_clients_of_a_server_that_stops_come_back_spread_over_time(house: House) -> None:
    wires = [house.open()[1] for _ in range(200)]
    house.hub.disconnect_all(RtpushError("going_away", "Stopping."))
    waits = [connection.events[-1]["data"]["retry_after"] for connection in wires]
    assert 0.0 <= min(waits) < 0.5
    assert 0.9 < max(waits) <= 1.4
    assert all(round(wait, 2) == wait for wait in waits)


def test_a_session_leaves_the_rooms_that_its_new_token_does_not_list() -> None:
    house = House(auth_secret="s" * 32)
    session, connection = house.open("a", "b", grant=Grant(subject="ada", rooms=("a", "b")))
    house.hub.renew(session, Grant(subject="ada", rooms=("b",)))
    assert list(session.rooms) == ["b"]
    assert connection.events[-1]["data"]["code"] == "forbidden"


def test_a_session_that_is_ended_is_told_why(house: House) -> None:
    error = RtpushError("unavailable", "Enough.")
    for retry, expected in ((None, error.retry_after), (2.5, 2.5)):
        session, connection = house.open()
        house.hub.disconnect(session, error, retry)
        last = connection.events[-1]
        assert last["event"] == "disconnect"
        assert last["data"] == {"reason": "Enough.", "code": 4503, "retry_after": expected}
        assert connection.closed == (4503, "unavailable")
        assert not house.hub.knows(session.sid)


@pytest.mark.parametrize("away", [False, True])
def test_who_was_thrown_out_while_away_hears_of_it(house: House, away: bool) -> None:
    session, _ = house.open()
    last = str(house.log.position)
    if away:
        house.hub.close(session)
    house.hub.evict(session, RtpushError("forbidden", "Out."))
    assert not house.hub.knows(session.sid)
    if away:
        with pytest.raises(RtpushError, match=r"Out\."):
            house.open(last=last, sid=session.sid)
    else:
        assert house.open(last=last, sid=session.sid)[0] is not session


def test_a_polling_session_ends_when_no_request_comes() -> None:
    house = House(session_lease=60, heartbeat=1)
    ends: list[str] = []
    house.hub.on_closed = lambda _session, reason: ends.append(reason)
    session, _ = house.open()
    house.hub.detach(session)
    session.lease_until = house.hub.lease()
    house.turns.now += 60
    house.hub.tick()
    assert ends == []
    house.turns.now += 1
    house.hub.tick()
    assert ends == ["ping timeout"]


def test_the_next_request_of_a_session_takes_over(house: House) -> None:
    session, first = house.open(room_for=400)
    last = str(house.log.position)
    house.publish(x(1))
    second = Connection(house.hub)
    with pytest.raises(RtpushError, match="bad_position"):
        house.hub.reattach(session, second, "nonsense")
    assert first.closed is None
    house.hub.reattach(session, second, last)
    assert first.closed == (1000, "another request took over")
    assert [event["event"] for event in second.events] == ["x"]
    assert house.hub.lagging() == 0


def test_a_session_that_lost_its_right_to_a_room_is_told() -> None:
    house = House(auth_secret="s" * 32)
    expelled: list[str] = []
    house.hub.on_expelled = lambda _session, room: expelled.append(room)
    grant = Grant(rooms=("a",))
    (here, connection), (away, _) = house.open("a", grant=grant), house.open("a", grant=grant)
    for session in (here, away):
        house.hub.enter(session, "b", house.turns.now + 10)
    house.hub.detach(away)
    house.turns.now += 11
    house.hub.tick()
    assert expelled == ["b", "b"]
    assert (list(here.rooms), list(away.rooms)) == (["a"], ["a"])
    assert connection.events[-1]["event"] == "error"
    assert connection.events[-1]["room"] == "b"
    later = Connection(house.hub)
    house.hub.reattach(away, later, str(house.log.position))
    house.hub.reattach(away, later, str(house.log.position))
    assert [event["event"] for event in later.events] == ["error"], "told once"


def test_a_token_that_expires_ends_the_session_unless_it_is_renewed(house: House) -> None:
    grant = Grant(subject="ada", expires=house.turns.now + 10)
    (one, first), (two, second) = (house.open(grant=grant) for _ in range(2))
    with pytest.raises(RtpushError, match="another user"):
        house.hub.renew(one, Grant(subject="eve"))
    house.hub.renew(one, Grant(subject="ada", expires=house.turns.now + 20))
    house.turns.now += 10
    house.hub.tick()
    assert (first.closed, second.closed) == (None, (4401, "not_authenticated"))
    with pytest.raises(RtpushError, match="it ended"):
        house.hub.renew(two, grant)
    house.turns.now += 10
    house.hub.tick()
    assert first.closed == (4401, "not_authenticated")


# ---- shares --------------------------------------------------------------------


@pytest.mark.parametrize(
    "client",
    [{"address": "203.0.113.9"}, {"grant": Grant(subject="ada")}],
    ids=["address", "subject"],
)
def test_a_session_that_ended_leaves_its_place_to_another(client: dict[str, Any]) -> None:
    house = House(max_per_address=2, max_per_subject=2)
    for _ in range(3):
        sessions = [house.open(**client)[0] for _ in range(2)]
        with pytest.raises(RtpushError, match="as many connections") as refused:
            house.open(**client)
        assert refused.value.code == "rate_limited"
        sessions.append(house.open(address="203.0.113.10", grant=Grant(subject="bob"))[0])
        for session in sessions:
            house.hub.close(session)


# ---- any interleaving of everything ------------------------------------------


class Reader:
    """A client that keeps the protocol's rules, and what it has seen."""

    def __init__(self, framing: Framing, rooms: set[str], conflate: bool) -> None:
        self.framing = framing
        self.rooms = rooms
        self.conflate = conflate
        self.session: Session | None = None
        self.connection: Connection | None = None
        self.position: str | None = None
        self.seen: list[int] = []
        # The log's end when this connection began: up to there it is owed everything.
        self.owed = 0
        # Each step of the position: from, to, and what was owed then.
        self.steps: list[tuple[int, int, int]] = []
        # What it may be missing: ends of stretches that a resync has skipped.
        self.gaps: set[int] = set()
        self.since: dict[str, int] = {}
        # The active tasks that it knows of.
        self.tasks: dict[Any, Event] = {}

    def fold(self, event: Event) -> None:
        """Keep the tasks, as PROTOCOL.md, section 6, asks of a client."""
        data = event["data"]
        if event["event"] == "active_tasks":
            self.tasks = {task["id"]: task for task in data["tasks"]}
        elif event["event"] == "task_completed":
            self.tasks.pop(data["id"], None)
        elif event["event"].startswith("task_"):
            room = {"room": event["room"]} if "room" in event else {}
            self.tasks[data["id"]] = self.tasks.get(data["id"], {}) | data | room

    def take(self) -> None:
        """Read what is on the wire, as PROTOCOL.md, section 3, asks of a client."""
        assert self.connection is not None
        for event in self.connection.events:
            self.fold(event)
            if event["event"] == "active_tasks":
                seq = int(event["id"].partition("-")[2])
                if "room" in event:
                    self.since[event["room"]] = seq
                else:
                    self.gaps.add(seq)
                    self.position = event["id"]
            elif "id" in event:
                seq = int(event["id"].partition("-")[2])
                before = int((self.position or "-0").partition("-")[2])
                assert seq > before
                assert seq > self.since.get(event.get("room", ""), 0)
                self.steps.append((before, seq, self.owed))
                self.position = event["id"]
                self.seen.append(seq)
        self.connection.written.clear()


ROOMS = st.sampled_from(["a", "b"])


class AnyInterleaving(RuleBasedStateMachine):
    """Publishing, lagging, leaving, coming back, trimming: each reader gets what is promised."""

    @initialize()
    def begin(self) -> None:
        self.house = House(retention_count=15)
        # Passes breathe after each handful of sessions.
        self.house.turns.step = 0.003
        self.readers: list[Reader] = []
        self.published: list[tuple[int, str | None, tuple[str, str] | None]] = []

    def teardown(self) -> None:
        if hasattr(self, "house"):
            self.check_all()

    # ---- what happens

    @rule(
        events=st.lists(
            st.tuples(st.none() | ROOMS, st.none() | st.sampled_from("kl"), st.integers(0, 4)),
            min_size=1,
            max_size=8,
        )
    )
    def publish(self, events: list[tuple[str | None, str | None, int]]) -> None:
        first = self.house.log.last + 1
        self.published += [
            (first + i, room, ("x", key) if key else None)
            for i, (room, key, _) in enumerate(events)
        ]
        self.house.publish(
            *(x("y" * (size * WRITE_BYTES // 4), room=room, key=key) for room, key, size in events)
        )

    @rule(
        id_=st.integers(1, 6),
        event=st.sampled_from(["task_created", "task_progress", "task_progress", "task_completed"]),
        size=st.sampled_from([1, 1_000, 17_000]),
    )
    def work(self, id_: int, event: str, size: int) -> None:
        """A task begins, goes on or ends; several together are a large board."""
        room = (None, "a", "b")[id_ % 3]
        before = self.house.log.last
        self.house.publish(Envelope(event, {"id": id_, "x": f"{before:02}" * size}, room=room))
        if self.house.log.last > before:
            key = str(id_) if event == "task_progress" else None
            self.published.append((before + 1, room, (event, key) if key else None))

    @rule()
    def turn(self) -> None:
        self.house.turns.turn()

    @precondition(lambda self: len(self.readers) < 5)
    @rule(
        framing=st.just(JSON),
        rooms=st.sets(ROOMS),
        conflate=st.booleans(),
        room_for=st.sampled_from([400, 40_000, 1 << 30]),
    )
    def connect(self, framing: Framing, rooms: set[str], conflate: bool, room_for: int) -> None:
        reader = Reader(framing, set(rooms), conflate)
        self.readers.append(reader)
        self._open(reader, None, room_for)

    def _open(self, reader: Reader, last: str | None, room_for: int) -> None:
        reader.owed = self.house.log.last
        reader.session, reader.connection = self.house.open(
            *sorted(reader.rooms),
            last=last,
            room_for=room_for,
            conflate=reader.conflate,
            sid=reader.session.sid if reader.session else None,
        )

    def _some(self, data: st.DataObject) -> Reader:
        return data.draw(st.sampled_from(self.readers))

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def read(self, data: st.DataObject) -> None:
        reader = self._some(data)
        reader.take()
        assert reader.connection is not None
        reader.connection.drain()

    @precondition(lambda self: self.readers)
    @rule(data=st.data(), taken=st.booleans(), room_for=st.sampled_from([400, 40_000, 1 << 30]))
    def lose_the_connection(self, data: st.DataObject, taken: bool, room_for: int) -> None:
        """And come back with what was read before, or with nothing of it."""
        reader = self._some(data)
        assert reader.session is not None
        if taken:
            reader.take()
        self.house.hub.close(reader.session)
        self._open(reader, reader.position, room_for)

    @precondition(lambda self: self.readers)
    @rule(data=st.data())
    def poll_again(self, data: st.DataObject) -> None:
        """The next request of a long-poll: the same session over another wire."""
        reader = self._some(data)
        reader.take()
        assert reader.session is not None
        if reader.position is None:
            return
        reader.owed = self.house.log.last
        connection = Connection(self.house.hub, JSON, 40_000)
        connection.session = reader.session
        reader.connection = connection
        self.house.hub.reattach(reader.session, connection, reader.position)

    # ---- what must hold

    @invariant()
    def nothing_is_repeated_or_out_of_order(self) -> None:
        for reader in getattr(self, "readers", ()):
            assert reader.seen == sorted(set(reader.seen))

    def check_all(self) -> None:
        """After everybody has read everything, what is missing is only what may be."""
        for reader in self.readers:
            assert reader.connection is not None
            for _ in range(10_000):
                self.house.turns.settle()
                if not reader.connection.written and not reader.connection.held:
                    break
                reader.take()
                reader.connection.drain()
            assert not reader.connection.written
            self._check(reader)
            board = self.house.log.board.snapshot(sorted(reader.rooms), self.house.turns.now)
            assert sorted(reader.tasks.items()) == sorted((t["id"], t) for t in board["tasks"])
        assert self.house.log.board.index.outdated.bytes == 0

    def _check(self, reader: Reader) -> None:
        seen = set(reader.seen)
        mine = [one for one in self.published if one[1] is None or one[1] in reader.rooms]
        assert seen <= {seq for seq, _, _ in mine}, "nothing of other rooms"
        newest: dict[Any, int] = {(room, key): seq for seq, room, key in mine if key is not None}
        start = min(reader.gaps, default=0)
        missing = {seq for seq, _, _ in mine if seq > start} - seen
        for seq, room, key in mine:
            if seq not in missing:
                continue
            superseded = reader.conflate and key is not None and newest[room, key] > seq
            # Who lags may miss that, who comes back may not.
            superseded &= all(seq > owed for a, b, owed in reader.steps if a < seq < b)
            # A resync hands over the board in place of all up to its position.
            skipped = any(seq <= gap for gap in reader.gaps - {start})
            assert superseded or skipped, f"{seq} is missing"


TestAnyInterleaving = AnyInterleaving.TestCase
TestAnyInterleaving.settings = settings(
    stateful_step_count=30,
    suppress_health_check=list(HealthCheck),
)
