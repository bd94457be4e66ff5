"""A client's session: what outlives each of its connections.

Rules that hold here:

- The session keeps the cursor, the rooms and the unanswered events. A connection
  after a disconnect goes on where the last one was.
- A session belongs to one user. Another one who logs in begins anew, and gets nothing of
  what the last one left unanswered.
- The application hears of each end once: by the handler of `disconnect`, by the
  loops over `events`, and by the calls that wait for an answer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, Final

from ..errors import ConnectError, Reason, RtpushError
from ..payloads import JsonDefault
from ..protocol import check_room
from .connection import Connection, Listener
from .cursor import Cursor
from .dispatch import LOCAL_EVENTS, HandlerDispatcher, arguments_of, data_of
from .endpoint import Endpoint
from .outbox import Outbox
from .presence import PresenceViews
from .receive_queue import Event, ReceiveQueues
from .retained import PRESENCE, RetainedValues
from .sender import Sender

__all__ = ["Session"]

logger = logging.getLogger("rtpush.client")

# Seconds for the server to answer a join or a leave.
_ROOM_TIMEOUT: Final = 60.0


class Session:
    """The state of one client, and its connection."""

    def __init__(self, json_default: JsonDefault | None = None) -> None:
        # The session's secret; None before the first connection.
        self.sid: str | None = None
        self.cursor = Cursor()
        self.retained = RetainedValues()
        self.presence = PresenceViews(self.retained)
        # What the client says of itself in rooms where it is present.
        self._present: dict[str, dict[str, Any]] = {}
        # The rooms to be in, and the token of each; None: the client's own is enough.
        self.rooms: dict[str, str | None] = {}
        # Those that the call of `connect` names.
        self._named: frozenset[str] = frozenset()
        # Whether that call says where to read on; False after its first attempt.
        self._placed = False
        # The user that connected last; None before the first attempt.
        self._identity: str | None = None
        self._outbox = Outbox(json_default)
        self.queues = ReceiveQueues(lambda: len(self._outbox) > 0)
        self.sender = Sender(self._outbox, self.queues)
        self.dispatcher = HandlerDispatcher(self.queues, self.sender.reply)
        # Runs the connection; None when there is none.
        self.task: asyncio.Task[None] | None = None
        # Done when the first attempt has connected, or has failed for good.
        self._opened: asyncio.Future[None] | None = None
        # Whether the first attempt, too, is repeated until it succeeds.
        self._retries_first = False
        # Joins of rooms after a reconnect. The event loop holds tasks only weakly.
        self._rejoining: set[asyncio.Task[None]] = set()

    # -------------------------------------------------------------- connecting

    def place(self, rooms: Iterable[str], last: str | None) -> None:
        """What `connect` says: the rooms to be in, and where to read on. Raises RtpushError."""
        self._named = frozenset(check_room(room) for room in rooms)
        for room in self._named:
            self.rooms.setdefault(room)
        self._placed = last is not None
        if last is not None:
            self.cursor = Cursor(last)

    def start(self, endpoint: Endpoint, *, retry: bool) -> asyncio.Future[None]:
        """Connect in a task; the result is done when that has succeeded, or failed."""
        listener = Listener(
            connected=self._connected,
            disconnected=self._disconnected,
            error=self._failed,
            too_large=self._outbox.refuse_largest,
            envelope=self.receive,
            identified=self._identified,
            wait_ready=self.queues.wait_ready,
        )
        connection = Connection(endpoint, listener, self.cursor, self.sid)
        self.sender.attach(connection)
        self._retries_first = retry
        self._opened = asyncio.get_running_loop().create_future()
        # Retrieve the exception: where no caller waits for it, the log and a handler tell it.
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self.dispatcher.start()
        self.task = asyncio.create_task(self._run(connection, endpoint))
        return self._opened

    async def _run(self, connection: Connection, endpoint: Endpoint) -> None:
        error: ConnectError | None = None
        try:
            error = await connection.run()
        except asyncio.CancelledError:
            logger.debug("disconnected by the application")
        except Exception as exc:
            logger.exception("the connection failed")
            error = ConnectError("internal", f"The client failed: {exc}.")
        finally:
            self._end(error)
            if endpoint.owns_http:
                await endpoint.http.close()

    def _end(self, error: ConnectError | None) -> None:
        """Tell every caller that waits. `error` is None when the application disconnected."""
        if self.sender.connected:
            self._disconnected(Reason.CLIENT_DISCONNECT)
        self.task = None
        reason = error or ConnectError(
            "unavailable", "The client has disconnected; whether this took effect is not known."
        )
        assert self._opened is not None
        if not self._opened.done():
            self._opened.set_exception(reason)
        self.sender.detach(reason)
        self.queues.close(error or StopAsyncIteration())

    async def stop(self, task: asyncio.Task[None] | None, timeout: float) -> None:
        """End the connection that this task runs, and wait up to `timeout` seconds for handlers."""
        if task is not None and task is self.task:
            # Once: a second cancellation would interrupt the close.
            if not task.cancelling():
                task.cancel()
            await asyncio.wait([task])
        if self.task is None:
            # Also for the handler of `disconnect`.
            await self.dispatcher.wait_done(timeout)

    def _identified(self, identity: str) -> bool:
        """The client connects as this user; is it another one than before?"""
        before, self._identity = self._identity, identity
        placed, self._placed = self._placed, False
        if before in (None, identity):
            return False
        self.sid = None
        if not placed:
            self.cursor.forget()
        for room in self.rooms.keys() - self._named:
            del self.rooms[room]
            self._present.pop(room, None)
        assert self._opened is not None
        if self._opened.done():
            self._outbox.give_up(
                ConnectError("unavailable", "Another user logged in before this was answered.")
            )
        return True

    def _connected(self, sid: str) -> None:
        was_connected, is_new = self.sender.connected, self.sid not in (None, sid)
        self.sid = sid
        self.sender.resend()
        if is_new:
            self._rejoin_rooms()
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        if not was_connected:
            self.dispatcher.dispatch("connect")

    def _disconnected(self, reason: Reason) -> None:
        self.sender.connected = False
        self.dispatcher.dispatch("disconnect", reason)

    def _failed(self, error: ConnectError) -> None:
        self.dispatcher.dispatch("connect_error", error.as_data())
        if not self._retries_first and self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)

    # --------------------------------------------------------------- receiving

    def receive(self, envelope: dict[str, Any]) -> None:
        """An envelope has arrived: an event, or the answer to one."""
        event = envelope.get("event")
        if event is None:
            self.sender.receive_reply(envelope)
        elif isinstance(event, str) and event not in LOCAL_EVENTS:
            for one in self.retained.take(envelope):
                self._deliver(one["event"], one)

    def _deliver(self, event: str, envelope: dict[str, Any]) -> None:
        data = data_of(envelope)
        fields = {name: envelope.get(name) for name in ("room", "id", "key", "rewound")}
        retained = envelope.get("retained") is True
        self.queues.deliver(Event(event, data, **fields, retained=retained))
        self.dispatcher.dispatch(event, *arguments_of(data), ack=envelope.get("ack"))
        if event == PRESENCE:
            self.presence.update(envelope.get("room"), self.dispatcher.dispatch_call)

    def finish(
        self, error: RtpushError | None, answer: Any, callback: Callable[[Any], Any] | None
    ) -> None:
        """The answer to an event that no caller waits for."""
        if error is not None:
            self._report(error)
        elif callback is not None:
            self.dispatcher.dispatch_call(callback, *arguments_of(answer))

    def _report(self, error: RtpushError) -> None:
        if not self.dispatcher.dispatch("error", error.as_data()):
            logger.warning("the server refused an event: %s", error)

    # ------------------------------------------------------------------- rooms

    async def join(
        self,
        room: str,
        token: str | None,
        rewind: int | str | None = None,
        presence: dict[str, Any] | None = None,
    ) -> None:
        """Join a room, and again after each reconnect. Raises RtpushError."""
        self.rooms[check_room(room)] = token
        if presence is not None:
            self._present[room] = presence
        asked = {"room": room, "token": token, "rewind": rewind, "presence": presence}
        data = {name: value for name, value in asked.items() if value is not None}
        try:
            await self.sender.call({"event": "join", "data": data}, _ROOM_TIMEOUT)
        except RtpushError:
            self._forget_room(room)
            raise

    async def leave(self, room: str) -> None:
        """Leave a room."""
        self._forget_room(room)
        await self.sender.call({"event": "leave", "data": {"room": room}}, _ROOM_TIMEOUT)

    def _forget_room(self, room: str) -> None:
        self.rooms.pop(room, None)
        self._present.pop(room, None)
        self.cursor.leave(room)
        self.retained.leave(room)

    def _rejoin_rooms(self) -> None:
        """A new session is in the rooms of the address only, and present nowhere."""
        for room, token in self.rooms.items():
            if token is not None or room in self._present:
                task = asyncio.create_task(self._rejoin(room, token))
                self._rejoining.add(task)
                task.add_done_callback(self._rejoining.discard)

    async def _rejoin(self, room: str, token: str | None) -> None:
        try:
            await self.join(room, token, presence=self._present.get(room))
        except RtpushError as error:
            self._report(error)
