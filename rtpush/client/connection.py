"""A connection to the server that reconnects by itself, over any transport.

Rules that hold here:

- There is at most one active transport. From SSE or long-poll the client upgrades
  to WebSocket in the background: it closes the transport that works only when the
  WebSocket has connected, and the cursor drops what both delivered.
- Close codes 4000 to 4499 end the connection for good, except for a token that has
  expired where the application can give another. After any other close the client
  reconnects.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from asyncio import create_task
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import orjson

from ..errors import ConnectError, Reason
from .connector import Connector
from .cursor import Cursor
from .endpoint import Endpoint
from .fallback import TRANSPORTS
from .heartbeat import Heartbeat
from .send_queue import SendQueue
from .transports import Received, Transport, TransportClosed

__all__ = ["Connection", "Listener"]

logger = logging.getLogger("rtpush.client")

# Seconds before the client tries to upgrade to WebSocket; doubled each time.
_UPGRADE_DELAY: Final = 5.0
_UPGRADE_DELAY_MAX: Final = 600.0
# Seconds for the reason of a close to arrive when a send has failed.
_CLOSE_REASON_TIMEOUT: Final = 0.2
# Answers to the server that wait for a transport; of more, the oldest go.
_MAX_REPLIES: Final = 1000
# Refused tokens in a row after which the client gives up, though it could renew them.
_MAX_REFUSED_TOKENS: Final = 2


@dataclass(frozen=True, slots=True)
class Listener:
    """What a connection tells its owner."""

    # The sid: connected for the first time, again, or over another transport.
    connected: Callable[[str], None]
    disconnected: Callable[[Reason], None]
    # An attempt to connect has failed.
    error: Callable[[ConnectError], None]
    # The server closed the connection because of a message's size.
    too_large: Callable[[], None]
    # An envelope has arrived: each logged event once, in order.
    envelope: Callable[[dict[str, Any]], None]
    # The user as whom it connects next: whether that is another one than before.
    identified: Callable[[str], bool]
    # Waits until the owner can take more envelopes.
    wait_ready: Callable[[], Awaitable[None]]


class Connection:
    """`run` it in a task; `send` may be called while it is connected."""

    def __init__(
        self, endpoint: Endpoint, listener: Listener, cursor: Cursor, sid: str | None
    ) -> None:
        """`sid` is the secret of a session to resume; None for a new one."""
        # The name of the active transport; None while there is none.
        self.transport: str | None = None
        self.heartbeat = Heartbeat()
        self._endpoint = endpoint
        self._listener = listener
        self._cursor = cursor
        self._sid = sid
        self._connector = Connector(
            endpoint,
            self._resume,
            lambda: self.heartbeat.max_idle,
            self._opened,
            self._identified,
        )
        # For the active transport; what is left in it goes when the transport closes.
        self._send_queue = SendQueue()
        # The same, of what the server answers when it likes.
        self._waiting_queue = SendQueue()
        # Answers to the server; what is left goes over the next transport.
        self._replies = SendQueue(_MAX_REPLIES)
        self._refused_tokens = 0
        # Cleared while an upgrade takes place: no read may begin.
        self._may_read = asyncio.Event()
        self._may_read.set()
        self._ping = orjson.dumps({"event": "ping", "data": secrets.token_hex(4)})

    def send(self, envelope: bytes, *, waits: bool = False) -> None:
        """Send an envelope over the active transport. `waits`: its answer may take its time."""
        (self._waiting_queue if waits else self._send_queue).put(envelope)

    def reply(self, envelope: bytes) -> None:
        """Answer the server, over this transport or the next."""
        self._replies.put(envelope)

    @property
    def unsent(self) -> int:
        """Envelopes that have not left yet."""
        return len(self._send_queue)

    async def drain(self) -> None:
        """Wait until every envelope has left."""
        await self._send_queue.drain()
        await self._replies.drain()

    # ------------------------------------------------------------ reconnecting

    async def run(self) -> ConnectError:
        """Connect, and reconnect, until there is no point in it; returns why."""
        attempt = 0
        while True:
            # Events arrive with `connect`, so there must be room for them.
            await self._listener.wait_ready()
            try:
                transport = await self._connector.connect()
                attempt = 0
                while True:
                    transport = await self._run_transport(transport)
            except TransportClosed as closed:
                error = self._report(closed)
                if self._must_stop(closed, attempt):
                    return error
                await asyncio.sleep(
                    self._endpoint.backoff.delay(attempt)
                    + random.random() * (closed.retry_after or 0)
                )
            attempt += 1

    def _report(self, closed: TransportClosed) -> ConnectError:
        """Tell the owner that an attempt, or the connection, has ended."""
        error = ConnectError(_error_code_of(closed), closed.message, closed.retry_after)
        if self.transport is None:
            self._refused_tokens += closed.code == 4401
            self._listener.error(error)
        else:
            self.transport = None
            if closed.code == 1009:
                self._drop_too_large()
            if closed.code == 1006 and closed.message != Reason.PING_TIMEOUT:
                self.heartbeat.learn()
            self._listener.disconnected(_reason_of(closed))
        return error

    def _drop_too_large(self) -> None:
        if len(self._replies):
            # Replies leave at once, so it was one of them. It would end the next connection, too.
            logger.warning("an answer to the server was too large; it is given up")
            self._replies.remove(len(self._replies))
        else:
            self._listener.too_large()

    def _must_stop(self, closed: TransportClosed, attempt: int) -> bool:
        endpoint = self._endpoint
        if endpoint.attempts is not None and attempt >= endpoint.attempts:
            return True
        if closed.code == 4401 and endpoint.can_renew_token:
            return self._refused_tokens >= _MAX_REFUSED_TOKENS
        return closed.is_final

    def _resume(self) -> dict[str, str]:
        if self._cursor.last is None:
            return {}
        return {"last": self._cursor.last} | ({} if self._sid is None else {"sid": self._sid})

    def _identified(self, identity: str) -> None:
        if self._listener.identified(identity):
            self._sid = None
            self._replies.remove(len(self._replies))

    def _opened(self, name: str, transport: Transport, first: Received) -> None:
        self._send_queue, self._waiting_queue = SendQueue(), SendQueue()
        self.transport = name
        self._receive(transport, first)

    # --------------------------------------------------------------- connected

    async def _run_transport(self, transport: Transport) -> Transport:
        """Use a transport until there is a better one: that one. Raises TransportClosed."""
        read, upgrade = create_task(self._read(transport)), create_task(self._upgrade())
        ping = (lambda: self.send(self._ping)) if transport.needs_ping else None
        others = [
            create_task(self._send(transport, self._send_queue)),
            # Over HTTP the answer is that of a POST, which what is sent later must not wait for.
            create_task(self._send(transport, self._waiting_queue)),
            create_task(self._send_replies(transport)),
            create_task(self.heartbeat.watch(ping)),
        ]
        tasks: list[asyncio.Task[Any]] = [read, *others, upgrade]
        close = transport.close
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # When an upgrade takes place, the server closes this transport: the upgrade decides.
            tasks.append(create_task(self._may_read.wait()))
            await asyncio.wait([upgrade, tasks[-1]], return_when=asyncio.FIRST_COMPLETED)
            if upgrade.done():
                return upgrade.result()
            # The reader knows best why the transport has closed.
            await asyncio.wait([read], timeout=_CLOSE_REASON_TIMEOUT)
            for task in (read, *others):
                if task.done():
                    task.result()
            raise AssertionError("a transport was left without a reason")
        except asyncio.CancelledError:
            # The application disconnects.
            close = transport.leave
            raise
        finally:
            await self._end(close, read, tasks)

    async def _end(
        self,
        close: Callable[[], Awaitable[None]],
        read: asyncio.Task[None],
        tasks: list[asyncio.Task[Any]],
    ) -> None:
        for task in tasks:
            if task is not read:
                task.cancel()
        # Before the reader is cancelled: a cancelled read leaves no time for a close frame.
        await close()
        read.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._may_read.set()

    async def _read(self, transport: Transport) -> None:
        while True:
            self.heartbeat.pause()
            await self._listener.wait_ready()
            self.heartbeat.resume()
            # A read that began during an upgrade would take the session from the WebSocket.
            await self._may_read.wait()
            self._receive(transport, await transport.receive())

    def _receive(self, transport: Transport, received: Received) -> None:
        self.heartbeat.received()
        self._receive_all(transport, received.envelopes)
        if received.position is not None:
            self._cursor.advance(received.position)

    def _receive_all(self, transport: Transport, envelopes: Iterable[dict[str, Any]]) -> None:
        for envelope in envelopes:
            self._receive_envelope(transport, envelope)

    def _receive_envelope(self, transport: Transport, envelope: dict[str, Any]) -> None:
        event, data = envelope.get("event"), envelope.get("data")
        if event == "connect":
            self._connected(transport, data if isinstance(data, dict) else {})
        elif event == "disconnect":
            raise _closed_by_server(data)
        elif not _is_of_the_transport(envelope) and self._cursor.take(envelope):
            self._listener.envelope(envelope)

    def _connected(self, transport: Transport, data: dict[str, Any]) -> None:
        self._refused_tokens = 0
        self._sid = transport.sid = str(data.get("sid"))
        self.heartbeat.set_interval(data.get("heartbeat"))
        self._listener.connected(self._sid)

    async def _send(self, transport: Transport, queue: SendQueue) -> None:
        while True:
            batch = await queue.peek()
            # Over HTTP the answers are those of a POST: they show no life of the stream.
            self._receive_all(transport, await transport.send(batch))
            queue.remove(len(batch))

    async def _send_replies(self, transport: Transport) -> None:
        # In a task of its own: over HTTP, a POST that was sent before may wait for a
        # handler of the server, and that handler for this reply.
        while True:
            batch = await self._replies.peek()
            await transport.send(batch)
            self._replies.remove(len(batch))

    async def _upgrade(self) -> Transport:
        """A WebSocket, as soon as one connects."""
        if self.transport == TRANSPORTS[0] or not self._connector.can_upgrade:
            await asyncio.get_running_loop().create_future()
        delay = _UPGRADE_DELAY
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _UPGRADE_DELAY_MAX)
            try:
                await self._connector.probe_websocket()
                self._may_read.clear()
                return await self._connector.open_websocket()
            except TransportClosed as closed:
                logger.debug("WebSocket does not work yet: %s", closed)
                self._may_read.set()


def _is_of_the_transport(envelope: dict[str, Any]) -> bool:
    """Whether it says no more than that the transport lives. An application's event has an id."""
    return envelope.get("event") in ("pong", "heartbeat") and envelope.get("id") is None


def _closed_by_server(data: Any) -> TransportClosed:
    """The close that a `disconnect` envelope announces, over HTTP."""
    found = data if isinstance(data, dict) else {}
    code, reason = found.get("code"), str(found.get("reason", "the server ended it"))
    return TransportClosed(
        code if isinstance(code, int) else 1006, reason, found.get("retry_after")
    )


def _reason_of(closed: TransportClosed) -> Reason:
    """The reason of a disconnect, in Socket.IO's words."""
    if closed.is_final:
        return Reason.SERVER_DISCONNECT
    if closed.message == Reason.PING_TIMEOUT:
        return Reason.PING_TIMEOUT
    return Reason.TRANSPORT_ERROR if closed.code == 1006 else Reason.TRANSPORT_CLOSE


def _error_code_of(closed: TransportClosed) -> str:
    codes = {4401: "not_authenticated", 4403: "forbidden", 4404: "not_found", 1009: "too_large"}
    return codes.get(closed.code, "bad_request" if closed.is_final else "unavailable")
