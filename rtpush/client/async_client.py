"""A client for coroutines, with the habits of python-socketio's `AsyncClient`.

Rules that hold here:

- What is emitted is said until it is answered, and takes effect once, over any
  number of reconnects. While there is no connection it waits.
- Every event of the log is handled once and in order, also those that happened
  while the connection was lost.
- HandlerRegistry are called one after the other, on the event loop; a plain function
  must not block it. Waiting for an answer in a handler is fine.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, ClassVar, Final, Self

import aiohttp

from ..errors import ConnectError, Reason, RtpushError
from ..handlers.compat import SocketIOInterface
from ..handlers.options import forget_options
from ..handlers.registry import Handler
from ..protocol import check_name, check_room
from ..publisher.request import encode_envelope
from .connection import Connection, Listener
from .cursor import Cursor
from .dispatch import LOCAL, Handling
from .endpoint import Auth, Target, address_of, new_session
from .fallback import Pauses, transports_of
from .outbox import Done, Outbox
from .receive_queue import Event, Events, Inbox

__all__ = ["Auth", "Client", "Event", "Events"]

logger = logging.getLogger("rtpush.client")

# Seconds that an orderly end waits for answers.
_PATIENCE: Final = 5.0
# Volatile events that may wait to leave: more are not for now any longer.
_MOST_UNSAID: Final = 1000


class Client(SocketIOInterface):
    """One lasting connection to a server. Use it on one event loop.

    `connected` tells whether it stands now, `sid` is the session's secret.

    Its handlers: `connect()`; `disconnect(reason)`; `connect_error(error)`, with
    `{"code", "message"}`; any other event `(data)`, and what it returns is the
    answer where the server asks for one; `*`, for events without a handler of
    their own, `(event, data)`. `error` is also what was emitted and refused.
    """

    _mounted_at: ClassVar = ""

    def __init__(
        self,
        reconnection: bool = True,
        reconnection_attempts: int = 0,
        reconnection_delay: float = 1,
        reconnection_delay_max: float = 5,
        randomization_factor: float = 0.5,
        *,
        request_timeout: float = 10,
        http_session: aiohttp.ClientSession | None = None,
        ssl_verify: bool = True,
        **options: Any,
    ) -> None:
        """Delays are in seconds; 0 attempts mean no end.

        `request_timeout` is for one attempt. `http_session` stays the caller's: for
        a proxy, or certificates of one's own. Other options of python-socketio's
        are accepted. Raises TypeError for one that is neither's.
        """
        super().__init__()
        forget_options(options)
        self.connected = False
        self.sid: str | None = None
        self._attempts = (reconnection_attempts or None) if reconnection else 0
        self._pauses = Pauses(reconnection_delay, reconnection_delay_max, randomization_factor)
        self._timeout = request_timeout
        self._given_http, self._ssl_verify = http_session, ssl_verify
        self._rooms: dict[str, str | None] = {}
        self._cursor = Cursor()
        self._outbox = Outbox()
        self._answered = asyncio.Event()
        self._inbox = Inbox(lambda: len(self._outbox) > 0)
        self._handling = Handling(self._inbox, self._reply)
        self._connection: Connection | None = None
        self._running: asyncio.Task[None] | None = None
        self._working: asyncio.Task[None] | None = None
        # Settled by the first connection, or by why there is none.
        self._opened: asyncio.Future[None] | None = None
        self._insists = False

    def _add_handler(self, event: str, handler: Handler) -> None:
        self._handling.add(event, handler)

    @property
    def position(self) -> str | None:
        """Where it is in the server's log: what to give as `last` to go on from here."""
        return self._cursor.last

    @property
    def rooms(self) -> Sequence[str]:
        """The rooms that it has entered by itself."""
        return tuple(self._rooms)

    def transport(self) -> str | None:
        """What it is connected by: `websocket`, `sse` or `poll`; None when by nothing now."""
        return self._connection.transport if self._connection is not None else None

    # ----------------------------------------------------------- connecting

    async def connect(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        transports: Iterable[str] | str | None = None,
        *,
        rooms: Iterable[str] = (),
        last: str | None = None,
        wait: bool = True,
        wait_timeout: float | None = None,
        retry: bool = False,
        socketio_path: str | None = None,
    ) -> None:
        """Connect, and stay connected until `disconnect`.

        Without `wait` it returns at once. `url` and the token in `auth` are by
        default RTPUSH_URL and RTPUSH_KEY of the environment, else this machine's
        port 5000. `rooms` to be in from the start; `last`, the position to read on
        from: by default where this client
        was before. With `retry` also the first attempt is made again and again.
        `socketio_path` is where the server is mounted, if the address does not
        say it. Raises ConnectError, and ValueError for what is no address or no token.
        """
        if self._running is not None:
            raise ConnectError("bad_request", "The client is connected; disconnect it first.")
        for room in rooms:
            self._rooms.setdefault(check_room(room))
        if last is not None:
            self._cursor = Cursor(last)
        self._insists = retry or not wait
        opened = self._begin(self._target(url, headers or {}, auth, transports, socketio_path))
        if not wait:
            return
        running = self._running
        try:
            async with asyncio.timeout(wait_timeout):
                await opened
        except BaseException as exc:
            await self._stop(running)
            if isinstance(exc, TimeoutError):
                raise ConnectError("unavailable", "There was no connection in time.") from None
            raise

    def _begin(self, target: Target) -> asyncio.Future[None]:
        listener = Listener(
            self._up, self._down, self._failed, self._outbox.blame_largest, self._take,
            self._inbox.ready,
        )  # fmt: skip
        self._connection = Connection(target, listener, self._cursor, self.sid)
        self._opened = asyncio.get_running_loop().create_future()
        # The last connection may have been on another event loop.
        self._answered = asyncio.Event()
        # Nobody need look at it: where nobody waits, `disconnect` and the log tell.
        self._opened.add_done_callback(lambda opened: opened.cancelled() or opened.exception())
        self._working = self._handling.begin()
        self._running = asyncio.create_task(self._run(self._connection, target.http))
        return self._opened

    def _target(
        self,
        url: str | None,
        headers: Mapping[str, str],
        auth: Auth | None,
        transports: Iterable[str] | str | None,
        path: str | None,
    ) -> Target:
        if isinstance(auth, Mapping) and "token" not in auth:
            raise ValueError('auth is a token, {"token": …}, or a function that gives one')
        base, query, key = address_of(url, self._mounted_at if path is None else path)
        kinds = transports_of(transports)
        return Target(
            http=self._given_http or new_session(self._ssl_verify),
            base=base,
            query=query,
            headers=headers,
            auth=key if auth is None else auth,
            transports=kinds,
            timeout=self._timeout,
            attempts=self._attempts,
            pauses=self._pauses,
            rooms=self._rooms,
        )

    async def _run(self, connection: Connection, http: aiohttp.ClientSession) -> None:
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
            if self._given_http is None:
                await http.close()

    def _end(self, error: ConnectError | None) -> None:
        """No more will come: tell all who wait for something."""
        if self.connected:
            self._down(Reason.CLIENT_DISCONNECT)
        self._connection = self._running = None
        reason = error or ConnectError(
            "unavailable", "The client has disconnected; whether this took effect is not known."
        )
        assert self._opened is not None
        if not self._opened.done():
            self._opened.set_exception(reason)
        self._outbox.give_up(reason)
        self._inbox.end(error or StopAsyncIteration())

    async def wait(self) -> None:
        """Until the client is disconnected, or may come back no more, and all is handled."""
        if self._running is not None:
            await asyncio.wait([self._running])
        await self._all_handled(None)

    async def disconnect(self) -> None:
        """End it. What was emitted gets a moment to be answered. Idempotent."""
        running = self._running
        try:
            # What is cancelled before it has begun cannot tidy up.
            await asyncio.sleep(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE):
                    await self._all_answered(running)
        finally:
            await self._stop(running)

    async def _stop(self, running: asyncio.Task[None] | None) -> None:
        if running is not None and running is self._running:
            # Once: a second time would interrupt the goodbye.
            if not running.cancelling():
                running.cancel()
            await asyncio.wait([running])
        if self._running is None:
            # The handler of `disconnect` is to have its say, too.
            await self._all_handled(_PATIENCE)

    async def _all_handled(self, patience: float | None) -> None:
        working = self._working
        if working is not None and working is not asyncio.current_task():
            await asyncio.wait([working], timeout=patience)

    async def _all_answered(self, running: asyncio.Task[None] | None) -> None:
        while self._running is running and len(self._outbox):
            await self._one_answered()
        if self.connected and self._connection is not None:
            await self._connection.all_said()

    async def _one_answered(self) -> None:
        self._answered.clear()
        await self._answered.wait()

    shutdown = disconnect

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exc: object) -> None:
        await self.disconnect()

    # -------------------------------------------------------------- sending

    async def emit(
        self,
        event: str,
        data: Any = None,
        callback: Callable[[Any], Any] | None = None,
        *,
        room: str | None = None,
        key: str | None = None,
        volatile: bool = False,
    ) -> None:
        """Send an event to the server's application, else to a room or everyone.

        It is said until it is answered, over any number of reconnects, and takes
        effect once; then `callback` is called with the answer. What is refused
        reaches the handler of `error`, or the log. Waits while 1,000 others wait
        to be answered. A `volatile` event is for those who are connected now, and
        gone when this client is not. Raises ConnectError before `connect`,
        RtpushError (`bad_event`, `bad_envelope`, `bad_room`, `too_slow`), and
        ValueError for a callback of a volatile event.
        """
        envelope = _envelope(event, data, room, key)
        if not volatile:
            await self._say(envelope, lambda error, answer: self._told(error, answer, callback))
        elif callback is not None:
            raise ValueError("a volatile event is not answered; leave out one of the two")
        elif self.connected and self._living().unsaid < _MOST_UNSAID:
            self._living().say(encode_envelope({**envelope, "volatile": True}))

    async def send(self, data: Any, callback: Callable[[Any], Any] | None = None) -> None:
        """`emit` with the event `message`."""
        await self.emit("message", data, callback)

    async def call(
        self,
        event: str,
        data: Any = None,
        timeout: float = 60,
        *,
        room: str | None = None,
        key: str | None = None,
    ) -> Any:
        """Emit, and return the answer: what the application's handler returned.

        For an event that is logged that is `{"id": position}`. Raises RtpushError
        when it is refused, TimeoutError when there is no answer in `timeout`
        seconds (it may take effect all the same), and as `emit`.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def take(error: RtpushError | None, data: Any) -> None:
            if answered.done():
                return
            if error is None:
                answered.set_result(data)
            else:
                answered.set_exception(error)

        async with asyncio.timeout(timeout):
            ack = await self._say(_envelope(event, data, room, key), take)
            try:
                return await answered
            finally:
                self._outbox.settle(ack, RtpushError("unavailable", "Nobody waits any more."))
                self._say_due()

    async def _say(self, envelope: dict[str, Any], done: Done) -> str:
        self._living()
        self._inbox.check()
        while self._outbox.full:
            await self._one_answered()
        self._living()
        ack = self._outbox.add(envelope, lambda error, data: self._settle(done, error, data))
        # An answer is waited for: reading may have to go on.
        self._inbox.look()
        self._say_due()
        return ack

    def _say_due(self) -> None:
        if self.connected:
            for text in self._outbox.due():
                self._living().say(text)

    def _settle(self, done: Done, error: RtpushError | None, data: Any) -> None:
        self._answered.set()
        done(error, data)

    def _told(
        self, error: RtpushError | None, data: Any, callback: Callable[[Any], Any] | None
    ) -> None:
        if error is not None:
            self._complain(error)
        elif callback is not None:
            self._handling.call(callback, data)

    def _complain(self, error: RtpushError) -> None:
        if not self._handling.put("error", error.as_data()):
            logger.warning("what was emitted was refused: %s", error)

    def _living(self) -> Connection:
        if self._connection is None:
            raise ConnectError("unavailable", "The client is not connected; call connect() first.")
        return self._connection

    # ---------------------------------------------------------------- rooms

    async def join(self, room: str, token: str | None = None) -> None:
        """Enter a room, and stay in it over every reconnect; its `active_tasks` follows.

        `token` is a right to this room alone. Raises RtpushError (`forbidden`,
        `too_many_rooms`, …).
        """
        self._rooms[check_room(room)] = token
        try:
            await self.call("join", {"room": room} | ({} if token is None else {"token": token}))
        except RtpushError:
            self._exit(room)
            raise

    async def leave(self, room: str) -> None:
        """Leave a room; nothing happens when it is not in it."""
        self._exit(room)
        await self.call("leave", {"room": room})

    def _exit(self, room: str) -> None:
        self._rooms.pop(room, None)
        self._cursor.leave(room)

    async def _rejoin(self, room: str, token: str) -> None:
        try:
            await self.join(room, token)
        except RtpushError as error:
            self._complain(error)

    # ------------------------------------------------------------ receiving

    def events(self, *patterns: str) -> Events:
        """Events from now on, to go through with `async for`; `task_*` is a pattern.

        All events without a pattern, the server's own (`active_tasks`, `resync`)
        included. While nobody takes them, the server waits; nothing is lost.
        """
        return self._inbox.events(patterns)

    def _take(self, envelope: dict[str, Any]) -> None:
        event, data = envelope.get("event"), envelope.get("data")
        if event is None:
            self._take_reply(envelope)
        elif isinstance(event, str) and event not in LOCAL:
            found = {name: envelope.get(name) for name in ("room", "id", "key")}
            self._inbox.offer(Event(event, data, **found))
            self._handling.put(event, data, ack=envelope.get("ack"))

    def _take_reply(self, reply: dict[str, Any]) -> None:
        error = RtpushError.of(reply["error"]) if reply.get("error") is not None else None
        # A server that stops has not taken it: it is said again to the next one.
        if error is None or error.code != "going_away":
            self._outbox.settle(reply.get("ack"), error, reply.get("data"))
            self._say_due()

    def _reply(self, envelope: dict[str, Any]) -> None:
        if self._connection is not None:
            self._connection.reply(encode_envelope(envelope))

    # ------------------------------------------------------- the connection

    def _up(self, sid: str) -> None:
        again, another = self.connected, self.sid not in (None, sid)
        self.sid, self.connected = sid, True
        self._outbox.renew()
        self._say_due()
        for room, token in self._rooms.items() if another else ():
            if token is not None:
                self.start_background_task(self._rejoin, room, token)
        if self._opened is not None and not self._opened.done():
            self._opened.set_result(None)
        if not again:
            self._handling.put("connect")

    def _down(self, reason: Reason) -> None:
        self.connected = False
        self._handling.put("disconnect", reason)

    def _failed(self, error: ConnectError) -> None:
        self._handling.put("connect_error", error.as_data())
        if not self._insists and self._opened is not None and not self._opened.done():
            self._opened.set_exception(error)


def _envelope(event: str, data: Any, room: str | None, key: str | None) -> dict[str, Any]:
    check_name("event", event, "bad_event")
    if room is not None:
        check_room(room)
    return {"event": event, "data": data, "room": room, "key": key}
