"""Send a client's events until the server has answered them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final

from ..errors import ConnectError, RtpushError
from .connection import Connection
from .dispatch import data_of
from .outbox import Done, Outbox
from .receive_queue import ReceiveQueues

__all__ = ["Sender"]

# Volatile events that may wait to leave. One that waits behind so many is out of date.
_MAX_VOLATILE: Final = 1000


class Sender:
    """Sends events over one connection after the other."""

    def __init__(self, outbox: Outbox, queues: ReceiveQueues) -> None:
        # Whether the client is connected now.
        self.connected = False
        # None before `connect` and after `disconnect`.
        self.connection: Connection | None = None
        self._outbox = outbox
        self._queues = queues
        # Set when an event was answered, or given up.
        self._settled = asyncio.Event()

    def attach(self, connection: Connection) -> None:
        """Send over this connection, as soon as it is connected."""
        self.connection = connection
        # The last connection may have been on another event loop.
        self._settled = asyncio.Event()

    def resend(self) -> None:
        """The connection is connected, perhaps again: send all that is not answered."""
        self.connected = True
        self._outbox.resend()
        self._send_due()

    def detach(self, reason: ConnectError) -> None:
        """There will be no answer any more."""
        self.connection = None
        self._outbox.give_up(reason)

    def require_connection(self) -> Connection:
        """The connection. Raises ConnectError when there is none."""
        if self.connection is None:
            raise ConnectError("unavailable", "The client is not connected; call connect() first.")
        return self.connection

    async def send(self, envelope: dict[str, Any], done: Done, *, waits: bool = False) -> str:
        """Add an event to the outbox, and wait while that is full; returns its `ack`.

        Raises ConnectError without a connection, and RtpushError (`too_slow`,
        `bad_envelope`).
        """
        self.require_connection()
        self._queues.check_length()
        while self._outbox.full:
            await self._wait_settled()
        self.require_connection()
        settle = partial(self._settle, done)
        ack = self._outbox.add(envelope, settle, waits=waits)
        # The client may have to read again now that a caller waits for an answer.
        self._queues.changed()
        self._send_due()
        return ack

    def send_volatile(self, envelope: dict[str, Any]) -> None:
        """Send an event that is dropped when it cannot leave now."""
        if self.connected and self.require_connection().unsent < _MAX_VOLATILE:
            text = self._outbox.encode({**envelope, "volatile": True})
            self.require_connection().send(text)

    async def call(
        self, envelope: dict[str, Any], timeout: float | None, *, waits: bool = False
    ) -> Any:
        """Send an event, and return its answer.

        `waits`: the server may answer it later than those that are sent behind it.

        Raises as `send`; RtpushError when the server refuses; TimeoutError after
        `timeout` seconds.
        """
        answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def done(error: RtpushError | None, data: Any) -> None:
            if answered.done():
                return
            if error is None:
                answered.set_result(data)
            else:
                answered.set_exception(error)

        async with asyncio.timeout(timeout):
            ack = await self.send(envelope, done, waits=waits)
            try:
                return await answered
            finally:
                self._outbox.settle(ack, RtpushError("unavailable", "The caller has gone."))
                self._send_due()

    def receive_reply(self, reply: dict[str, Any]) -> None:
        """The server has answered an event."""
        error = RtpushError.of(reply["error"]) if reply.get("error") is not None else None
        # A server that stops has not taken the event: the client sends it to the next one.
        if error is None or error.code != "going_away":
            self._outbox.settle(reply.get("ack"), error, data_of(reply))
            self._send_due()

    def reply(self, envelope: dict[str, Any]) -> None:
        """Answer the server."""
        if self.connection is not None:
            self.connection.reply(self._outbox.encode(envelope))

    async def drain(self) -> None:
        """Wait until every event is answered, or the connection has ended."""
        connection = self.connection
        while self.connection is connection and len(self._outbox):
            await self._wait_settled()
        if self.connected and self.connection is not None:
            await self.connection.drain()

    def _send_due(self) -> None:
        if self.connected:
            for text, waits in self._outbox.take_due():
                self.require_connection().send(text, waits=waits)

    def _settle(self, done: Done, error: RtpushError | None, data: Any) -> None:
        self._settled.set()
        done(error, data)

    async def _wait_settled(self) -> None:
        self._settled.clear()
        await self._settled.wait()
