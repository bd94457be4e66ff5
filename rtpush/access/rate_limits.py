"""How much a client may send: token buckets.

Rules that hold here:

- Pure: the time is given.
- A bucket may be overdrawn once, by what has been received already; what is
  owed then takes time. A client that stays within its rate never waits.
"""

from __future__ import annotations

from typing import Final

__all__ = ["RateLimit"]

# Seconds' worth of its rate that a client may send at once.
BURST: Final = 10.0


class _Bucket:
    """Tokens that come back at `rate` a second, up to BURST seconds' worth."""

    __slots__ = ("_at", "_rate", "_tokens")

    def __init__(self, rate: float, now: float) -> None:
        self._rate = rate
        self._tokens = rate * BURST
        self._at = now

    def take(self, count: float, now: float) -> float:
        """Seconds until what was taken is there."""
        earned = (now - self._at) * self._rate
        self._tokens = min(self._tokens + earned, self._rate * BURST) - count
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class RateLimit:
    """What one client may send: `messages` and `size` (bytes) a second."""

    __slots__ = ("_bytes", "_messages")

    def __init__(self, messages: float, size: float, now: float) -> None:
        self._messages = _Bucket(messages, now)
        self._bytes = _Bucket(size, now)

    def charge(self, messages: int, size: int, now: float) -> float:
        """Note what has come; seconds for which no more should."""
        return max(self._messages.take(messages, now), self._bytes.take(size, now))
