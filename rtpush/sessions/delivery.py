"""Delivery: how what the log holds reaches the sessions.

Rules that hold here:

- A *live* session has been given everything up to `head`, so a pass may hand
  it the bytes that all sessions of its group share. A session that is not
  live reads for itself, from its cursor, until it has caught up.
- A pass takes what the log has grown by since the last one, builds the bytes
  once for each group, and writes once to each session that is concerned.
- A session that an entry names, to be its only reader or not to be one, reads
  for itself: what a group shares holds nothing that is not for all of it.
- A connection that says it is full (`pause`) stops its session's reading and costs
  nobody else anything; `resume` lets it read on.
- When the log is no longer the one that was read so far (`_lost`), no cursor
  means anything: every session is given `resync` and the board as it is now.
- Everything is a plain call. Only reading back beyond the log's memory waits.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ..config.settings import Settings
from ..errors import Reason, RtpushError
from ..framing import Framing
from ..log.base import Log
from ..log.entry import Entry
from ..protocol import Position, encode
from .groups import Group, Groups
from .session import Connection, Session
from .snapshots import MAX_OUTDATED_BYTES, Snapshots, SnapshotStream
from .timers import StalledWriters

__all__ = ["Delivery", "Runtime"]

logger = logging.getLogger("rtpush.hub")

# One write of a pass or of a read. Below the default high-water mark of a
# transport, so that a reader that keeps up is never taken for a slow one.
WRITE_BYTES: Final = 32 << 10
READ_ENTRIES: Final = 500
# The cursor of a session whose log is gone: before everything, so that reading
# on from it ends in a resync.
LOST: Final = -1
# Seconds after which a pass over many sessions lets the event loop breathe.
YIELD_AFTER: Final = 0.004
# Sessions that are written to before it looks at the clock.
WRITES_PER_CLOCK_READ: Final = 50


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the hub needs of an event loop; tests own it.

    `clock` is monotonic and `wall` counts since 1970, both in seconds.
    """

    call_soon: Callable[[Callable[[], None]], object]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    clock: Callable[[], float]
    wall: Callable[[], float]


