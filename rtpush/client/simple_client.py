"""The client for programs without coroutines, as python-socketio's `SimpleClient`.

Rules that hold here:

- It is a `Client` on an event loop in a thread of its own; every call waits for the
  result of a coroutine there.
- A call that waits when the loop ends raises ConnectError. A call that is
  interrupted is cancelled on the loop: it must not take an event that the caller
  would never get.
- Events wait until the caller receives them. While many wait, the client stops
  reading, and the server keeps a position for it.
- A program that ends without `disconnect` disconnects at its exit: what was emitted is
  sent, for as long as `disconnect` waits.
- The child of a fork has no such thread. Its calls raise ConnectError, and leave the
  parent's loop alone.
"""

from __future__ import annotations

import asyncio
import atexit
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any, ClassVar, Final, Self

from ..errors import ConnectError
from .async_client import Auth, Client, Event, Events
from .dispatch import arguments_of
from .loop_thread import LoopThread
from .receive_queue import matches
from .simple_rooms import SimpleRoomMethods

__all__ = ["SimpleClient", "listed"]

# Events of the server itself: `receive` passes over them.
_SERVER_EVENTS: Final = frozenset({"active_tasks", "state", "resync"})


class SimpleClient(SimpleRoomMethods):
    """One lasting connection to a server, used from any thread."""

    _client_class: ClassVar[type[Client]] = Client

    def __init__(self, **options: Any) -> None:
        """Nothing is connected yet.

        Args:
            **options: As for `Client`.

        Raises:
            TypeError: An option that `Client` does not have.
        """
        self._client = self._client_class(**options)
        self._thread = LoopThread("rtpush-client")
        # None before the first connection.
        self._received: Events | None = None

    @property
    def sid(self) -> str | None:
        """The session's secret; None before the first connection."""
        return self._client.sid

    @property
    def transport(self) -> str | None:
        """The transport: `websocket`, `sse` or `poll`; None when not connected."""
        return self._client.transport()

    @property
    def connected(self) -> bool:
        """Whether the client is connected now."""
        return self._client.connected

    @property
    def position(self) -> str | None:
        """The position in the server's log to resume from, as `connect(last=…)` takes it."""
        return self._client.position

    # ----------------------------------------------------------- connecting

    def connect(
        self,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        auth: Auth | None = None,
        transports: Iterable[str] | str | None = None,
        *,
        rooms: Iterable[str] = (),
        last: str | None = None,
        wait_timeout: float | None = None,
        retry: bool = False,
        socketio_path: str | None = None,
    ) -> None:
        """Connect, and stay connected until `disconnect`, or the end of the program.

        Args:
            url: The server's address, `http` or `ws`; None takes RTPUSH_URL of the
                environment, else port 5000 of this machine.
            headers: Sent with each request.
            auth: As of `Client.connect`; a function that returns it is called
                before each attempt. None takes RTPUSH_KEY, if it is set.
            transports: Those that may be used; None: all.
            rooms: Rooms to be in from the start.
            last: The position to resume from; None: where this client was before.
            wait_timeout: Seconds to wait; None: without an end.
            retry: Whether to repeat also the first attempt when it fails.
            socketio_path: Where the server is mounted, if `url` has no path.

        Raises:
            ConnectError: The server cannot be reached, or refuses.
            ValueError: `url` is not an address.
        """
        self._thread.start()
        atexit.register(self.disconnect)
        opening = self._client.connect(
            url,
            headers,
            auth,
            transports,
            rooms=rooms,
            last=last,
            wait_timeout=wait_timeout,
            retry=retry,
            socketio_path=socketio_path,
        )
        try:
            self._received = self._thread.run(self._open(opening))
        except BaseException:
            self.disconnect()
            raise

    async def _open(self, opening: Coroutine[Any, Any, None]) -> Events:
        # Before it connects, so that no event comes too early.
        received = self._client.events()
        await opening
        return received

    def disconnect(self) -> None:
        """Disconnect, and wait up to 5 seconds for the answers to sent events. Idempotent."""
        try:
            with suppress(ConnectError):
                self._thread.run(self._client.disconnect())
        finally:
            atexit.unregister(self.disconnect)
            self._thread.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.disconnect()

    # ---------------------------------------------------- sending, receiving

    def emit(
        self,
        event: str,
        data: Any = None,
        *,
        room: str | None = None,
        key: str | None = None,
        volatile: bool = False,
        retain: bool = False,
    ) -> None:
        """Send an event: to the server's handler, else to a room or everybody.

        Args:
            event: Its name.
            data: Any JSON.
            room: The room whose members get it; None: everybody.
            key: For a reader that is behind, a later event with this key replaces it.
            volatile: Send it only to those who are connected now; drop it when this
                client is not.
            retain: Keep it for those who come later, until another with the same room,
                name and key takes its place; None as its data removes it.

        Raises:
            ConnectError: The client is not connected.
            RtpushError: `bad_event`, `bad_envelope`, `bad_room`, `too_slow`.
        """
        self._thread.run(
            self._client.emit(event, data, room=room, key=key, volatile=volatile, retain=retain)
        )

    def send(self, data: Any) -> None:
        """`emit` with the event `message`.

        Args:
            data: Any JSON.

        Raises:
            ConnectError: As `emit`.
            RtpushError: As `emit`.
        """
        self.emit("message", data)

    def call(
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
        asking = self._client.call(event, data, timeout, room=room, key=key, retain=retain)
        return self._thread.run(asking)

    def receive(self, timeout: float | None = None) -> list[Any]:
        """Wait for the next event, except the server's own (`active_tasks`, `state`, …).

        Args:
            timeout: Seconds to wait; None: without an end. 0 takes one that has arrived.

        Returns:
            `[name, data]`, `[name]` when there is no data, `[name, a, b]` of several arguments.

        Raises:
            TimeoutError: No event came in time.
            ConnectError: The client is disconnected.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                event = self._next(None if deadline is None else deadline - time.monotonic())
            except StopAsyncIteration:
                raise ConnectError("unavailable", "The client is disconnected.") from None
            if (found := listed(event)) is not None:
                return found

    def events(self, *patterns: str) -> Iterator[Event]:
        """Go through events as they come. It takes them as `receive` does.

        Args:
            *patterns: Names, as in a shell: `task_*`. Other events are dropped. Without
                any: all events, also the server's own.

        Returns:
            An iterator that ends with `disconnect`.

        Raises:
            ConnectError: The client cannot reconnect.
        """
        while True:
            try:
                event = self._next(None)
            except StopAsyncIteration:
                return
            if matches(event.event, patterns):
                yield event

    def _next(self, timeout: float | None) -> Event:
        """Raises TimeoutError, ConnectError, and StopAsyncIteration after `disconnect`."""
        received = self._received
        if received is None or not self._thread.started:
            raise StopAsyncIteration
        try:
            return self._thread.run(_get(received, timeout))
        except ConnectError:
            if not self._thread.started:
                raise StopAsyncIteration from None
            raise


def listed(event: Event) -> list[Any] | None:
    """An event as `receive` returns it; None for one of the server itself."""
    if event.event in _SERVER_EVENTS or (event.event == "error" and event.id is None):
        return None
    return [event.event] if event.data is None else [event.event, *arguments_of(event.data)]


async def _get(received: Events, timeout: float | None) -> Event:
    # An event that has arrived is returned also when no time is left.
    async with asyncio.timeout(timeout):
        return await received.get()
