"""A long-poll request as a connection: what it is given becomes its answer.

Rules that hold here:

- It is full after its first write.
- A large snapshot comes in parts. The request then takes part after part, and
  writes each to its client before it asks for the next: so an answer of many
  megabytes is never here as a whole.
"""

from __future__ import annotations

import asyncio

from ..framing import JSON
from ..hub import Hub
from ..protocol import Position
from ..sessions.session import Session

__all__ = ["PendingPoll"]


class PendingPoll:
    """A request that waits."""

    def __init__(self, hub: Hub, transport: asyncio.BaseTransport | None) -> None:
        self.framing = JSON
        self.session: Session | None = None
        # Where this read ended, when it ended before it was answered: the
        # session may be read on by another request by then.
        self.upto: Position | None = None
        # A snapshot comes in parts.
        self.in_parts = False
        self._hub = hub
        self._transport = transport
        self._body: list[bytes] = []
        # Envelopes that follow the one that comes in parts; None when none does.
        self._held: list[bytes] | None = None
        self._separator = b""
        self._woken = asyncio.Event()

    def __bool__(self) -> bool:
        """Is there something to answer?"""
        return bool(self._body)

    async def wait(self, seconds: float) -> None:
        """Until there is something to answer, or the time is up."""
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return

    def take(self) -> bytes:
        """What came since the last call: envelopes, with commas between them."""
        body, self._body = self._body, []
        self._woken.clear()
        return b"".join(body)

    async def next_parts(self) -> bytes:
        """Have the session go on, and take what it writes next."""
        if self.session is not None:
            self._hub.resume(self.session)
        await self._woken.wait()
        return self.take()

    def write(self, data: bytes) -> None:
        """See Connection."""
        if self._held is not None:
            self._held.append(data)
            return
        self._body += (self._separator, data)
        self._separator = b","
        self._woken.set()

    def write_part(self, data: bytes, *, last: bool) -> None:
        """See Connection."""
        if self._held is None:
            self.write(b"")
            self._held = []
        self.in_parts = True
        self._body.append(data)
        self._woken.set()
        if last:
            held, self._held = self._held, None
            for envelopes in held:
                self.write(envelopes)
        elif self.session is not None:
            self._hub.pause(self.session)

    def taken(self) -> int:
        """See Connection."""
        return -sum(map(len, self._body))

    def heartbeat(self) -> None:
        """See Connection. A request is short: its end is its heartbeat."""

    def close(self, code: int, reason: str) -> None:
        """See Connection."""
        if self.session is not None:
            self.upto = self._hub.position_of(self.session)
        self._woken.set()
        if self._held is not None and self._transport is not None:
            # What was said of the snapshot has no end: only the connection's can tell.
            assert isinstance(self._transport, asyncio.Transport)
            self._transport.abort()