class Delivery(ABC):
    """The half of the hub that reads the log.

    `head` is the number up to which passes have gone; `idle` is set while
    none is under way.
    """

    def __init__(self, log: Log, settings: Settings, runtime: Runtime) -> None:
        self.log = log
        self.head = log.last
        self.sessions: dict[str, Session] = {}
        self.groups = Groups()
        self.deliveries = 0
        self.idle = asyncio.Event()
        self.idle.set()
        self._runtime = runtime
        self._passing: Iterator[None] | None = None
        self._stalled = StalledWriters(settings.write_timeout)
        self._snapshots = Snapshots(log, runtime.wall)
        # Sessions that large snapshots are on their way to, the longest at it first.
        self._streaming: dict[Session, None] = {}
        log.on_grow = self._grown
        log.on_lost = self._lost

    def begin(self) -> None:
        """Go on from the newest entry. Once, when the log is open."""
        self.head = self.log.last

    @abstractmethod
    def close(self, session: Session, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """End a session."""

    @abstractmethod
    def disconnect(
        self, session: Session, error: RtpushError, retry_after: float | None = None
    ) -> None:
        """End a session from this side."""

    # -------------------------------------------------------------- sending

    def _snapshot(self, session: Session, framing: Framing) -> bytes:
        """The board for a session that is at its position; empty when that is large and follows."""
        rooms = frozenset(session.rooms)
        # It has all that could be owed for a room.
        session.pending_snapshots = ()
        small = self._snapshots.of_rooms(rooms, framing)
        if small is None:
            self._begin_snapshot(session, self._snapshots.stream(rooms, framing))
        return small or b""

    def _begin_snapshot(self, session: Session, snapshot: SnapshotStream) -> None:
        self._end_snapshot(session)
        session.live = False
        session.snapshot = snapshot
        self._streaming[session] = None

    def _end_snapshot(self, session: Session) -> None:
        """It is written, or nobody takes the rest."""
        snapshot, session.snapshot = session.snapshot, None
        if snapshot is not None:
            snapshot.close()
            del self._streaming[session]

    def _direct_frames(self, session: Session, framing: Framing, after: int) -> Iterator[bytes]:
        """What was sent to this session alone before it began."""
        while after < session.cursor:
            entries = self.log.recent(after, WRITE_BYTES)
            if not entries:
                return
            after = entries[-1].seq
            yield from (e.framed(framing) for e in entries if e.room == session.sid)

    def send(self, session: Session, *envelopes: bytes) -> None:
        """Unlogged envelopes to one session, if it has a connection."""
        if session.connection is not None and envelopes:
            framing = session.connection.framing
            session.connection.write(
                framing.joiner.join([framing.frame(e, None) for e in envelopes])
            )

    def send_volatile(
        self, event: str, data: Any, room: str | None, skip: Collection[str] = ()
    ) -> None:
        """To those who are connected and keep up now; nobody else will see it."""
        envelope = encode(event, data, room=room)
        alone = self.sessions.get(room or "")
        if alone is not None:
            if alone.live:
                self.send(alone, envelope)
            return
        framed: dict[Framing, bytes] = {}
        for group in self.groups.for_rooms({room}):
            if group.framing not in framed:
                framed[group.framing] = group.framing.frame(envelope, None)
            for session in list(group.sessions):
                if session.live and session.sid not in skip:
                    self._write(session, framed[group.framing])

    def lagging(self) -> int:
        """How many sessions wait for their connections to take more."""
        return len(self._stalled)

    def _write(self, session: Session, data: bytes) -> None:
        try:
            if session.connection is not None:
                session.connection.write(data)
                self.deliveries += 1
        except Exception:
            self._broken(session)

    def _broken(self, session: Session) -> None:
        # One broken connection must not end the pass for the others.
        logger.exception("a connection failed; its session is closed")
        self.close(session)

    # --------------------------------------------------------------- passes

    def _grown(self) -> None:
        self._snapshots.forget()
        if self._passing is None:
            self.idle.clear()
            self._passing = self._passes()
            self._step()

    def _lost(self) -> None:
        self._snapshots.forget()
        for session in self._all_sessions():
            session.cursor, session.live = LOST, False
            # Numbers of another life of the log.
            session.rooms = dict.fromkeys(session.rooms, 0)
        self.head = self.log.last
        under_way = self._passing is not None
        self._passing = self._resync_all()
        if not under_way:
            self.idle.clear()
            self._step()

    @abstractmethod
    def _all_sessions(self) -> list[Session]:
        """All sessions, readers without one of their own included."""

    def _resync_all(self) -> Iterator[None]:
        """Let everybody who can take it begin anew; the others do when they read on."""
        yield_at = self._runtime.clock() + YIELD_AFTER
        for session in self._all_sessions():
            waits = session.paused or session.reading or session.snapshot is not None
            if session.cursor == LOST and not waits:
                self._resync(session, "epoch")
                self._catch_up(session)
            if self._runtime.clock() > yield_at:
                yield
                yield_at = self._runtime.clock() + YIELD_AFTER
        yield from self._passes()

    def _step(self) -> None:
        assert self._passing is not None
        passing = self._passing
        try:
            for _ in passing:
                self._runtime.call_soon(self._step)
                return
        except Exception:
            # The next growth begins a pass at the same place.
            logger.exception("a pass over the sessions failed")
        self._passing = None
        self.idle.set()

    def _passes(self) -> Iterator[None]:
        """Go on until everybody has been given everything; yield to breathe."""
        while self.head < self.log.last:
            entries = self.log.recent(self.head, WRITE_BYTES)
            if entries:
                end = entries[-1].seq
                yield from self._fan_out(entries, self.head, end)
            else:
                # One batch was larger than the log's memory.
                end = self.log.last
                self._catch_up_all()
            self.head = end

    def _fan_out(self, entries: Sequence[Entry], start: int, end: int) -> Iterator[None]:
        self._serve_addressed(entries)
        clock = self._runtime.clock
        yield_at = clock() + YIELD_AFTER
        for group, data in self._shared_bytes(entries):
            sessions = list(group.sessions)
            for begin in range(0, len(sessions), WRITES_PER_CLOCK_READ):
                self._write_to_group(
                    data, sessions[begin : begin + WRITES_PER_CLOCK_READ], start, end
                )
                if clock() > yield_at:
                    yield
                    yield_at = clock() + YIELD_AFTER

    def _serve_addressed(self, entries: Sequence[Entry]) -> None:
        """Let sessions that an entry is for, or is not for, read for themselves."""
        sessions = self.sessions
        named = {sid for e in entries for sid in (e.room, *e.skip) if sid in sessions}
        for sid in named:
            session = sessions[sid]
            if session.live:
                session.cursor = self._cursor_of(session)
                self._catch_up(session)

    def _write_to_group(
        self, data: bytes, sessions: Sequence[Session], start: int, end: int
    ) -> None:
        for session in sessions:
            if not session.live:
                continue
            if session.cursor <= start:
                session.cursor = end
                # As `_write` does; this is the hottest line of all.
                try:
                    session.connection.write(data)  # type: ignore[union-attr]  # live ones have one
                except Exception:
                    self._broken(session)
                self.deliveries += 1
            elif session.cursor < end:
                # It came after this pass had begun.
                self._catch_up(session)

    def _shared_bytes(self, entries: Sequence[Entry]) -> Iterator[tuple[Group, bytes]]:
        """Each group that is concerned, with the bytes that its sessions share."""
        rooms = {entry.room for entry in entries}
        made: dict[tuple[frozenset[str | None], Framing], bytes] = {}
        for group in self.groups.for_rooms(rooms):
            key = (group.rooms & rooms, group.framing)
            data = made.get(key)
            if data is None:
                data = made[key] = group.framing.joiner.join(
                    [e.framed(group.framing) for e in entries if e.room is None or e.room in key[0]]
                )
            yield group, data

    def _catch_up_all(self) -> None:
        for group in self.groups:
            for session in list(group.sessions):
                session.cursor = self._cursor_of(session)
                self._catch_up(session)

    # ----------------------------------------------------- reading for oneself

    def pause(self, session: Session) -> None:
        """The session's connection is full."""
        session.cursor = self._cursor_of(session)
        session.live = False
        session.paused = session.lagging = True
        self._stalled.add(session, self._runtime.clock())

    def resume(self, session: Session) -> None:
        """The session's connection has room again."""
        session.paused = False
        self._stalled.remove(session)
        self._catch_up(session)

    def position_of(self, session: Session) -> Position:
        """The position up to which a session has been given everything."""
        if session.cursor == LOST:
            # Of no log: whoever reads on from it is told so.
            return Position("lost", 0)
        return Position(self.log.epoch, self._cursor_of(session))

    def _cursor_of(self, session: Session) -> int:
        return max(session.cursor, self.head) if session.live else session.cursor

    def _catch_up(self, session: Session) -> None:
        """Read what the session is missing, one write at a time."""
        if session.connection is None or session.paused or session.reading:
            return
        if session.snapshot is not None:
            self._write_parts(session, session.connection, session.snapshot)
            return
        if session.cursor >= self.log.last:
            session.live = True
            session.lagging = False
            self._send_pending_snapshots(session, session.connection)
            return
        session.live = False
        entries = self.log.recent(session.cursor, WRITE_BYTES)
        if entries is None:
            session.reading = True
            self._runtime.spawn(self._read_back(session, session.connection))
            return
        self._deliver(session, entries, entries[-1].seq)
        if session.cursor >= self.log.last:
            self._catch_up(session)
        else:
            self._catch_up_soon(session)

    def _send_pending_snapshots(self, session: Session, connection: Connection) -> None:
        # Only now: a client ignores what is older than its room's snapshot.
        while session.pending_snapshots and not session.paused:
            room, *rest = session.pending_snapshots
            session.pending_snapshots = tuple(rest)
            if room not in session.rooms:
                continue
            framing = connection.framing
            small = self._snapshots.of_room(room, framing)
            if small is None:
                stream = self._snapshots.stream(frozenset(), framing, room)
                self._begin_snapshot(session, stream)
                self._catch_up(session)
                return
            self._write(session, small)

    def _write_parts(
        self, session: Session, connection: Connection, snapshot: SnapshotStream
    ) -> None:
        """Write the next of a large snapshot. One write a turn: others have theirs between."""
        data, last = snapshot.next()
        if last:
            self._end_snapshot(session)
        if data:
            connection.write_part(data, last=last)
        if last:
            self._catch_up(session)
        else:
            self._catch_up_soon(session)

    def end_outdated_snapshots(self) -> None:
        """Close the slowest readers of snapshots while they hold too much that is outdated."""
        while self._streaming and self._snapshots.outdated_bytes > MAX_OUTDATED_BYTES:
            self.disconnect(
                next(iter(self._streaming)),
                RtpushError("too_slow", "The board changes faster than it is read; read faster."),
            )

    def _catch_up_soon(self, session: Session) -> None:
        connection = session.connection
        session.reading = True

        def go_on() -> None:
            if session.connection is connection:
                session.reading = False
                self._catch_up(session)

        self._runtime.call_soon(go_on)

    def _deliver(self, session: Session, entries: Sequence[Entry], upto: int) -> None:
        connection = session.connection
        assert connection is not None
        conflate_after = session.conflate_after if session.lagging and session.conflate else upto
        frames = [
            entry.framed(connection.framing)
            for entry in entries
            if session.sees(entry)
            and (entry.seq <= conflate_after or not self.log.superseded(entry))
        ]
        session.cursor = upto
        if frames:
            self._write(session, connection.framing.joiner.join(frames))

    async def _read_back(self, session: Session, connection: Connection) -> None:
        """One read from the store, for a session that lags behind the log's memory."""
        conflating = session.lagging and session.conflate
        try:
            page = await self.log.read(
                session.cursor, READ_ENTRIES, session.conflate_after if conflating else None
            )
        except RtpushError as error:
            if session.connection is connection:
                self.disconnect(session, error)
            return
        if session.connection is not connection:
            return
        session.reading = False
        # Asked only now: retention may have passed the cursor during the read.
        if self.log.covers(Position(self.log.epoch, session.cursor)) is None:
            self._deliver(session, page.entries, page.upto)
        else:
            self._resync(session, "epoch" if session.cursor == LOST else "expired")
        self._catch_up(session)

    def _resync(self, session: Session, reason: str) -> None:
        connection = session.connection
        if connection is None:
            return
        session.cursor = session.conflate_after = self.log.last
        self._write(session, connection.framing.frame(encode("resync", {"reason": reason}), None))
        if snapshot := self._snapshot(session, connection.framing):
            self._write(session, snapshot)

    def _finish_pass(self, session: Session) -> None:
        """Give a live session what a pass still owes it, before its rooms change.

        The pass would give it the bytes of its new group, and with them
        events of the room from before it came; or nothing, when it has dealt
        with the new group already.
        """
        if session.live:
            session.cursor = self._cursor_of(session)
            self._catch_up(session)
