"""Stream connections: what WebSocket and SSE share."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import Final

from aiohttp import web

from ..errors import Reason
from ..framing import Framing
from ..sessions.session import Session
from ..unix import Sent, sent_over
from .context import TransportContext
from .hijack import hijack_transport

__all__ = ["StreamConnection", "hijack_for"]

# Seconds that a peer has to answer a close, and a last write to leave.
CLOSE_TIMEOUT: Final = 5.0


def hijack_for(
    session: Session, request: web.Request, context: TransportContext
) -> tuple[asyncio.Transport, bytes]:
    """Take the connection for a session that was admitted; without one the session ends."""
    try:
        return hijack_transport(request)
    except BaseException:
        context.hub.close(session)
        raise


class StreamConnection(asyncio.Protocol, ABC):
    """A taken transport as a connection of the hub: what WebSocket and SSE share."""

    __slots__ = (
        "_behind",
        "_context",
        "_full",
        "_session",
        "_taken",
        "_transport",
        "framing",
        "write",
    )

    def __init__(
        self, transport: asyncio.Transport, framing: Framing, context: TransportContext
    ) -> None:
        self.framing = framing
        self._transport = transport
        # See Connection. The transport's own, since no call is made more often.
        self.write = transport.write
        # What was written while an envelope is on its way in parts, and follows it;
        # None while there is no such envelope.
        self._behind: list[bytes] | None = None
        self._context = context
        self._session: Session | None = None
        # Has the peer left more unread than the high-water mark?
        self._full = False
        # What the peer had taken at the last heartbeat.
        self._taken = 0
        transport.set_write_buffer_limits(high=context.settings.high_water)
        transport.set_protocol(self)
        context.connections.add(self)

    def start(self, session: Session, last: str | None, head: bytes) -> None:
        """Begin the session, behind the head of the answer."""
        try:
            self._context.hub.open(session, self, last, head)
        except BaseException:
            # aiohttp no longer knows the connection: it would stay open for ever.
            self._context.hub.close(session)
            self.abort()
            raise
        self._session = session
        if self._full:
            # A large greeting has filled the connection before there was a session to pause.
            self._context.hub.pause(session)

    def eof_received(self) -> None:
        """See asyncio.Protocol. The transport closes itself."""
        self._end_session(Reason.TRANSPORT_CLOSE)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._end_session(Reason.TRANSPORT_CLOSE if exc is None else Reason.TRANSPORT_ERROR)
        self._context.connections.discard(self)
        if not self._context.connections:
            self._context.drained.set()

    def pause_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = True
        if self._session is not None:
            self._context.hub.pause(self._session)

    def resume_writing(self) -> None:
        """See asyncio.Protocol."""
        self._full = False
        if self._session is not None:
            self._context.hub.resume(self._session)

    def _end_session(self, reason: str) -> None:
        """The reasons are those of Socket.IO: applications match on them."""
        session, self._session = self._session, None
        if session is not None:
            self._context.hub.close(session, reason)

    def write_part(self, data: bytes, *, last: bool) -> None:
        """See Connection."""
        self._transport.write(data)
        if last:
            self._go_on_behind(b"")
        elif self._behind is None:
            self._behind = []
            self.write = self._write_behind

    def _write_behind(self, data: bytes | bytearray | memoryview) -> None:
        assert self._behind is not None
        self._behind.append(bytes(data))

    def _go_on_behind(self, end: bytes) -> None:
        """Write the envelope's end, and what was held behind it."""
        held, self._behind = self._behind or [], None
        self.write = self._transport.write
        if end or held:
            self.write(end + b"".join(held))

    def taken(self) -> int:
        """See Connection. The system holds megabytes, and asks for more only in large steps."""
        sent = self._sent()
        return -self._transport.get_write_buffer_size() if sent is None else sent.taken

    def _takes_slowly(self) -> bool:
        """Has the peer taken some of what waits since this was last asked?

        Then a ping waits behind the rest. One that has taken all has no such excuse: its
        system takes what a program that hangs never reads.
        """
        before, sent = self._taken, self._sent()
        if sent is None:
            return False
        self._taken = sent.taken
        return sent.taken > before and sent.waiting > 0

    def _sent(self) -> Sent | None:
        peer = self._transport.get_extra_info("socket")
        return None if peer is None else sent_over(peer.fileno())

    @abstractmethod
    def heartbeat(self) -> None:
        """See Connection."""

    @abstractmethod
    def close(self, code: int, reason: str) -> None:
        """See Connection."""

    def abort(self) -> None:
        """End it now, whatever was written."""
        self._transport.abort()

    def _abort_later(self) -> None:
        asyncio.get_running_loop().call_later(CLOSE_TIMEOUT, self._transport.abort)
