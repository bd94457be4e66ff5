"""Delivery: how what the log holds reaches the sessions.

Rules that hold here:

- A *live* session has been given everything up to `head`, so a pass may hand
  it the bytes that all sessions of its group share. A session that is not
  live reads for itself (catch_up.py).
- A pass takes what the log has grown by since the last one, builds the bytes
  once for each group, and writes once to each session that is concerned.
- A single event that comes soon behind a pass may wait for others, at most 2 ms, so
  that they leave in one write; one that comes alone is sent at once (coalescing.py).
- A session that an entry names, to be its only reader or not to be one, reads
  for itself: what a group shares holds nothing that is not for all of it.
- When the log is no longer the one that was read so far (`_lost`), no cursor
  means anything: every session is given `resync` and the board as it is now.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Final

from ..access.room_policy import RoomPolicy
from ..config.settings import Settings
from ..framing import Framing
from ..log.base import Log
from ..log.entry import Entry
from .catch_up import LOST, WRITE_BYTES, CatchUp
from .coalescing import Coalescing
from .groups import Group
from .runtime import Runtime
from .session import Session

__all__ = ["Delivery"]

logger = logging.getLogger("rtpush.hub")

# Seconds after which a pass over many sessions lets the event loop breathe.
YIELD_AFTER: Final = 0.004
# Sessions that are written to before it looks at the clock.
WRITES_PER_CLOCK_READ: Final = 50


class Delivery(CatchUp):
    """The half of the hub that reads the log. `idle` is set while no pass is under way."""

    def __init__(
        self, log: Log, settings: Settings, runtime: Runtime, room_policy: RoomPolicy
    ) -> None:
        super().__init__(log, settings, runtime, room_policy)
        self.idle = asyncio.Event()
        self.idle.set()
        # Told that the log has grown, before any session is.
        self.on_grown: Callable[[], None] = lambda: None
        self._passing: Iterator[None] | None = None
        self._coalescing = Coalescing()
        log.on_grow = self._grown
        log.on_lost = self._lost

    def begin(self) -> None:
        """Go on from the newest entry. Once, when the log is open."""
        self.head = self.log.last

    def send_volatile(self, envelope: bytes, room: str | None, skip: Collection[str] = ()) -> None:
        """To the sessions that are connected and keep up now; no other will see it."""
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

    # --------------------------------------------------------------- passes

    def _grown(self) -> None:
        self.on_grown()
        self._snapshots.forget()
        if self._passing is None:
            self._begin_pass(self._step)

    def _lost(self) -> None:
        self._snapshots.forget()
        for session in self._all_sessions():
            session.cursor, session.live = LOST, False
            session.rewinds, session.began = (), self.log.last
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
        """Let every session that can take it begin anew; the others do when they read on."""
        yield_at = self._runtime.clock() + YIELD_AFTER
        for session in self._all_sessions():
            waits = session.paused or session.reading or session.snapshot is not None
            if session.cursor == LOST and not waits:
                self._resync(session, "epoch")
                self._catch_up(session)
            if self._runtime.clock() > yield_at:
                yield
                yield_at = self._runtime.clock() + YIELD_AFTER

    def _begin_pass(self, at_once: Callable[[], object]) -> None:
        """Begin a pass: after a rest, or by calling `at_once`."""
        self.idle.clear()
        self._passing = self._pass()
        rest = 0.0
        if self.log.last - self.head == 1:
            rest = self._coalescing.rest(self._runtime.clock())
        if rest:
            self._runtime.call_later(rest, self._step)
        else:
            at_once()

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
            self._end_pass()
            return
        if self.head < self.log.last:
            self._begin_pass(lambda: self._runtime.call_soon(self._step))
        else:
            self._end_pass()

    def _end_pass(self) -> None:
        self._passing = None
        self.idle.set()

    def _pass(self) -> Iterator[None]:
        """Give all sessions a page of what the log has grown by; yield to breathe."""
        began, events = self._runtime.clock(), self.log.last - self.head
        page = self.log.recent(self.head, WRITE_BYTES)
        if page is not None:
            end = page.upto
            yield from self._fan_out(page.entries, self.head, end)
        else:
            # One batch was larger than the log's memory.
            end = self.log.last
            self._catch_up_all()
        self.head = end
        self._coalescing.passed(began, self._runtime.clock(), events)

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
