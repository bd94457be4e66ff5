"""The client for coroutines, with the methods of python-socketio's `AsyncClient`.

Rules that hold here:

- The client sends an event until the server answers, and it takes effect once,
  over any number of reconnects. While there is no connection it waits.
- The client handles every event of the log once and in order, also those that
  happened while the connection was lost.
- The client calls handlers one after the other, on the event loop. A plain function
  must not block; waiting for an answer in a handler is fine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, ClassVar, Final, Self

import aiohttp

from ..errors import ConnectError
from ..handlers.compat import SocketIOInterface
from ..handlers.options import forget_options
from ..handlers.registry import Handler
from ..payloads import JsonDefault
from ..protocol import check_name, check_room
from ..publisher.backoff import Backoff
from .endpoint import Auth, Endpoint, check_headers, new_http_session, resolve_address
from .fallback import select_transports
from .receive_queue import Event, Events
from .room_methods import RoomMethods
from .session import Session

__all__ = ["Auth", "Client", "Event", "Events"]

# Seconds that `disconnect` waits for answers, and then for handlers.
_DISCONNECT_TIMEOUT: Final = 5.0


class Client(RoomMethods, SocketIOInterface):
    """One lasting connection to a server. Use it on one event loop.

    Its handlers: `connect()`; `disconnect(reason)`; `connect_error(error)`, with
    `{"code", "message"}`; any other event `(data)`, and what it returns is the
    answer where the server asks for one; `*`, for events without a handler of
    their own, `(event, data)`. `error(error)` is also called for an event of this
    client that the server refused, when no caller waits for the answer.
    """

    # Where a server is mounted when its address has no path.
    _default_path: ClassVar = ""

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
        json_default: JsonDefault | None = None,
        **options: Any,
    ) -> None:
        """Nothing is connected yet.

        Args:
            reconnection: Whether to reconnect when the connection is lost.
            reconnection_attempts: Failed attempts in a row after which the client
                gives up; 0: never.
            reconnection_delay: Seconds before the first attempt, doubled each time.
            reconnection_delay_max: The longest of these delays, in seconds.
            randomization_factor: The share of a delay that chance adds or takes away.
            request_timeout: Seconds for one attempt.
            http_session: A session of yours, for a proxy or certificates; the client
                does not close it. None makes one for each connection.
            ssl_verify: Whether to check the server's certificate.
            json_default: Turns a value that JSON does not know into one that it knows; raises
                TypeError for others.
            **options: Other options of python-socketio's client, which have no effect.

        Raises:
            TypeError: An option that python-socketio does not have either.
        """
        super().__init__()
        forget_options(options)
        self._attempts = (reconnection_attempts or None) if reconnection else 0
        self._backoff = Backoff(reconnection_delay, reconnection_delay_max, randomization_factor)
        self._timeout = request_timeout
        self._http_session, self._ssl_verify = http_session, ssl_verify
        self._session = Session(json_default)

    def _add_handler(self, event: str, handler: Handler) -> None:
        self._session.dispatcher.add(event, handler)

    @property
    def connected(self) -> bool:
        """Whether the client is connected now."""
        return self._session.sender.connected

    @property
    def sid(self) -> str | None:
        """The session's secret; None before the first connection."""
        return self._session.sid

    @property
    def position(self) -> str | None:
        """The position in the server's log to resume from, as `connect(last=…)` takes it."""
        return self._session.cursor.last

    @property
    def rooms(self) -> Sequence[str]:
        """The rooms that the client has joined."""
        return tuple(self._session.rooms)

    def transport(self) -> str | None:
        """The transport that the client is connected by.

        Returns:
            `websocket`, `sse` or `poll`; None when not connected.
        """
        connection = self._session.sender.connection
        return None if connection is None else connection.transport

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

        Args:
            url: The server's address, `http` or `ws`; None takes RTPUSH_URL of the
                environment, else port 5000 of this machine.
            headers: Sent with each request.
            auth: A token; a mapping, all of which the server's `connect` handler gets, with
                the token as `token`; or a function, plain or not, that returns either and
                is called before each attempt. None takes RTPUSH_KEY, if it is set.
            transports: Those that may be used; None: all.
            rooms: Rooms to be in from the start.
            last: The position to resume from; None: where this client was before.
            wait: Whether to wait until it is connected.
            wait_timeout: Seconds to wait; None: without an end.
            retry: Whether to repeat also the first attempt when it fails.
            socketio_path: Where the server is mounted, if `url` has no path.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
            ValueError: `url` is not an address, or a header or token holds a newline.
        """
        if self._session.task is not None:
            raise ConnectError("bad_request", "The client is connected; disconnect it first.")
        self._session.place(rooms, last)
        path = self._default_path if socketio_path is None else socketio_path
        endpoint = self._endpoint(url, headers or {}, auth, transports, path)
        opened = self._session.start(endpoint, retry=retry or not wait)
        if wait:
            await self._wait_opened(opened, wait_timeout)

    def _endpoint(
        self,
        url: str | None,
        headers: Mapping[str, str],
        auth: Auth | None,
        transports: Iterable[str] | str | None,
        path: str,
    ) -> Endpoint:
        base, query, key = resolve_address(url, path)
        names = select_transports(transports)
        check_headers(headers, auth)
        return Endpoint(
            http=self._http_session or new_http_session(base, self._ssl_verify),
            owns_http=self._http_session is None,
            base=base,
            query=query,
            headers=headers,
            auth=key if auth is None else auth,
            transports=names,
            timeout=self._timeout,
            attempts=self._attempts,
            backoff=self._backoff,
            rooms=self._session.rooms,
        )

    async def _wait_opened(self, opened: asyncio.Future[None], timeout: float | None) -> None:
        task = self._session.task
        try:
            async with asyncio.timeout(timeout):
                await opened
        except BaseException as exc:
            await self._session.stop(task, _DISCONNECT_TIMEOUT)
            if isinstance(exc, TimeoutError):
                raise ConnectError("unavailable", "There was no connection in time.") from None
            raise

    async def wait(self) -> None:
        """Wait until the client is disconnected for good, and all handlers have run."""
        if self._session.task is not None:
            await asyncio.wait([self._session.task])
        await self._session.dispatcher.wait_done(None)

    async def disconnect(self) -> None:
        """Disconnect, and wait up to 5 seconds for the answers to sent events. Idempotent."""
        task = self._session.task
        try:
            # A task that is cancelled before it has begun cannot clean up.
            await asyncio.sleep(0)
            with suppress(TimeoutError):
                async with asyncio.timeout(_DISCONNECT_TIMEOUT):
                    await self._session.sender.drain()
        finally:
            await self._session.stop(task, _DISCONNECT_TIMEOUT)

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
        retain: bool = False,
    ) -> None:
        """Send an event: to the server's handler, else to a room or everybody.

        The client sends it until the server answers, over any number of reconnects,
        and it takes effect once. While 1,000 events wait for an answer, this waits.

        Args:
            event: Its name.
            data: Any JSON.
            callback: Called with the answer. A refusal reaches the handler of `error`,
                or the log, instead.
            room: The room whose members get it; None: everybody.
            key: For a reader that is behind, a later event with this key replaces it.
            volatile: Send it only to those who are connected now; drop it when this
                client is not.
            retain: Keep it for those who come later, until another with the same room,
                name and key takes its place; None as its data removes it.

        Raises:
            ConnectError: Before `connect`, and after `disconnect`.
            RtpushError: `bad_event`, `bad_envelope`, `bad_room`, `too_slow`.
            ValueError: `callback` together with `volatile`, which has no answer.
        """
        envelope = _envelope(event, data, room, key, retain)
        if not volatile:
            done = partial(self._session.finish, callback=callback)
            await self._session.sender.send(envelope, done)
        elif callback is not None:
            raise ValueError("a volatile event is not answered; leave out one of the two")
        else:
            self._session.sender.send_volatile(envelope)

    async def send(self, data: Any, callback: Callable[[Any], Any] | None = None) -> None:
        """`emit` with the event `message`.

        Args:
            data: Any JSON.
            callback: As for `emit`.

        Raises:
            ConnectError: As `emit`.
            RtpushError: As `emit`.
        """
        await self.emit("message", data, callback)

    async def call(
        self,
        event: str,
        data: Any = None,
        timeout: float = 60,
        *,
        room: str | None = None,
        key: str | None = None,
        retain: bool = False,
    ) -> Any:
        """Send an event as `emit` does, and wait for the answer.

        Args:
            event: Its name.
            data: Any JSON.
            timeout: Seconds to wait for the answer.
            room: As for `emit`.
            key: As for `emit`.
            retain: As for `emit`.

        Returns:
            What the server's handler returned; for an event that was logged,
            `{"id": position}`.

        Raises:
            RtpushError: The server refuses the event; and as `emit`.
            TimeoutError: There was no answer in time. The event may still take effect.
        """
        return await self._session.sender.call(_envelope(event, data, room, key, retain), timeout)

    # ------------------------------------------------------------- receiving

    def events(self, *patterns: str) -> Events:
        """The events from now on.

        While no loop takes them, the client stops reading; nothing is lost.

        Args:
            *patterns: Names, as in a shell: `task_*`. Without any: all events, also the
                server's own (`active_tasks`, `state`, `resync`).

        Returns:
            An iterator for `async for`. It ends with `disconnect`, and raises
            ConnectError when the client cannot reconnect.
        """
        return self._session.queues.new_events(patterns)


def _envelope(
    event: str, data: Any, room: str | None, key: str | None, retain: bool
) -> dict[str, Any]:
    check_name("event", event, "bad_event")
    if room is not None:
        check_room(room)
    envelope = {"event": event, "data": data, "room": room, "key": key}
    return envelope | {"retain": True} if retain else envelope
