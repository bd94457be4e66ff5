"""A transport in memory, whose far end is ASGI's `receive` and `send`.

Rules that hold here:

- What is above it does not know: aiohttp and the connections take it for a socket's.
- The ASGI server's own task sends, and a second one receives.
- Written bytes count until the ASGI server has taken them, so a slow client is seen as on a
  socket: by `pause_writing`.
- The coroutine that serves the client ends with the transport, and the transport with it.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections import deque
from typing import Any, Final, Generic, TypeVar

from ..asgi_types import Event, Receive, Scope, Send

__all__ = ["AsgiTransport"]

logger = logging.getLogger("rtpush.asgi")

# As asyncio's own transports.
_HIGH_WATER: Final = 64 << 10

# What a write becomes on its way.
T = TypeVar("T")


class AsgiTransport(asyncio.Transport, ABC, Generic[T]):
    """One request or WebSocket of an ASGI server as an `asyncio.Transport`."""

    __slots__ = (
        "_check_due",
        "_closing",
        "_high",
        "_interrupted",
        "_lost",
        "_low",
        "_protocol",
        "_queue",
        "_readable",
        "_scope",
        "_send",
        "_task",
        "_unsent",
        "_wake",
        "_writing_paused",
    )

    def __init__(self, scope: Scope, send: Send) -> None:
        super().__init__()
        self._scope = scope
        self._send = send
        self._protocol: asyncio.Protocol = asyncio.Protocol()
        # Set while reading is paused.
        self._readable: asyncio.Future[None] | None = None
        # Writes on their way, each with its bytes.
        self._queue: deque[tuple[T, int]] = deque()
        # The task that sends, and what it waits for while there is nothing to send.
        self._task: asyncio.Task[Any] | None = None
        self._wake: asyncio.Future[None] | None = None
        # Has a send that takes for ever been cancelled?
        self._interrupted = False
        # Bytes written that the ASGI server has not taken.
        self._unsent = 0
        self._high, self._low = _HIGH_WATER, _HIGH_WATER // 4
        self._writing_paused = False
        # Is the next turn of the loop to see whether there are too many?
        self._check_due = False
        # Nothing more is taken to write.
        self._closing = False
        self._lost = False

    # ------------------------------------------------------- the far end

    async def serve(self, protocol: asyncio.Protocol, head: bytes, receive: Receive) -> None:
        """Be the connection of one client, until it ends on either side."""
        self._protocol = protocol
        protocol.connection_made(self)
        protocol.data_received(head)
        receiver = asyncio.get_running_loop().create_task(self._receive(receive))
        task = self._task = asyncio.current_task()
        try:
            await self._send_queue()
        except asyncio.CancelledError:
            # Otherwise the ASGI server has cancelled the task, if only as well.
            if not self._interrupted or task is None or task.uncancel():
                raise
        finally:
            self._task = None
            self._lose(None)
            receiver.cancel()
            await asyncio.wait([receiver])

    async def _receive(self, receive: Receive) -> None:
        try:
            while True:
                event = await receive()
                while self._readable is not None and not self._closing:
                    await self._readable
                if not self._take(event):
                    break
        except Exception as exc:
            self._fail(exc)
        self._lose(None)

    @abstractmethod
    def _take(self, event: Event) -> bool:
        """Hand an event to the protocol; is there more to come?"""

    async def _send_queue(self) -> None:
        """Send what is written, until the connection is over."""
        loop = asyncio.get_running_loop()
        while not self._lost:
            while self._queue:
                item, size = self._queue.popleft()
                try:
                    await self._send_item(item)
                except Exception as exc:
                    self._fail(exc)
                self._taken(size)
            if self._closing:
                break
            self._wake = loop.create_future()
            await self._wake
        if not self._lost:
            await self._finish()

    def _taken(self, size: int) -> None:
        """The ASGI server has taken so many bytes."""
        self._unsent -= size
        if self._writing_paused and self._unsent <= self._low and not self._lost:
            self._writing_paused = False
            self._protocol.resume_writing()

    async def _finish(self) -> None:
        try:
            await self._send_end()
        except Exception as exc:
            self._fail(exc)
        self._lose(None)

    def _fail(self, exc: Exception) -> None:
        # OSError is what ASGI servers raise for a client that is gone.
        if not isinstance(exc, OSError):
            logger.error("a connection failed; it is closed", exc_info=exc)
        self._lose(exc)

    @abstractmethod
    async def _send_item(self, item: T) -> None:
        """Send what one write became."""

    @abstractmethod
    async def _send_end(self) -> None:
        """Say that there is no more."""

    @abstractmethod
    def _translate(self, data: bytes) -> T:
        """What becomes of a write."""

    def _lose(self, exc: Exception | None) -> None:
        """The connection is over. Idempotent."""
        if self._lost:
            return
        self._lost = self._closing = True
        self._queue.clear()
        if not self._wake_up() and self._task not in (None, asyncio.current_task()):
            self._interrupted = True
            self._task.cancel()
        if self._readable is not None:
            self.resume_reading()
        self._protocol.connection_lost(exc)

    # --------------------------------------------------- asyncio.Transport

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """See asyncio.WriteTransport."""
        if self._closing:
            return
        if not isinstance(data, bytes):
            data = bytes(data)
        self._queue.append((self._translate(data), len(data)))
        self._unsent += len(data)
        self._wake_up()
        if self._unsent > self._high and not self._check_due:
            # Behind the sender's turn: what the ASGI server takes at once makes nobody slow.
            self._check_due = True
            asyncio.get_running_loop().call_soon(self._check_full)

    def _check_full(self) -> None:
        self._check_due = False
        if self._unsent > self._high and not self._writing_paused and not self._lost:
            self._writing_paused = True
            self._protocol.pause_writing()

    def _wake_up(self) -> bool:
        """Have the task go on to send; False when it does not wait for that."""
        wake, self._wake = self._wake, None
        if wake is None:
            return False
        # One that was cancelled has cancelled what it waits for.
        if not wake.done():
            wake.set_result(None)
        return True

    def close(self) -> None:
        """See asyncio.BaseTransport."""
        if not self._closing:
            self._closing = True
            self._wake_up()

    def abort(self) -> None:
        """See asyncio.WriteTransport."""
        self._closing = True
        asyncio.get_running_loop().call_soon(self._lose, None)

    def is_closing(self) -> bool:
        """See asyncio.BaseTransport."""
        return self._closing

    def pause_reading(self) -> None:
        """See asyncio.ReadTransport."""
        if self._readable is None and not self._closing:
            self._readable = asyncio.get_running_loop().create_future()

    def resume_reading(self) -> None:
        """See asyncio.ReadTransport."""
        readable, self._readable = self._readable, None
        if readable is not None and not readable.done():
            readable.set_result(None)

    def is_reading(self) -> bool:
        """See asyncio.ReadTransport."""
        return self._readable is None and not self._closing

    def can_write_eof(self) -> bool:
        """See asyncio.WriteTransport."""
        return False

    def get_protocol(self) -> asyncio.BaseProtocol:
        """See asyncio.BaseTransport."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """See asyncio.BaseTransport."""
        assert isinstance(protocol, asyncio.Protocol)
        self._protocol = protocol

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """See asyncio.WriteTransport."""
        self._high = _HIGH_WATER if high is None else high
        self._low = self._high // 4 if low is None else low

    def get_write_buffer_size(self) -> int:
        """See asyncio.WriteTransport."""
        return self._unsent

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """See asyncio.BaseTransport. `asgi.scope` is the scope."""
        if name == "peername":
            return self._scope.get("client") or default
        if name == "sslcontext" and self._scope.get("scheme") in ("https", "wss"):
            # aiohttp asks whether there is one.
            return True
        return self._scope if name == "asgi.scope" else default

    @property
    def _sendfile_compatible(self) -> bool:
        """asyncio asks before `loop.sendfile`; aiohttp then reads the file itself."""
        raise NotImplementedError
