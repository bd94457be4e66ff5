"""The hub: sessions at cursors.

Rules that hold here:

- A session is a cursor, a set of rooms and a wire. It holds no queue: what it
  has not been given yet is in the log.
- A *live* session has been given everything up to `head`, so a pass may hand
  it the bytes that all sessions of its group share. A session that is not
  live reads for itself, from its cursor, until it has caught up.
- A pass takes what the log has grown by since the last one, builds the bytes
  once for each group, and writes once to each session that is concerned.
- A wire that says it is full (`pause`) stops its session's reading and costs
  nobody else anything; `resume` lets it read on.
- Everything is a plain call. Only reading back beyond the log's memory waits.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Collection, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from .config import Settings
from .errors import RtpushError
from .greeting import Snapshots, connect
from .log import Entry, Log, Position
from .protocol import Form, check_room, encode
from .session import Group, Groups, Session, Wire
from .timetable import Heartbeats, Lapsed, SlowWires

__all__ = ["Hub", "Runtime"]

logger = logging.getLogger("rtpush.hub")

# One write of a pass or of a read. Below the default high-water mark of a
# transport, so that a reader that keeps up is never taken for a slow one.
WRITE_BYTES: Final = 32 << 10
READ_ENTRIES: Final = 500
# Seconds after which a pass over many sessions lets the event loop breathe.
BREATHE_AFTER: Final = 0.004
# Sessions that are written to before it looks at the clock.
AT_ONCE: Final = 50
# Sessions without a connection that are kept for their clients to come back,
# about 1 KiB each.
MAX_LAPSED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Runtime:
    """What the hub needs of an event loop; tests own it.

    `clock` is monotonic and `wall` counts since 1970, both in seconds.
    """

    call_soon: Callable[[Callable[[], None]], object]
    spawn: Callable[[Coroutine[Any, Any, None]], object]
    clock: Callable[[], float]
    wall: Callable[[], float]


class Hub:
    """See the module's rules.

    `head` is the number up to which passes have gone; `idle` is set while
    none is under way. While `stopping`, nobody new is let in. `on_closed` is
    told of every session that was admitted and is gone, and why.
    """

    def __init__(self, log: Log, settings: Settings, runtime: Runtime) -> None:
        self.log = log
        self.head = log.last
        self.sessions: dict[str, Session] = {}
        self.groups = Groups()
        self.deliveries = 0
        self.stopping = False
        self.on_closed: Callable[[Session, str], None] = lambda _session, _reason: None
        self.idle = asyncio.Event()
        self.idle.set()
        self._settings = settings
        self._runtime = runtime
        self._passing: Iterator[None] | None = None
        self._heartbeats = Heartbeats(settings.heartbeat)
        self._slow = SlowWires(settings.write_timeout)
        self._lapsed = Lapsed(settings.session_lease, MAX_LAPSED)
        self._snapshots = Snapshots(log, runtime.wall)
        log.on_grow = self._grown

    def begin(self) -> None:
        """Go on from the newest entry. Once, when the log is open."""
        self.head = self.log.last

    # -------------------------------------------------------------- opening

    def prepare(
        self,
        rooms: Sequence[str] = (),
        last: str | None = None,
        *,
        conflate: bool = True,
        address: str = "",
        sid: str | None = None,
    ) -> Session:
        """The session that a client asks for; it hears nothing before `open`.

        With `last` and the `sid` of a session that is known still, that one,
        in the rooms where it was. Raises RtpushError (`bad_room`,
        `bad_position`, `too_many_rooms`, `going_away`, `unavailable` when the
        server is full) before anything has changed.
        """
        self.check_opening(rooms, last)
        session = self._take_up(sid) if sid and last is not None else None
        if session is None:
            session = Session(secrets.token_urlsafe(16), conflate, address, self._runtime.wall())
        for room in rooms:
            session.rooms.setdefault(room, 0)
        session.conflate, session.address = conflate, address
        session.admitted = False
        session.expires = None
        session.cursor = self.log.last
        self.sessions[session.sid] = session
        return session

    def _take_up(self, sid: str) -> Session | None:
        session = self.sessions.get(sid)
        if session is not None:
            # The client knows sooner than the server that a connection is dead.
            if session.wire is not None:
                session.wire.close(1000, "another connection took over")
            self.close(session)
        return self._lapsed.take(sid)

    def open(self, session: Session, wire: Wire, last: str | None = None) -> None:
        """Greet a prepared session, then let it read from `last` (or from now)."""
        self._heartbeats.add(session)
        self._attach(session, wire)
        self._begin(session, last, greet=True)

    def peek(self, wire: Wire, rooms: Sequence[str], last: str) -> Session:
        """A reader without a session of its own: not greeted, not listed.

        Raises as `open` does.
        """
        self.check_opening(rooms, last)
        session = Session("", False, "", self._runtime.wall())
        session.rooms = dict.fromkeys(rooms, 0)
        self._attach(session, wire)
        self._begin(session, last, greet=False)
        return session

    def reattach(self, session: Session, wire: Wire, last: str) -> None:
        """Let a session read on at `last` over a new wire; the old one is closed.

        Raises RtpushError (`bad_position`).
        """
        Position.parse(last)
        if session.wire is not None:
            session.wire.close(1000, "another request took over")
            self.detach(session)
        self._attach(session, wire)
        self._begin(session, last, greet=False)

    def detach(self, session: Session) -> None:
        """Take the wire away; the session stays, to be reattached."""
        session.cursor = self.cursor_of(session)
        session.wire = None
        session.live = session.paused = session.lagging = session.reading = False
        self._slow.remove(session)

    def close(self, session: Session, reason: str = "transport close") -> None:
        """End a session; its client may take it up again for a while. Idempotent."""
        if self._forget(session):
            self._lapsed.add(session, self._runtime.clock())
            self.on_closed(session, reason)

    def _forget(self, session: Session) -> bool:
        """Was there an admitted session to forget?"""
        self.detach(session)
        self.groups.remove(session)
        self._heartbeats.remove(session)
        if self.sessions.get(session.sid) is not session:
            return False
        del self.sessions[session.sid]
        return session.admitted

    def disconnect(
        self, session: Session, error: RtpushError, retry_after: float | None = None
    ) -> None:
        """End a session from this side: say why, close the wire, forget it."""
        wire = session.wire
        if wire is not None:
            retry = error.retry_after if retry_after is None else retry_after
            data = {
                "reason": error.message,
                "code": error.meaning.close,
                "retry_after": retry,
            }
            self.send(session, encode("disconnect", data))
        if self._forget(session):
            self.on_closed(session, "server disconnect")
        if wire is not None:
            wire.close(error.meaning.close, error.code)

    def check_opening(self, rooms: Sequence[str], last: str | None) -> None:
        """May a session begin like this? Raises as `open` does."""
        if self.stopping:
            raise RtpushError("going_away", "The server is stopping; connect again in a moment.")
        if last is not None:
            Position.parse(last)
        for room in rooms:
            check_room(room)
        if len(rooms) > self._settings.max_rooms:
            raise RtpushError(
                "too_many_rooms", f"A session may be in {self._settings.max_rooms} rooms at most."
            )
        if len(self.sessions) >= self._settings.max_connections:
            raise RtpushError(
                "unavailable", "The server has as many connections as it allows; try again later."
            )

    def lease(self) -> float:
        """When a session that has no wire now is forgotten."""
        return self._runtime.clock() + self._settings.session_lease

    def _attach(self, session: Session, wire: Wire) -> None:
        session.wire = wire
        self._regroup(session)

    def _begin(self, session: Session, last: str | None, *, greet: bool) -> None:
        asked = None if last is None else Position.parse(last)
        lost = None if asked is None else self.log.covers(asked)
        fresh = asked is None or lost is not None
        position = self.log.position if asked is None or lost is not None else asked
        prepared, session.cursor = session.cursor, position.seq
        session.whole_until = self.log.last
        envelopes: list[bytes] = []
        if greet:
            beat = self._settings.heartbeat
            envelopes.append(connect(session, position, beat, recovered=not fresh))
        if lost is not None:
            envelopes.append(encode("resync", {"reason": lost}))
        self.send(session, *envelopes)
        if fresh:
            if greet:
                self._send_own(session, prepared)
            self._send_snapshot(session)
        self._catch_up(session)

    def _send_own(self, session: Session, after: int) -> None:
        """What was sent to this session alone before it began."""
        wire = session.wire
        assert wire is not None
        while after < session.cursor:
            entries = self.log.recent(after, WRITE_BYTES)
            if not entries:
                return
            after = entries[-1].seq
            for entry in entries:
                if entry.room == session.sid:
                    wire.write(entry.framed(wire.form))

    # -------------------------------------------------------------- sending

    def _send_snapshot(self, session: Session) -> None:
        assert session.wire is not None
        session.wire.write(self._snapshots.framed(frozenset(session.rooms), session.wire.form))

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

    def _step(self) -> None:
        assert self._passing is not None
        try:
            for _ in self._passing:
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
                session.cursor = self.cursor_of(session)
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
                    session.cursor = self.cursor_of(session)
                    self._catch_up(session)

    # ----------------------------------------------------- reading for oneself

    def pause(self, session: Session) -> None:
        """The session's wire is full."""
        session.cursor = self.cursor_of(session)
        session.live = False
        session.paused = session.lagging = True
        self._slow.add(session, self._runtime.clock())

    def resume(self, session: Session) -> None:
        """The session's wire has room again."""
        session.paused = False
        self._slow.remove(session)
        self._catch_up(session)

    def cursor_of(self, session: Session) -> int:
        """The number up to which a session has been given everything."""
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
            self._resync(session)
        self._catch_up(session)

    def _resync(self, session: Session) -> None:
        session.cursor = session.whole_until = self.log.last
        self.send(session, encode("resync", {"reason": "expired"}))
        self._send_snapshot(session)

    # ---------------------------------------------------------------- rooms

    def join(self, session: Session, room: str) -> bytes:
        """Enter a room; returns its `active_tasks` envelope, for whoever asked.

        Idempotent. Raises RtpushError (`bad_room`, `too_many_rooms`).
        """
        check_room(room)
        if room not in session.rooms:
            if len(session.rooms) >= self._settings.max_rooms:
                raise RtpushError(
                    "too_many_rooms",
                    f"A session may be in {self._settings.max_rooms} rooms at most; leave one.",
                )
            self._settle(session)
            # Where it is put before it is let in, it has missed nothing but
            # what lies before its position.
            session.rooms[room] = self.log.last if session.admitted else 0
            self._regroup(session)
        return self._snapshots.of_room(room)

    def put(self, session: Session, room: str) -> None:
        """Let a session enter a room that it did not ask for. Raises as `join` does."""
        snapshot = self.join(session, room)
        if session.wire is not None:
            self.send(session, snapshot)
        elif session.admitted:
            session.owed = (*session.owed, room)

    def knows(self, sid: str) -> bool:
        """Is there such a session, or may it come back?"""
        return sid in self.sessions or sid in self._lapsed

    def leave(self, session: Session, room: str) -> None:
        """Leave a room; nothing happens when the session is not in it."""
        if room in session.rooms:
            self._settle(session)
            del session.rooms[room]
            self._regroup(session)

    def _settle(self, session: Session) -> None:
        """Give a live session what a pass still owes it, before its rooms change.

        The pass would give it the bytes of its new group, and with them
        events of the room from before it came; or nothing, when it has dealt
        with the new group already.
        """
        if session.live and self.cursor_of(session) < self.log.last:
            session.cursor = self.cursor_of(session)
            self._catch_up(session)

    def _regroup(self, session: Session) -> None:
        form = session.wire.form if session.wire is not None else None
        if form is None and session.group is not None:
            form = session.group.form
        if form is not None:
            self.groups.place(session, form)

    # ----------------------------------------------------------------- time

    def tick(self) -> None:
        """Once a second: heartbeats, write deadlines, leases."""
        self._snapshots.forget()
        now = self._runtime.clock()
        self._lapsed.tick(now)
        for session in self._heartbeats.tick():
            if session.wire is not None:
                session.wire.heartbeat()
            elif session.expires is not None and session.expires < now:
                self.close(session, "ping timeout")
        for session in self._slow.stuck(now):
            self.disconnect(
                session, RtpushError("too_slow", "Nothing was read for too long; read faster.")
            )
