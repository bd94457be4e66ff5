"""The heartbeat of a connection: find out that the server no longer answers.

Rules that hold here:

- A router between the two may keep a dead connection open for hours, so the client
  pings on a WebSocket; over HTTP the server sends something regularly.
- The client calls the server silent only when it was reading meanwhile, and on a
  WebSocket only after a ping: a program that was busy has received nothing either.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from ..errors import Reason
from .transports import TransportClosed

__all__ = ["Heartbeat"]

# Seconds without anything received before a ping, and for anything to arrive after it.
_PING_INTERVAL: Final = 15.0
_PONG_TIMEOUT: Final = 8.0
# Seconds between two heartbeats of a server that does not name its interval.
_DEFAULT_INTERVAL: Final = 25.0


class Heartbeat:
    """Watches one connection, over each of its transports."""

    def __init__(self) -> None:
        # Seconds between two heartbeats of the server.
        self.interval = _DEFAULT_INTERVAL
        # When something was received, by the event loop's clock.
        self._received_at = 0.0
        # Whether the client reads. While it does not, silence proves nothing.
        self._reading = True

    def set_interval(self, seconds: Any) -> None:
        """Take the interval that the server names in `connect`."""
        valid = isinstance(seconds, int | float) and seconds > 0
        self.interval = seconds if valid else _DEFAULT_INTERVAL

    def received(self) -> None:
        """Something has arrived."""
        self._received_at = _now()

    def pause(self) -> None:
        """The client stops reading: too many events wait for the application."""
        self._reading = False

    def resume(self) -> None:
        """The client reads again."""
        self._reading = True
        self.received()

    async def watch(self, ping: Callable[[], None] | None) -> None:
        """Raises TransportClosed (`ping timeout`) when the server is silent.

        `ping` sends a ping; None when the server sends heartbeats by itself.
        """
        while True:
            await self._wait_idle(_PING_INTERVAL if ping else 2 * self.interval + 1)
            asked_at = _now()
            if ping:
                ping()
                await asyncio.sleep(_PONG_TIMEOUT)
            if self._reading and self._received_at <= asked_at:
                raise TransportClosed(1006, Reason.PING_TIMEOUT)

    async def _wait_idle(self, seconds: float) -> None:
        """Wait until nothing has arrived for so long."""
        while True:
            if not self._reading:
                self.received()
            left = self._received_at + seconds - _now()
            if left <= 0:
                return
            await asyncio.sleep(left)


def _now() -> float:
    return asyncio.get_running_loop().time()
