"""Admission: which clients get in, and into which rooms. PROTOCOL.md, sections 4 and 5.

Rules that hold here:

- A client has a session only after the application's `connect` handler, if there is one,
  has let it in.
- There is one way into a room for a client, whether it names the room in its query or in a
  `join`: its grant or a token for the room allows it, and the `join` handler, if there is one,
  consents.
- A handler may take its time. What was checked before it is checked again after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

from ..access.auth import Authenticator, Grant
from ..errors import Reason, RtpushError
from ..handlers.registry import HandlerRegistry
from ..hub import Hub
from ..protocol import Position
from ..sessions.presence import member_id
from ..sessions.session import Session
from .turns import Turns

__all__ = ["Admission"]

Environ = Callable[[], dict[str, Any]]


class Admission:
    """Admits clients and lets them into rooms; tells the application of those that leave.

    `disconnecting` has the sessions that have ended, until the application has been told.
    """

    def __init__(
        self, hub: Hub, handlers: HandlerRegistry, auth: Authenticator, turns: Turns
    ) -> None:
        self.disconnecting: dict[str, Session] = {}
        self._hub = hub
        self._handlers = handlers
        self._auth = auth
        self._turns = turns
        hub.on_closed = self._closed
        hub.on_expelled = self._expelled

    # -------------------------------------------------------------- connecting

    async def admit(
        self,
        session: Session,
        rooms: Sequence[str],
        environ: Environ,
        auth: Any,
        last: str | None = None,
    ) -> None:
        """Admit a prepared session, in the rooms that its client names. Raises RtpushError.

        `last` is the position at which its client wants to read on.
        """
        # Of a session that goes on, the rooms that it is in were admitted before.
        rooms = [room for room in dict.fromkeys(rooms) if room not in session.rooms]
        for room in rooms:
            self._hub.room_policy.check_entry(session.grant, room)
        if self._handlers.has("connect") or any(map(self._hub.room_policy.asks, rooms)):
            decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._turns.take(
                session,
                lambda: _settle(decided, self._decide(session, rooms, environ(), auth, decided)),
            )
            await decided
        else:
            for room in rooms:
                self._hub.enter(session, room)
        if last is not None:
            session.outlasted = await self._hub.history_bounds.passed(
                session.rooms, Position.parse(last)
            )
        if self._hub.sessions.get(session.sid) is not session:
            raise RtpushError("forbidden", "The application ended the connection.")
        self._hub.admit(session)

    async def _decide(
        self,
        session: Session,
        rooms: Sequence[str],
        environ: dict[str, Any],
        auth: Any,
        decided: asyncio.Future[None],
    ) -> None:
        refusal = None
        try:
            if self._handlers.has("connect"):
                await self._handlers.connect(session.sid, environ, auth)
        except RtpushError as error:
            if not decided.done():
                decided.set_exception(error)
            return
        try:
            for room in rooms:
                await self._ask(session, room, {"room": room})
                self._hub.enter(session, room)
        except RtpushError as error:
            refusal = error
        if refusal is None and not decided.done():
            decided.set_result(None)
            return
        if self._handlers.has("connect") and self._handlers.has("disconnect"):
            # `connect` has let it in, and it has gone meanwhile or is refused for a room.
            await self._handlers.disconnect(session.sid, Reason.TRANSPORT_CLOSE)
        if refusal is not None and not decided.done():
            decided.set_exception(refusal)

    def _closed(self, session: Session, reason: str) -> None:
        """Tell the application that a session has ended."""
        if self._handlers.has("disconnect"):
            self.disconnecting[session.sid] = session
            self._turns.take(session, lambda: self._run_disconnect_handler(session, reason))

    async def _run_disconnect_handler(self, session: Session, reason: str) -> None:
        try:
            await self._handlers.disconnect(session.sid, reason)
        finally:
            self.disconnecting.pop(session.sid, None)

    # ------------------------------------------------------------------- rooms

    def must_ask(self, session: Session, room: str, data: Any) -> bool:
        """Does this `join` bring a token to check, or does the application decide about it?"""
        asks = self._hub.room_policy.asks
        return _brings_token(data) or (room not in session.rooms and asks(room))

    def join(self, session: Session, room: str, *, rewinds: bool = False) -> bytes | None:
        """Let a client into a room about which nothing has to be asked; see `Hub.join`."""
        self._check(session, room, None)
        return self._hub.join(session, room, rewinds=rewinds)

    async def ask_and_join(
        self, session: Session, room: str, data: Any, *, rewinds: bool = False
    ) -> bytes | None:
        """Check the token of a `join`, ask the application, and let the client in.

        `data` is that of the `join`. Returns what `Hub.join` does. Raises RtpushError.
        """
        grant = None
        if _brings_token(data):
            grant = await self._room_grant(session, room, data["token"])
        if room not in session.rooms:
            await self._ask(session, room, data, grant)
        self._check(session, room, grant)
        until = None if grant is None else grant.expires
        return self._hub.join(session, room, until, rewinds=rewinds)

    def check_presence(self, session: Session, room: str, info: dict[str, Any]) -> None:
        """Raises RtpushError when a client may not be a member of a room, were it in it."""
        self._hub.room_policy.check_presence(room)
        self._hub.presence.check(session, room, info)

    def show(self, session: Session, room: str, info: dict[str, Any]) -> str:
        """Make a client a member of a room that it is in; returns its public id."""
        self._hub.show(session, room, info)
        return member_id(session.sid)

    async def _ask(
        self, session: Session, room: str, data: Any, room_grant: Grant | None = None
    ) -> None:
        """Ask the application, if it wants to be, for its consent to a client's entry."""
        self._check(session, room, room_grant)
        if self._hub.room_policy.asks(room):
            await self._handlers.join(session.sid, data)
            self._check(session, room, room_grant)

    def _check(self, session: Session, room: str, room_grant: Grant | None) -> None:
        if self._hub.sessions.get(session.sid) is not session:
            raise RtpushError("not_found", "No such session: it ended.")
        if room_grant is None and room not in session.rooms:
            self._hub.room_policy.check_entry(session.grant, room)

    async def _room_grant(self, session: Session, room: str, token: Any) -> Grant:
        """What a token for one room allows. Raises RtpushError."""
        grant = await self._grant(token)
        if grant.subject not in (None, session.grant.subject):
            raise RtpushError("forbidden", "The token is for another user.")
        if not grant.lists(room):
            raise RtpushError("forbidden", "The token does not list this room in `rooms`.")
        return grant

    def leave(self, session: Session, room: str) -> bool:
        """Take a client out of a room; does the application want to be told of it?"""
        was_in = room in session.rooms
        self._hub.leave(session, room)
        return was_in and self._handlers.has("leave")

    async def tell_left(self, session: Session, data: Any) -> None:
        """Tell the application that a client has left a room; its answer changes nothing."""
        with suppress(RtpushError):
            await self._handlers.event("leave", session.sid, data)

    def _expelled(self, session: Session, room: str) -> None:
        if self._handlers.has("leave"):
            self._turns.take(session, lambda: self.tell_left(session, {"room": room}))

    # ------------------------------------------------------------- credentials

    async def renew(self, session: Session, token: Any) -> float | None:
        """Refresh what a client may do; returns when its token ends. Raises RtpushError."""
        grant = await self._grant(token)
        self._hub.renew(session, grant)
        return grant.expires

    async def _grant(self, token: Any) -> Grant:
        if not self._auth.wants_tokens:
            raise RtpushError(
                "forbidden", "This server has no authentication configured; send no token."
            )
        return await self._auth.grant(token if isinstance(token, str) else None)


def _brings_token(data: Any) -> bool:
    return isinstance(data, dict) and "token" in data


async def _settle(decided: asyncio.Future[None], deciding: Coroutine[Any, Any, None]) -> None:
    """Decide, and let nobody wait for a decision that does not come."""
    try:
        await deciding
    finally:
        if not decided.done():
            # The server stops, and the handlers have had their time.
            decided.set_exception(RtpushError("going_away", "The server is stopping."))
