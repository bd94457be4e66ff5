"""The greeting: what a connection is told before it reads on from its position."""

from __future__ import annotations

from typing import Final

from ..errors import RtpushError
from ..protocol import Position, encode
from .membership import Membership
from .rewind import MAX_REWIND, Rewind, RewindSpec
from .session import Connection, Session
from .snapshots import connect

__all__ = ["Greeting"]

# Bytes of a snapshot that may be copied into the greeting.
MAX_COPIED_SNAPSHOT: Final = 4 << 10


class Greeting(Membership):
    """The part of the hub that begins to read for a session, over a new connection."""

    def _attach(self, session: Session, connection: Connection) -> None:
        session.connection = connection
        self._regroup(session)

    def _begin(self, session: Session, last: str | None, *, greet: bool, head: bytes = b"") -> None:
        asked = None if last is None else Position.parse(last)
        lost = None if asked is None else self.log.covers(asked)
        if session.outlasted:
            session.outlasted, lost = False, lost or "expired"
        fresh = asked is None or lost is not None
        position = self.log.position if asked is None or lost is not None else asked
        prepared, session.cursor = session.cursor, position.seq
        session.conflate_after = self.log.last
        if session.began is None:
            session.began = session.cursor
        envelopes: list[bytes] = []
        if greet:
            beat = self._settings.heartbeat
            envelopes.append(connect(session, position, beat, recovered=not fresh))
        envelopes += session.notices
        session.notices = ()
        if lost is not None:
            envelopes.append(encode("resync", {"reason": lost}))
        connection = session.connection
        assert connection is not None
        frames = [connection.framing.frame(envelope, None) for envelope in envelopes]
        if fresh and greet:
            frames += self._direct_frames(session, connection.framing, prepared)
        snapshot = self._snapshot(session, connection.framing) if fresh else b""
        # One write for all of it: a system call less costs a handshake 5 % less.
        # A large snapshot is not copied for each of a crowd.
        if len(snapshot) <= MAX_COPIED_SNAPSHOT:
            frames += [snapshot] if snapshot else []
            snapshot = b""
        for data in (head + connection.framing.joiner.join(frames), snapshot):
            if data:
                connection.write(data)
        if session.rewind is not None and fresh:
            self._rewind_rooms(session, session.rewind)
        session.rewind = None
        self._catch_up(session)

    def _rewind_rooms(self, session: Session, spec: RewindSpec) -> None:
        """Give the earlier events of all rooms of a session that begins."""
        # The server may have put it in a room that cannot be rewound.
        rooms = [room for room in session.rooms if self.room_policy.rule(room).rewind]
        most = MAX_REWIND // max(1, len(rooms))
        for room in rooms:
            rewind = self.rewind(session, room)
            if rewind is not None:
                self._runtime.spawn(self._begin_rewind(session, rewind, spec, most))

    async def _begin_rewind(
        self, session: Session, rewind: Rewind, spec: RewindSpec, most: int
    ) -> None:
        try:
            await self.begin_rewind(session, rewind, spec, most)
        except RtpushError as error:
            self.disconnect(session, error)
