"""Any interleaving of publishing, lagging, leaving and coming back."""

from __future__ import annotations

from typing import Any

from hubs import Connection, Event, House, x
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rtpush.framing import JSON, Framing
from rtpush.log.growth import SERVER_FIELDS
from rtpush.protocol import Envelope
from rtpush.sessions.catch_up import WRITE_BYTES
from rtpush.sessions.session import Session


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


def said(task: dict[str, Any]) -> dict[str, Any]:
    """A task without what the server itself says of it."""
    return {name: task[name] for name in task if name not in SERVER_FIELDS}


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
            assert sorted((id_, said(task)) for id_, task in reader.tasks.items()) == sorted(
                (task["id"], said(task)) for task in board["tasks"]
            )
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
