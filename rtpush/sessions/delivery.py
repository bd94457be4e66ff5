"""Delivery: how what the log holds reaches the sessions.

Rules that hold here:

- A *live* session has been given everything up to `head`, so a pass may hand
  it the bytes that all sessions of its group share. A session that is not
  live reads for itself, from its cursor, until it has caught up.
- A pass takes what the log has grown by since the last one, builds the bytes
  once for each group, and writes once to each session that is concerned.
- A session that an entry names, to be its only reader or not to be one, reads
  for itself: what a group shares holds nothing that is not for all of it.
- A wire that says it is full (`pause`) stops its session's reading and costs
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
from ..log.base import Entry, Log, Position
from ..protocol import Form, encode
from .session import Group, Groups, Session, Wire
from .snapshots import Snapshots
from .timers import SlowWires

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
BREATHE_AFTER: Final = 0.004
# Sessions that are written to before it looks at the clock.
AT_ONCE: Final = 50


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
        self._slow = SlowWires(settings.write_timeout)
        self._snapshots = Snapshots(log, runtime.wall)
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

    def _snapshot(self, session: Session, form: Form) -> bytes:
        return self._snapshots.framed(frozenset(session.rooms), form)

    def _own(self, session: Session, form: Form, after: int) -> Iterator[bytes]:
        """What was sent to this session alone before it began."""
        while after < session.cursor:
            entries = self.log.recent(after, WRITE_BYTES)
            if not entries:
                return
            after = entries[-1].seq
            yield from (e.framed(form) for e in entries if e.room == session.sid)

    def send(self, session: Session, *envelopes: bytes) -> None:
        """Unlogged envelopes to one session, if it has a wire."""
        if session.wire is not None and envelopes:
            form = session.wire.form
            session.wire.write(form.joiner.join([form.frame(e, None) for e in envelopes]))

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
        framed: dict[Form, bytes] = {}
        for group in self.groups.of({room}):
            if group.form not in framed:
                framed[group.form] = group.form.frame(envelope, None)
            for session in list(group.sessions):
                if session.live and session.sid not in skip:
                    self._write(session, framed[group.form])

    def lagging(self) -> int:
        """How many sessions wait for their wires to take more."""
        return len(self._slow)

    def _write(self, session: Session, data: bytes) -> None:
        try:
            if session.wire is not None:
                session.wire.write(data)
                self.deliveries += 1
        except Exception:
            self._broken(session)

    def _broken(self, session: Session) -> None:
        # One broken wire must not end the pass for the others.
        logger.exception("a wire failed; its session is closed")
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
        for session in self._everybody():
            session.cursor, session.whole_until, session.live = LOST, 0, False
            # Numbers of another life of the log.
            session.rooms = dict.fromkeys(session.rooms, 0)
        self.head = self.log.last
        under_way = self._passing is not None
        self._passing = self._begin_anew()
        if not under_way:
            self.idle.clear()
            self._step()

    @abstractmethod
    def _everybody(self) -> list[Session]:
        """All sessions, readers without one of their own included."""

    def _begin_anew(self) -> Iterator[None]:
        """Let everybody who can take it begin anew; the others do when they read on."""
        breathe_at = self._runtime.clock() + BREATHE_AFTER
        for session in self._everybody():
            if session.cursor == LOST and not session.paused and not session.reading:
                self._resync(session, "epoch")
                self._catch_up(session)
            if self._runtime.clock() > breathe_at:
                yield
                breathe_at = self._runtime.clock() + BREATHE_AFTER
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
                self._all_read_for_themselves()
            self.head = end

    def _fan_out(self, entries: Sequence[Entry], start: int, end: int) -> Iterator[None]:
        self._serve_named(entries)
        clock = self._runtime.clock
        breathe_at = clock() + BREATHE_AFTER
        for group, data in self._shares(entries):
            sessions = list(group.sessions)
            for begin in range(0, len(sessions), AT_ONCE):
                self._hand_out(data, sessions[begin : begin + AT_ONCE], start, end)
                if clock() > breathe_at:
                    yield
                    breathe_at = clock() + BREATHE_AFTER

    def _serve_named(self, entries: Sequence[Entry]) -> None:
        """Let sessions that an entry is for, or is not for, read for themselves."""
        sessions = self.sessions
        named = {sid for e in entries for sid in (e.room, *e.skip) if sid in sessions}
        for sid in named:
            session = sessions[sid]
            if session.live:
                session.cursor = self._cursor_of(session)
                self._catch_up(session)

    def _hand_out(self, data: bytes, sessions: Sequence[Session], start: int, end: int) -> None:
        for session in sessions:
            if not session.live:
                continue
            if session.cursor <= start:
                session.cursor = end
                # As `_write` does; this is the hottest line of all.
                try:
                    session.wire.write(data)  # type: ignore[union-attr]  # live ones have one
                except Exception:
                    self._broken(session)
                self.deliveries += 1
            elif session.cursor < end:
                # It came after this pass had begun.
                self._catch_up(session)

    def _shares(self, entries: Sequence[Entry]) -> Iterator[tuple[Group, bytes]]:
        """Each group that is concerned, with the bytes that its sessions share."""
        rooms = {entry.room for entry in entries}
        made: dict[tuple[frozenset[str | None], Form], bytes] = {}
        for group in self.groups.of(rooms):
            key = (group.rooms & rooms, group.form)
            data = made.get(key)
            if data is None:
                data = made[key] = group.form.joiner.join(
                    [e.framed(group.form) for e in entries if e.room is None or e.room in key[0]]
                )
            yield group, data

    def _all_read_for_themselves(self) -> None:
        for group in self.groups:
            for session in list(group.sessions):
                if session.live:
                    session.cursor = self._cursor_of(session)
                    self._catch_up(session)

    # ----------------------------------------------------- reading for oneself

    def pause(self, session: Session) -> None:
        """The session's wire is full."""
        session.cursor = self._cursor_of(session)
        session.live = False
        session.paused = session.lagging = True
        self._slow.add(session, self._runtime.clock())

    def resume(self, session: Session) -> None:
        """The session's wire has room again."""
        session.paused = False
        self._slow.remove(session)
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
        if session.wire is None or session.paused or session.reading:
            return
        if session.cursor >= self.log.last:
            session.live = True
            session.lagging = False
            self._settle_debts(session)
            return
        session.live = False
        entries = self.log.recent(session.cursor, WRITE_BYTES)
        if entries is None:
            session.reading = True
            self._runtime.spawn(self._read_back(session, session.wire))
            return
        self._give(session, entries, entries[-1].seq)
        if session.cursor >= self.log.last:
            self._catch_up(session)
        else:
            self._catch_up_soon(session)

    def _settle_debts(self, session: Session) -> None:
        # Only now: a client ignores what is older than its room's snapshot.
        if session.owed:
            owed, session.owed = session.owed, ()
            self.send(session, *[self._snapshots.of_room(room) for room in owed])

    def _catch_up_soon(self, session: Session) -> None:
        wire = session.wire
        session.reading = True

        def go_on() -> None:
            if session.wire is wire:
                session.reading = False
                self._catch_up(session)

        self._runtime.call_soon(go_on)

    def _give(self, session: Session, entries: Sequence[Entry], upto: int) -> None:
        wire = session.wire
        assert wire is not None
        whole_until = session.whole_until if session.lagging and session.conflate else upto
        frames = [
            entry.framed(wire.form)
            for entry in entries
            if session.sees(entry) and (entry.seq <= whole_until or not self.log.superseded(entry))
        ]
        session.cursor = upto
        if frames:
            self._write(session, wire.form.joiner.join(frames))

    async def _read_back(self, session: Session, wire: Wire) -> None:
        """One read from the store, for a session that lags behind the log's memory."""
        conflating = session.lagging and session.conflate
        try:
            page = await self.log.read(
                session.cursor, READ_ENTRIES, session.whole_until if conflating else None
            )
        except RtpushError as error:
            if session.wire is wire:
                self.disconnect(session, error)
            return
        if session.wire is not wire:
            return
        session.reading = False
        # Asked only now: retention may have passed the cursor during the read.
        if self.log.covers(Position(self.log.epoch, session.cursor)) is None:
            self._give(session, page.entries, page.upto)
        else:
            self._resync(session, "epoch" if session.cursor == LOST else "expired")
        self._catch_up(session)

    def _resync(self, session: Session, reason: str) -> None:
        wire = session.wire
        if wire is None:
            return
        session.cursor = session.whole_until = self.log.last
        self._write(session, wire.form.frame(encode("resync", {"reason": reason}), None))
        self._write(session, self._snapshot(session, wire.form))

    def _settle(self, session: Session) -> None:
        """Give a live session what a pass still owes it, before its rooms change.

        The pass would give it the bytes of its new group, and with them
        events of the room from before it came; or nothing, when it has dealt
        with the new group already.
        """
        if session.live and self._cursor_of(session) < self.log.last:
            session.cursor = self._cursor_of(session)
            self._catch_up(session)
