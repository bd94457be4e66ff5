"""The hub: sessions, from the first request to the last.

Rules that hold here:

- A session is prepared, let in, and opened on a connection. It can lose the connection
  and be given another; when it is closed, its client may take it up again for
  a while, by the secret that it was given.
- What an opening asks for is checked here, the same for every transport.
- A session that is ended from this side is told why, and is not kept.
"""

from __future__ import annotations

import logging
import math
import random
import secrets
from collections.abc import Callable, Sequence
from typing import Any, Final

from .access.auth import OPEN, Grant
from .access.room_policy import RoomPolicy
from .config.settings import Settings
from .errors import Reason, RtpushError
from .log.base import Log
from .protocol import Position, check_room, encode
from .sessions.greeting import Greeting
from .sessions.handover import load_session
from .sessions.runtime import Runtime
from .sessions.session import Connection, Session
from .sessions.shares import Shares
from .sessions.timers import Expiries, Heartbeats, LapsedSessions
from .unix import connections_allowed

__all__ = ["Hub"]

logger = logging.getLogger("rtpush.hub")

# Sessions without a connection that are kept for their clients to come back,
# about 1 KiB each.
MAX_LAPSED_SESSIONS: Final = 10_000
# Seconds for which a session whose page was left is present still: most such pages do not come
# back, and a phone's that was put away for a moment does.
PARTING_FOR: Final = 5.0
# Seconds between two warnings that the server is full.
WARN_EVERY: Final = 60.0
# At most so many clients are asked to come back in each second after a stop.
RETURNS_PER_SECOND: Final = 500


