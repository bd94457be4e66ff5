"""What an application says to the server: handlers, events, rooms, sessions.

Rules that hold here:

- The names and habits are those of python-socketio's `AsyncServer`, so that an
  application moves by changing its import.
- Handlers can be added at any time. Everything else needs a running server
  and is called on its event loop.
- What is emitted is logged like every other event: `await emit(…)` returns
  when it is stored, and a client that is away gets it on coming back.
- A room named like a session's `sid` is that session alone.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from ..cluster.nodes import Nodes
from ..errors import RtpushError
from ..handlers.registry import Handler, HandlerRegistry
from ..log.task import TASK_EVENTS
from ..protocol import Envelope, Reply, check_name, check_room
from ..sessions.presence import member_id
from .dispatcher import Dispatcher
from .home_loop import on_home_loop
from .presence import members_of
from .replies import PendingReplies
from .session_access import SessionAccess

__all__ = ["Application"]

logger = logging.getLogger("rtpush.app")


class Application(SessionAccess):
    """The part of `rtpush.Server` that an application talks to.

    Its handlers: `connect(sid, environ, auth)` may refuse by returning False or
    raising ConnectionRefusedError; `disconnect(sid, reason)`; any other event
    `(sid, data)`, and what it returns is the client's acknowledgement; `*`, for
    events without one of their own, `(event, sid, data)`. Several arguments of one
    emit come as `(sid, a, b)`; a tuple that is returned is several, too.
    """

    _dispatcher: Dispatcher
    _nodes: Nodes
    _replies: PendingReplies

    def __init__(self) -> None:
        super().__init__()
        self._handlers = HandlerRegistry()

    def _add_handler(self, event: str, handler: Handler) -> None:
        self._handlers.add(event, handler)

    # -------------------------------------------------------------- sending

    @on_home_loop
    async def emit(
        self,
        event: str,
        data: Any = None,
        to: str | Sequence[str] | None = None,
        room: str | Sequence[str] | None = None,
        skip_sid: str | Sequence[str] | None = None,
        callback: Callable[..., Any] | None = None,
        key: str | None = None,
        volatile: bool = False,
        retain: bool = False,
    ) -> str | None:
        """Send an event to everyone, to rooms, or to one session.

        Args:
            event: The name, of 1 to 128 characters.
            data: Anything that JSON can hold; a tuple is several arguments.
            to: A room, a `sid`, or several of them; a session that is in more
                than one gets the event once. None is everyone.
            room: The same as `to`, as python-socketio calls it.
            skip_sid: The sessions that do not get the event.
            callback: Called with the client's answer; `to` is then one `sid`.
                It may be a coroutine function.
            key: A later event of the same room, name and key takes this one's
                place for sessions that are behind.
            volatile: Do not log the event: a session that is away misses it.
            retain: Keep the event for sessions that come later, until another with the
                same room, name and key takes its place; None as its data removes it.

        Returns:
            The event's position in the log, of the last room if there are
            several; None for a volatile event.

        Raises:
            RtpushError: The event is refused, or the log cannot be written
                (`unavailable`).
            ValueError: There is a `callback`, and not one session to ask.
        """
        rooms = _rooms(to if to is not None else room)
        skip = set(_names(skip_sid))
        ack = None
        if callback is not None:
            ack = await self._expect_reply(
                rooms, volatile, lambda reply: self._called_back(callback, reply)
            )
        position = None
        for name, also in await self._apart(rooms):
            envelope = _envelope(event, data, name, key, volatile, retain)
            self._check_room(envelope)
            # Of a session that is not here, another node may know.
            shared = self._nodes.bus.shared
            skipped = tuple(sid for sid in {*skip, *also} if shared or self._hub.knows(sid))
            position = await self._dispatcher.emit(envelope, skipped, ack)
        return position

    async def send(
        self,
        data: Any,
        to: str | Sequence[str] | None = None,
        room: str | Sequence[str] | None = None,
        skip_sid: str | Sequence[str] | None = None,
        callback: Callable[..., Any] | None = None,
    ) -> str | None:
        """`emit` with the event `message`.

        Args:
            data: As of `emit`.
            to: As of `emit`.
            room: As of `emit`.
            skip_sid: As of `emit`.
            callback: As of `emit`.

        Returns:
            The event's position in the log.

        Raises:
            RtpushError: As of `emit`.
            ValueError: As of `emit`.
        """
        return await self.emit("message", data, to, room, skip_sid, callback)

    @on_home_loop
    async def call(
        self,
        event: str,
        data: Any = None,
        to: str | None = None,
        sid: str | None = None,
        timeout: float = 60,
    ) -> Any:
        """Ask one session, and wait for the answer of its handler.

        Args:
            event: The name, of 1 to 128 characters.
            data: Anything that JSON can hold; a tuple is several arguments.
            to: The session's `sid`.
            sid: The same as `to`, as python-socketio calls it.
            timeout: How many seconds the client has.

        Returns:
            What the client's handler returned; a tuple when that is several values.

        Raises:
            TimeoutError: There is no answer in time.
            RtpushError: The client answers with an error, or the event is refused.
            ValueError: There is no such session.
        """
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def take(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        target = to or sid
        ack = await self._expect_reply([target], False, take)
        try:
            async with asyncio.timeout(timeout):
                await self._dispatcher.emit(_envelope(event, data, target), (), ack)
                return _answer_of(await answered)
        finally:
            self._replies.forget(target or "", ack)

    async def _expect_reply(
        self, rooms: Sequence[str | None], volatile: bool, take: Callable[[Reply], None]
    ) -> str:
        """Let `take` have the one session's answer; returns the `ack` to ask with."""
        sid = (rooms[0] or "") if len(rooms) == 1 else ""
        if volatile or not sid or not await self._nodes.knows(sid):
            raise ValueError("only one session, by its sid and not volatile, can be asked")
        return self._replies.expect(sid, take)

    def _called_back(self, callback: Callable[..., Any], reply: Reply) -> None:
        self.start_background_task(_call_back, callback, reply)

    async def _apart(
        self, rooms: Sequence[str | None]
    ) -> Iterable[tuple[str | None, frozenset[str]]]:
        """Each room, with the sessions that one of the rooms before it has reached."""
        if len(rooms) == 1:
            return [(rooms[0], frozenset())]
        reached: set[str] = set()
        found = []
        for room in rooms:
            # A room may be the sid of a session.
            name = room or ""
            members = {name, *(member["sid"] for member in await self._nodes.members(name))}
            found.append((room, frozenset(members & reached)))
            reached |= members
        return found

    def _check_room(self, envelope: Envelope) -> None:
        if envelope.event in TASK_EVENTS and self._hub.knows(envelope.room or ""):
            raise RtpushError("bad_task", "A task is for everyone or a room, not for one session.")

    # ---------------------------------------------------------------- rooms

    @on_home_loop
    async def enter_room(self, sid: str, room: str) -> None:
        """Put a session in a room. Its client is sent the room's tasks.

        Args:
            sid: The session, on any node.
            room: The name, of 1 to 128 characters.

        Raises:
            RtpushError: `not_found`, `bad_room` or `too_many_rooms`.
        """
        await self._nodes.enter(sid, room)

    @on_home_loop
    async def leave_room(self, sid: str, room: str) -> None:
        """Take a session out of a room.

        Args:
            sid: The session, on any node.
            room: A room; nothing happens when the session is not in it.

        Raises:
            RtpushError: There is no such session (`not_found`).
        """
        disconnecting = self._admission.disconnecting.get(sid)
        if disconnecting is not None:
            # A `disconnect` handler puts things in order.
            self._hub.leave(disconnecting, room)
        else:
            await self._nodes.leave(sid, room)

    @on_home_loop
    async def close_room(self, room: str) -> None:
        """Take every session out of a room.

        Args:
            room: A room, on all nodes.
        """
        await self._nodes.close_room(room)

    @on_home_loop
    async def presence(self, room: str) -> list[dict[str, Any]]:
        """Who is present in a room, on all nodes.

        Args:
            room: A room; an empty list when nobody is present in it.

        Returns:
            The members in the order of their last changes, each with its public `id`, the
            `subject` of its token if it has one, and its `info`.
        """
        await self._hub.log.sync()
        return members_of(self._hub, room)

    def member_id(self, sid: str) -> str:
        """The public id by which a session is present: others may be told it, and not the `sid`.

        Args:
            sid: A session.

        Returns:
            The `id` of its members in all rooms.
        """
        return member_id(sid)

    # ------------------------------------------------------------- sessions

    @on_home_loop
    async def disconnect(self, sid: str) -> None:
        """End a session. Its client does not come back by itself.

        Args:
            sid: The session, on any node; nothing happens when there is none.
        """
        await self._nodes.disconnect(sid, "The application ended the connection.")


def _names(given: str | Sequence[str] | None) -> Sequence[str]:
    if given is None:
        return ()
    return (given,) if isinstance(given, str) else given


def _rooms(given: str | Sequence[str] | None) -> Sequence[str | None]:
    """The rooms to send to; None is everyone. No rooms at all is nobody."""
    if given is None:
        return (None,)
    return [check_room(room) for room in dict.fromkeys(_names(given))]


def _envelope(
    event: str,
    data: Any,
    room: str | None,
    key: str | None = None,
    volatile: bool = False,
    retain: bool = False,
) -> Envelope:
    check_name("event", event, "bad_event")
    if key is not None:
        check_name("key", key)
    return Envelope(event, data, room, key, volatile=volatile, retain=retain)


async def _call_back(callback: Callable[..., Any], reply: Reply) -> None:
    if reply.error is not None:
        logger.warning("a client answered with an error: %s", reply.error.get("message"))
        return
    try:
        result = callback(*(reply.data if isinstance(reply.data, tuple) else (reply.data,)))
        if inspect.isawaitable(result):
            await result
    except Exception:
        logger.exception("a callback failed")


def _answer_of(reply: Reply) -> Any:
    if reply.error is None:
        return reply.data
    raise RtpushError.of(reply.error)
