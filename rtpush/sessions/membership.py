"""Membership: which rooms a session is in, from its entry to the end of its right.

Rules that hold here:

- The policy says who may stay; here sessions enter and leave by it. A client asks to enter
  at the door (application/admission.py), and nothing here asks again.
- A session whose rooms change is given first what it was owed in the old ones.
- A session that has to leave a room is told so, at once or when its client comes back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from ..access.room_policy import FOREVER, RoomPolicy
from ..config.settings import Settings
from ..errors import RtpushError
from ..framing import JSON
from ..log.base import Log
from ..protocol import check_room, encode
from .delivery import Delivery
from .presence import PresenceBook
from .runtime import Runtime
from .session import Session
from .timers import Expiries

__all__ = ["Membership"]

EXPIRED: Final = "Your right to this room has expired; join again with a new token."
UNLISTED: Final = "Your new token does not list this room; join with one that does."


class Membership(Delivery):
    """The part of the hub that moves sessions between rooms.

    `on_expelled` is told of each session that had to leave a room, and of the room.
    """

    def __init__(
        self, log: Log, settings: Settings, runtime: Runtime, room_policy: RoomPolicy
    ) -> None:
        super().__init__(log, settings, runtime, room_policy)
        self.presence = PresenceBook(settings)
        self.on_expelled: Callable[[Session, str], None] = lambda _session, _room: None
        self._settings = settings
        # When sessions have to leave rooms that they entered with a token for the room.
        self._room_expiries: Expiries[tuple[Session, str]] = Expiries()

    # ------------------------------------------------------- entering, leaving

    def enter(self, session: Session, room: str, until: float | None = None) -> None:
        """Let a session into a room that it may enter.

        With `until`, in seconds since 1970, it may stay so long whatever its grant says.
        Idempotent. Raises RtpushError (`bad_room`, `too_many_rooms`).
        """
        check_room(room)
        if room not in session.rooms:
            if len(session.rooms) >= self._settings.max_rooms:
                raise RtpushError(
                    "too_many_rooms",
                    f"A session may be in {self._settings.max_rooms} rooms at most; leave one.",
                )
            self._finish_pass(session)
            # A session that enters before it is admitted has missed nothing but
            # what lies before its position.
            session.rooms[room] = self.log.last if session.admitted else 0
            self._regroup(session)
            if session.admitted:
                self._show_by_token(session, room)
        elif until is not None and room not in session.kept_until:
            self._note_consent(session, room)
        if until is not None:
            session.keep_in(room, until)
            self._room_expiries.set((session, room), session.kept_until[room])

    def admit(self, session: Session) -> None:
        """Let a session in, in the rooms that it has entered."""
        session.admitted = True
        for room in session.rooms:
            self._show_by_token(session, room)

    def show(self, session: Session, room: str, info: dict[str, Any]) -> None:
        """Make a session a member of a room that it is in. Raises RtpushError."""
        self.room_policy.check_presence(room)
        self.presence.show(session, room, info)

    def _show_by_token(self, session: Session, room: str) -> None:
        if session.grant.presence is None or room in session.presence:
            return
        # It has not asked for it: what hinders it is no refusal of what it asks for.
        with suppress(RtpushError):
            self.show(session, room, {})

    def _note_consent(self, session: Session, room: str) -> None:
        """A session brings a token for a room that it is in by its grant alone."""
        if session.grant.rooms is None and self.room_policy.admits(session.grant, room):
            session.consented |= {room}

    def join(
        self, session: Session, room: str, until: float | None = None, *, rewinds: bool = False
    ) -> bytes | None:
        """`enter`, at the client's own request; its `active_tasks` follows.

        Once for many joins that come before it could be sent. Over SSE and long-poll a
        small one is returned, for the answer to the request. With `rewinds`, what is newer
        waits for the room's earlier events.
        """
        self.enter(session, room, until)
        if rewinds:
            self.rewind(session, room)
        connection = session.connection
        if connection is None or connection.framing.name != "websocket":
            snapshot = self._snapshots.of_room(room, JSON)
            if snapshot is not None:
                return snapshot
        self._send_snapshot_of(session, room)
        return None

    def _send_snapshot_of(self, session: Session, room: str) -> None:
        if session.admitted and room not in session.pending_snapshots:
            session.pending_snapshots = (*session.pending_snapshots, room)
            if session.live:
                session.cursor = self._cursor_of(session)
                self._catch_up(session)

    def put(self, session: Session, room: str) -> None:
        """Put a session in a room that it did not ask for. Raises as `enter` does."""
        self.enter(session, room, FOREVER)
        self._send_snapshot_of(session, room)

    def leave(self, session: Session, room: str) -> None:
        """Take a session out of a room; nothing happens when it is not in it."""
        if room in session.rooms:
            self._finish_pass(session)
            del session.rooms[room]
            session.consented -= {room}
            session.unconfirmed.pop(room, None)
            session.end_rewind(room)
            self.presence.hide(session, room)
            if session.kept_until.pop(room, None) is not None:
                self._room_expiries.remove((session, room))
            self._regroup(session)

    def _regroup(self, session: Session) -> None:
        framing = session.connection.framing if session.connection is not None else None
        if framing is None and session.group is not None:
            framing = session.group.framing
        if framing is not None:
            self.groups.assign(session, framing)

    # -------------------------------------------------------- rights that end

    def _watch_rooms(self, session: Session) -> None:
        """Have a session leave its rooms in time."""
        for room, until in session.kept_until.items():
            self._room_expiries.set((session, room), until)

    def _unwatch_rooms(self, session: Session) -> None:
        for room in session.kept_until:
            self._room_expiries.remove((session, room))

    def _leave_lost_rooms(self, session: Session) -> None:
        """Expel a session from the rooms that its grant, which is new, does not allow."""
        session.consented = frozenset(
            room for room in session.consented if self.room_policy.admits(session.grant, room)
        )
        self._expel(session, list(session.rooms), UNLISTED)

    def _end_room_tokens(self) -> None:
        for session, room in self._room_expiries.due(self._runtime.wall()):
            self._room_expiries.remove((session, room))
            self._expel(session, [room], EXPIRED)

    def _expel(self, session: Session, rooms: Iterable[str], why: str) -> None:
        """Take a session out of those of its rooms in which it may not stay, and tell it."""
        now = self._runtime.wall()
        for room in rooms:
            if self.room_policy.may_stay(
                session.grant, room, session.kept_until, session.consented, now
            ):
                continue
            self.leave(session, room)
            envelope = encode("error", RtpushError("forbidden", why).as_data(), room=room)
            if session.connection is not None:
                self.send(session, envelope)
            else:
                session.notice(envelope)
            self.on_expelled(session, room)