class Hub(Greeting):
    """See the module's rules.

    While `stopping`, nobody new is let in. `on_closed` is told of every
    session that was admitted and is gone, and why.
    """

    def __init__(
        self, log: Log, settings: Settings, runtime: Runtime, room_policy: RoomPolicy
    ) -> None:
        super().__init__(log, settings, runtime, room_policy)
        self.stopping = False
        self.max_connections = connections_allowed(settings)
        # When the log was told that there are as many, by the runtime's clock.
        self._warned_full = -math.inf
        self.on_closed: Callable[[Session, str], None] = lambda _session, _reason: None
        self._shares = Shares(settings)
        self._expiries: Expiries[Session] = Expiries()
        self._heartbeats = Heartbeats(settings.heartbeat)
        self._lapsed = LapsedSessions(
            settings.session_lease, MAX_LAPSED_SESSIONS, self.presence.hide_all
        )
        # Those whose page was left.
        self._parting = LapsedSessions(PARTING_FOR, MAX_LAPSED_SESSIONS, self._part)

    # -------------------------------------------------------------- opening

    def prepare(
        self,
        last: str | None = None,
        *,
        conflate: bool = True,
        address: str = "",
        sid: str | None = None,
        grant: Grant = OPEN,
    ) -> Session:
        """The session that a client asks for; it hears nothing before `open`.

        With `last` and the `sid` of a session that is known still, that one,
        in the rooms where it was and may stay. Raises RtpushError
        (`bad_position`, `going_away`, `rate_limited`, `unavailable` when the
        server is full; `forbidden` when it was thrown out) before anything has
        changed.
        """
        self.check_connect_request((), last)
        self._shares.check(address, grant.subject)
        session = self._restore(sid, grant) if sid and last is not None else None
        if session is None:
            session = Session(secrets.token_urlsafe(16), conflate, address, self._runtime.wall())
        session.conflate, session.address, session.grant = conflate, address, grant
        session.admitted = False
        session.lease_until = None
        self._leave_lost_rooms(session)
        self.presence.show_all(session)
        self._register(session)
        return session

    def _register(self, session: Session) -> None:
        self._shares.add(session)
        self._expiries.set(session, session.grant.expires)
        self._watch_rooms(session)
        session.cursor = self.log.last
        self.sessions[session.sid] = session

    def _restore(self, sid: str, grant: Grant) -> Session | None:
        session = self.find(sid)
        if session is None or session.grant.subject != grant.subject:
            # A client that has found a sid out does not become its owner by it.
            return None
        if session.eviction is not None:
            raise session.eviction
        if sid in self.sessions:
            # The client knows sooner than the server that a connection is dead.
            if session.connection is not None:
                session.connection.close(1000, "another connection took over")
            self.close(session)
        self._parting.take(sid)
        return self._lapsed.take(sid)

    def open(
        self, session: Session, connection: Connection, last: str | None = None, head: bytes = b""
    ) -> None:
        """Greet a prepared session, then let it read from `last` (or from now).

        `head` is what the transport says ahead of the greeting.
        """
        self._heartbeats.add(session)
        self._attach(session, connection)
        self._begin(session, last, greet=True, head=head)

    def reattach(self, session: Session, connection: Connection, last: str) -> None:
        """Let a session read on at `last` over a new connection; the old one is closed.

        Raises RtpushError (`bad_position`).
        """
        Position.parse(last)
        if session.connection is not None:
            session.connection.close(1000, "another request took over")
            self.detach(session)
        self._attach(session, connection)
        self._begin(session, last, greet=False)

    def detach(self, session: Session) -> None:
        """Take the connection away; the session stays, to be reattached."""
        session.cursor = self._cursor_of(session)
        session.connection = None
        session.live = session.paused = session.lagging = session.reading = False
        if session.snapshot is not None and session.snapshot.room is not None:
            session.pending_snapshots = (session.snapshot.room, *session.pending_snapshots)
        self._snapshot_readers.end(session)
        self._stalled.remove(session)

    def close(self, session: Session, reason: str = Reason.TRANSPORT_CLOSE) -> None:
        """End a session; its client may take it up again for a while. Idempotent."""
        if self._forget(session):
            if reason == Reason.CLIENT_DISCONNECT:
                # It has said goodbye; it may come back all the same.
                self.presence.hide_all(session)
            self._lapsed.add(session, self._runtime.clock())
            self.on_closed(session, reason)

    def leave_page(self, session: Session) -> None:
        """The session's page was left, and its connection ends: it is present for a short while."""
        if session.presence:
            self._parting.add(session, self._runtime.clock())

    def _part(self, session: Session) -> None:
        if session.sid not in self.sessions:
            self.presence.hide_all(session)

    def _forget(self, session: Session) -> bool:
        """Was there an admitted session to forget?"""
        self.detach(session)
        self.groups.remove(session)
        self._heartbeats.remove(session)
        if self.sessions.get(session.sid) is not session:
            return False
        del self.sessions[session.sid]
        self._expiries.remove(session)
        self._unwatch_rooms(session)
        self._shares.remove(session)
        if not session.admitted:
            # It was taken up again, and not let in.
            self.presence.hide_all(session)
        return session.admitted

    def find(self, sid: str) -> Session | None:
        """The session with this secret, also one that may come back."""
        return self.sessions.get(sid) or self._lapsed.get(sid)

    def knows(self, sid: str) -> bool:
        """Is there such a session, or may it come back?"""
        session = self.find(sid)
        return session is not None and session.eviction is None

    def release(self, session: Session) -> None:
        """Let go of a session that another node goes on with. The application is not told."""
        if session.connection is not None:
            session.connection.close(1000, "another connection took over")
        self._forget(session)
        self._lapsed.take(session.sid)
        self._parting.take(session.sid)
        self.presence.hand_over(session)

    def adopt(self, sid: str, moved: dict[str, Any], address: str, grant: Grant) -> Session:
        """Go on with a session of another node, which has no connection here yet."""
        session = load_session(sid, moved, address, grant)
        self._leave_lost_rooms(session)
        self.presence.show_all(session)
        if moved["lapsed"]:
            self._lapsed.add(session, self._runtime.clock())
        else:
            session.lease_until = self.lease()
            self._register(session)
            self._heartbeats.add(session)
        return session

    def disconnect(
        self, session: Session, error: RtpushError, retry_after: float | None = None
    ) -> None:
        """End a session from this side: say why, close the connection, forget it."""
        connection = session.connection
        if connection is not None:
            retry = error.retry_after if retry_after is None else retry_after
            data = {
                "reason": error.message,
                "code": error.meaning.close,
                "retry_after": retry,
            }
            self.send(session, encode("disconnect", data))
        if self._forget(session):
            self.presence.hide_all(session)
            self.on_closed(session, Reason.SERVER_DISCONNECT)
        if connection is not None:
            connection.close(error.meaning.close, error.code)

    def disconnect_all(self, error: RtpushError) -> None:
        """End every session, as `disconnect` does; their clients come back spread over time."""
        sessions = list(self.sessions.values())
        spread = 1.0 + len(sessions) / RETURNS_PER_SECOND
        for session in sessions:
            # Random, so that they do not come back as one crowd.
            self.disconnect(session, error, retry_after=round(random.uniform(0.0, spread), 2))

    def evict(self, session: Session, error: RtpushError) -> None:
        """`disconnect`, and say so again when it comes back, if it may not have heard."""
        heard = session.connection is not None and session.lease_until is None
        self.disconnect(session, error)
        if session.admitted and not heard:
            session.eviction = error
            self._lapsed.take(session.sid)
            self._lapsed.add(session, self._runtime.clock())

    def check_connect_request(self, rooms: Sequence[str], last: str | None) -> None:
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
        if len(self.sessions) >= self.max_connections:
            self._warn_full()
            raise RtpushError(
                "unavailable", "The server has as many connections as it allows; try again later."
            )

    def _warn_full(self) -> None:
        now = self._runtime.clock()
        if now < self._warned_full + WARN_EVERY:
            return
        self._warned_full = now
        why = "max_connections allows"
        if self.max_connections < self._settings.max_connections:
            why = "this process may open files for (raise LimitNOFILE, ulimit -n)"
        logger.warning(
            "clients are refused: there are %d connections, as many as %s",
            self.max_connections,
            why,
        )

    def renew(self, session: Session, grant: Grant) -> None:
        """Go on with another grant of the same subject.

        Raises RtpushError (`forbidden`, `not_found`).
        """
        if self.sessions.get(session.sid) is not session:
            # It ended while the token was looked at.
            raise RtpushError("not_found", "No such session: it ended.")
        if grant.subject != session.grant.subject:
            raise RtpushError("forbidden", "This session belongs to another user.")
        if grant != session.grant:
            session.grant = grant
            self._expiries.set(session, grant.expires)
            self._leave_lost_rooms(session)
            self.presence.show_all(session)

    def _lost(self) -> None:
        super()._lost()
        self.presence.recheck()

    def lease(self) -> float:
        """When a session that has no connection now is forgotten."""
        return self._runtime.clock() + self._settings.session_lease

    def _all_sessions(self) -> list[Session]:
        return [*self.sessions.values(), *self._lapsed]

    # ----------------------------------------------------------------- time

    def tick(self) -> None:
        """Once a second: heartbeats, write deadlines, leases."""
        self._snapshots.forget()
        now = self._runtime.clock()
        self._lapsed.tick(now)
        self._parting.tick(now)
        self.end_outdated_snapshots()
        self._end_room_tokens()
        for session in self._expiries.due(self._runtime.wall()):
            self.disconnect(
                session, RtpushError("not_authenticated", "The token has expired; renew it.")
            )
        for session in self._heartbeats.tick():
            if session.connection is not None:
                session.connection.heartbeat()
            elif session.lease_until is not None and session.lease_until < now:
                self.close(session, Reason.PING_TIMEOUT)
        for session in self._stalled.stuck(now):
            self.disconnect(
                session, RtpushError("too_slow", "Nothing was read for too long; read faster.")
            )
