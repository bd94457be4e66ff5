"""Catching up: how a session reads the log for itself.

Rules that hold here:

- A session that is not *live* reads from its cursor, one write a turn, until it has caught
  up; then it is live, and passes serve it (delivery.py).
- A connection that says it is full (`pause`) stops its session's reading and costs
  nobody else anything; `resume` lets it read on.
- A large snapshot is true at its position: what is newer waits until its last part has gone.
- Everything is a plain call. Only reading back beyond the log's memory waits.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Final

from ..access.room_policy import RoomPolicy
from ..config.settings import Settings
from ..errors import Reason, RtpushError
from ..framing import Framing
from ..log.base import Log, Page
from ..log.room_index import Rooms
from ..protocol import Position, encode
from .groups import Groups
from .history_bounds import HistoryBounds
from .merging import Conflation
from .rewind import MAX_REWIND, Rewind, RewindSpec, find_start
from .runtime import Runtime
from .session import Connection, Session
from .snapshots import EstimatesOf, SnapshotReaders, Snapshots
from .timers import StalledWriters

__all__ = ["LOST", "WRITE_BYTES", "CatchUp"]

logger = logging.getLogger("rtpush.hub")

# One write of a pass or of a read. Below the default high-water mark of a
# transport, so that a reader that keeps up is never taken for a slow one.
WRITE_BYTES: Final = 32 << 10
READ_ENTRIES: Final = 500
# The cursor of a session whose log is gone: before everything, so that reading
# on from it ends in a resync.
LOST: Final = -1


class CatchUp(ABC):
    """Sessions at cursors of their own. `head` is the number up to which passes have gone."""

    def __init__(
        self, log: Log, settings: Settings, runtime: Runtime, room_policy: RoomPolicy
    ) -> None:
        self.log = log
        self.room_policy = room_policy
        self.history_bounds = HistoryBounds(log, room_policy)
        self.head = log.last
        self.sessions: dict[str, Session] = {}
        self.groups = Groups()
        self.deliveries = 0
        self._runtime = runtime
        self._conflation = Conflation(log, room_policy, settings.max_message)
        self._stalled = StalledWriters(settings.write_timeout)
        self._snapshots = Snapshots(log)
        self._snapshot_readers = SnapshotReaders(self._snapshots)

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
        session.unconfirmed.clear()
        small = self._snapshots.of_rooms(rooms, framing)
        if small is None:
            self._snapshot_readers.begin(session, self._snapshots.stream(rooms, framing))
        return small or b""

    def _direct_frames(self, session: Session, framing: Framing, after: int) -> Iterator[bytes]:
        """What was sent to this session alone before it began."""
        while after < session.cursor:
            page = self.log.recent(after, WRITE_BYTES, (session.sid,))
            if page is None:
                return
            after = page.upto
            yield from (e.framed(framing) for e in page.entries if e.seq <= session.cursor)

    def add_estimates(self, of_rooms: EstimatesOf) -> None:
        """Have snapshots tell what this says of the tasks of their rooms."""
        self._snapshots.estimates = of_rooms

    def send(self, session: Session, *envelopes: bytes) -> None:
        """Unlogged envelopes to one session, if it has a connection."""
        if session.connection is not None and envelopes:
            framing = session.connection.framing
            session.connection.write(
                framing.joiner.join([framing.frame(e, None) for e in envelopes])
            )

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
            # Of no log: a client that reads on from it is told so.
            return Position("lost", 0)
        return Position(self.log.epoch, self._cursor_of(session))

    def _cursor_of(self, session: Session) -> int:
        return max(session.cursor, self.head) if session.live else session.cursor

    def _catch_up(self, session: Session) -> None:
        """Read what the session is missing, one write at a time."""
        if session.connection is None or session.paused or session.reading:
            return
        if session.snapshot is not None:
            self._write_part(session, session.connection)
            return
        if session.rewinds and (rewind := session.next_rewind()) is not None:
            session.live = False
            self._rewind(session, session.connection, rewind)
            return
        if session.cursor >= self.log.last:
            session.live = True
            session.lagging = False
            self._send_pending_snapshots(session, session.connection)
            return
        session.live = False
        page = self.log.recent(session.cursor, WRITE_BYTES, session.reads)
        if page is None:
            session.reading = True
            self._runtime.spawn(self._read_back(session, session.connection))
            return
        self._deliver(session, page)
        if session.cursor >= self.log.last:
            self._catch_up(session)
        else:
            self._catch_up_soon(session)

    def _rewind(self, session: Session, connection: Connection, rewind: Rewind) -> None:
        if rewind.at is None:
            # It goes on when it is known where to begin.
            return
        page = self.log.recent(rewind.at, WRITE_BYTES, (rewind.room,))
        if page is None:
            session.reading = True
            self._runtime.spawn(self._read_rewind(session, connection, rewind, rewind.at))
            return
        self._give_rewound(session, connection, rewind, page)

    async def _read_rewind(
        self, session: Session, connection: Connection, rewind: Rewind, after: int
    ) -> None:
        page = await self._read(session, connection, after, None, {rewind.room})
        if page is None:
            return
        if rewind in session.rewinds:
            self._give_rewound(session, connection, rewind, page)
        else:
            self._catch_up(session)

    def _give_rewound(
        self, session: Session, connection: Connection, rewind: Rewind, page: Page
    ) -> None:
        frames = rewind.take(page, session.sid, connection.framing)
        if frames:
            self._write(session, connection.framing.joiner.join(frames))
        self._catch_up_soon(session)

    def rewind(self, session: Session, room: str) -> Rewind | None:
        """Hold what is newer back until a room's earlier events are given; once for a stay."""
        if room in session.rewound:
            return None
        session.cursor, session.live = self._cursor_of(session), False
        rewind = Rewind(room, session.rooms[room] or session.began or 0)
        session.rewound |= {room}
        session.rewinds = (*session.rewinds, rewind)
        return rewind

    async def begin_rewind(
        self, session: Session, rewind: Rewind, spec: RewindSpec, most: int = MAX_REWIND
    ) -> bool:
        """Find where it begins, and let the session go on; is that as far as was asked for?"""
        try:
            bound = await self.history_bounds.of(rewind.room)
            return await find_start(self.log, rewind, spec, most, bound)
        except BaseException:
            session.end_rewind(rewind.room)
            raise
        finally:
            self._catch_up(session)

    def _send_pending_snapshots(self, session: Session, connection: Connection) -> None:
        # Only now: a client ignores what is older than its room's snapshot.
        while session.pending_snapshots and not session.paused:
            room, *rest = session.pending_snapshots
            session.pending_snapshots = tuple(rest)
            if room not in session.rooms:
                continue
            framing = connection.framing
            if session.lease_until is not None:
                session.give(room)
            small = self._snapshots.of_room(room, framing)
            if small is None:
                stream = self._snapshots.stream(frozenset(), framing, room)
                self._snapshot_readers.begin(session, stream)
                self._catch_up(session)
                return
            self._write(session, small)

    def _write_part(self, session: Session, connection: Connection) -> None:
        """Write the next of a large snapshot. One write a turn: others have theirs between."""
        data, last = self._snapshot_readers.next_part(session)
        connection.write_part(data, last=last)
        if session.snapshot is None:
            self._catch_up(session)
        else:
            self._catch_up_soon(session)

    def end_outdated_snapshots(self) -> None:
        """Close the slowest readers of snapshots while they hold too much that is outdated."""
        while (session := self._snapshot_readers.outdated()) is not None:
            self.disconnect(
                session,
                RtpushError(
                    "too_slow", "What is sent changes faster than it is read; read faster."
                ),
            )

    def _catch_up_soon(self, session: Session) -> None:
        connection = session.connection
        session.reading = True

        def go_on() -> None:
            if session.connection is connection:
                session.reading = False
                self._catch_up(session)

        self._runtime.call_soon(go_on)

    def _deliver(self, session: Session, page: Page) -> None:
        connection = session.connection
        assert connection is not None
        given = self._conflation.given(session, page)
        session.cursor = page.upto
        frames = [entry.framed(connection.framing) for entry in given]
        if frames:
            self._write(session, connection.framing.joiner.join(frames))

    async def _read_back(self, session: Session, connection: Connection) -> None:
        """One read from the store, for a session that lags behind the log's memory."""
        conflate_after = self._conflation.store_after(session)
        page = await self._read(session, connection, session.cursor, conflate_after, session.reads)
        if page is None:
            return
        # Asked only now: retention may have passed the cursor during the read.
        if self.log.covers(Position(self.log.epoch, session.cursor)) is None:
            self._deliver(session, page)
        else:
            self._resync(session, "epoch" if session.cursor == LOST else "expired")
        self._catch_up(session)

    async def _read(
        self,
        session: Session,
        connection: Connection,
        after: int,
        conflate_after: int | None,
        rooms: Rooms,
    ) -> Page | None:
        """Read from the store; None when that failed, or the connection has gone meanwhile."""
        try:
            page = await self.log.read(after, READ_ENTRIES, conflate_after, rooms)
        except RtpushError as error:
            if session.connection is connection:
                self.disconnect(session, error)
            return None
        if session.connection is not connection:
            return None
        session.reading = False
        return page

    def _resync(self, session: Session, reason: str) -> None:
        connection = session.connection
        if connection is None:
            return
        session.cursor = session.conflate_after = self.log.last
        session.rewinds = ()
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
