"""A client for programs without coroutines, with the habits of python-socketio's `SimpleClient`.

Rules that hold here:

- It is a `Client` on an event loop in a thread of its own; every call waits for
  what the loop answers.
- Whoever waits is told when the loop ends, and a call that is interrupted is
  taken back: it must not take an event that nobody would get.
- Events wait until they are received. While many do, the server waits, too.
- The child of a fork has no such thread, and leaves the loop, which is its
  parent's, alone.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import Any, ClassVar, Final, Self, TypeVar

from ..errors import ConnectError
from .async_client import Auth, Client, Event, Events
from .receive_queue import matches

__all__ = ["SimpleClient"]

T = TypeVar("T")

# What the server says of itself: `receive` is for what others say.
_OF_THE_SERVER: Final = frozenset({"active_tasks", "resync", "error"})


class SimpleClient:
    """One lasting connection, used from any thread. Options as in `Client`."""

    _kind: ClassVar[type[Client]] = Client

    def __init__(self, **options: Any) -> None:
        """Raises TypeError for an option that `Client` does not have."""
        self._client = self._kind(**options)
        # Held while something is given to the loop: nothing comes after its end.
        self._giving = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._received: Events | None = None

    @property
    def sid(self) -> str | None:
        """The session's secret."""
        return self._client.sid

    @property
    def transport(self) -> str | None:
        """`websocket`, `sse` or `poll`; None without a connection."""
        return self._client.transport()

    @property
    def connected(self) -> bool:
        """Does the connection stand now?"""
        return self._client.connected

    @property
    def position(self) -> str | None:
        """See `Client.position`."""
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
        """See `Client.connect`."""
        self._start()
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
            self._received = self._do(self._begin(opening))
        except BaseException:
            self.disconnect()
            raise

    def _start(self) -> None:
        with self._giving:
            if self._thread is not None:
                raise ConnectError("bad_request", "The client is connected; disconnect it first.")
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_live, args=[self._loop], name="rtpush-client", daemon=True
            )
            self._thread.start()

    async def _begin(self, opening: Coroutine[Any, Any, None]) -> Events:
        # Before the connection stands, so that nothing comes too early.
        received = self._client.events()
        await opening
        return received

    def disconnect(self) -> None:
        """End it. What was emitted gets a moment to be answered. Idempotent."""
        try:
            with suppress(ConnectError):
                self._do(self._client.disconnect())
        finally:
            self._stop()

    def _stop(self) -> None:
        with self._giving:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
            if loop is None or thread is None or not thread.is_alive():
                return
            loop.call_soon_threadsafe(loop.stop)
        thread.join()

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
    ) -> None:
        """See `Client.emit`."""
        self._do(self._client.emit(event, data, room=room, key=key, volatile=volatile))

    def send(self, data: Any) -> None:
        """`emit` with the event `message`."""
        self.emit("message", data)

    def call(
        self,
        event: str,
        data: Any = None,
        timeout: float = 60,
        *,
        room: str | None = None,
        key: str | None = None,
    ) -> Any:
        """See `Client.call`."""
        return self._do(self._client.call(event, data, timeout, room=room, key=key))

    def join(self, room: str, token: str | None = None) -> None:
        """See `Client.join`."""
        self._do(self._client.join(room, token))

    def leave(self, room: str) -> None:
        """See `Client.leave`."""
        self._do(self._client.leave(room))

    def receive(self, timeout: float | None = None) -> list[Any]:
        """Wait for the next event: `[name, data]`, or `[name]` without data.

        What the server says of itself (`active_tasks`, `resync`, `error`) is passed
        over: `events` has it. Raises TimeoutError after so many seconds, and
        ConnectError when the client is disconnected.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                event = self._next(None if deadline is None else deadline - time.monotonic())
            except StopAsyncIteration:
                raise ConnectError("unavailable", "The client is disconnected.") from None
            if event.event not in _OF_THE_SERVER:
                return [event.event] if event.data is None else [event.event, event.data]

    def events(self, *patterns: str) -> Iterator[Event]:
        """Go through events as they come, of all names or of those like `task_*`.

        It takes them as `receive` does; others are passed over. It ends with
        `disconnect`, and raises ConnectError when the server lets the client come
        back no more.
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
        if received is None or self._thread is None:
            raise StopAsyncIteration
        try:
            return self._do(_within(timeout, received))
        except ConnectError:
            if self._thread is None:
                raise StopAsyncIteration from None
            raise

    def _do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        with self._giving:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                coroutine.close()
                raise ConnectError(
                    "unavailable", "The client is not connected in this process; call connect()."
                )
            answer = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        try:
            return answer.result()
        except CancelledError:
            raise ConnectError("unavailable", "The client is disconnected.") from None
        finally:
            # Nothing is left to cancel but after an interrupt.
            answer.cancel()


def _live(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, and then end what still runs on it."""
    try:
        loop.run_forever()
        loop.run_until_complete(_end_all())
    finally:
        loop.close()


async def _end_all() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left)
    # A task that is done tells whoever waits for it in a turn of its own, also one
    # that was done in the very turn that stopped the loop.
    await asyncio.sleep(0)


async def _within(timeout: float | None, received: Events) -> Event:
    # What is there is there, even when no time is left.
    async with asyncio.timeout(timeout):
        return await received.get()
