"""The heartbeat of a connection: find out that the server no longer answers.

Rules that hold here:

- A router between the two may keep a dead connection open for hours, so the client
  pings on a WebSocket; over HTTP the server sends something regularly.
- A proxy may cut every connection that is idle for so long. When two are cut after the
  same time, the client sees to it that something arrives before.
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
# Two idle times that differ by less than this fraction are the same.
_SAME: Final = 0.2
# The part of that time that a connection may be idle from then on. Less than half: the HTTP
# library sends a read that was cut again, once, on a new connection, and says nothing.
_MARGIN: Final = 0.4
# Seconds. Nothing has to arrive more often than this.
_MIN_IDLE: Final = 1.0


class Heartbeat:
    """Watches one connection, over each of its transports."""

    def __init__(self) -> None:
        # Seconds between two heartbeats of the server.
        self.interval = _DEFAULT_INTERVAL
        # When something was received, by the event loop's clock.
        self._received_at = 0.0
        # Seconds that the connection may be idle; None: no proxy is known to mind.
        self.max_idle: float | None = None
        # How long the connection before was idle when it was cut.
        self._last_idle = 0.0
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

    def learn(self) -> None:
        """The connection was cut."""
        idle = _now() - self._received_at
        again = abs(idle - self._last_idle) < _SAME * idle
        self._last_idle = idle
        if again and idle > _MIN_IDLE:
            self.max_idle = max(_MIN_IDLE, _MARGIN * idle)

    async def watch(self, ping: Callable[[], None] | None) -> None:
        """Raises TransportClosed (`ping timeout`) when the server is silent.

        `ping` sends a ping; None when the server sends heartbeats by itself.
        """
        while True:
            await self._wait_idle(self._ping_interval() if ping else 2 * self.interval + 1)
            asked_at = _now()
            if ping:
                ping()
                await asyncio.sleep(_PONG_TIMEOUT)
            if self._reading and self._received_at <= asked_at:
                raise TransportClosed(1006, Reason.PING_TIMEOUT)

    def _ping_interval(self) -> float:
        return min(_PING_INTERVAL, self.max_idle or _PING_INTERVAL)

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
