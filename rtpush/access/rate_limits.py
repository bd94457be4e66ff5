"""Limits on what clients send: token buckets for rates, budgets for memory.

Rules that hold here:

- Pure: the time is given.
- A bucket may be overdrawn once, by what has been received already; what is
  owed then takes time. A client that stays within its rate never waits.
- A budget of all has a share for each: one owner cannot use up what others need.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from .addresses import is_loopback, rate_limit_address
from .key_scope import CLIENTS, PUBLISHERS

__all__ = ["MemoryBudget", "Owners", "RateLimit", "owners_of"]

# Names in one budget: addresses, and digests of subjects and API keys.
Owners = tuple[str, ...]

# Seconds' worth of its rate that a client may send at once.
BURST: Final = 10.0


class _Bucket:
    """Tokens that come back at `rate` a second, up to `most`."""

    __slots__ = ("_at", "_most", "_rate", "_tokens")

    def __init__(self, rate: float, most: float, now: float) -> None:
        self._rate = rate
        self._most = self._tokens = most
        self._at = now

    def take(self, count: float, now: float) -> float:
        """Seconds until what was taken is there."""
        earned = (now - self._at) * self._rate
        self._tokens = min(self._tokens + earned, self._most) - count
        self._at = now
        return max(0.0, -self._tokens / self._rate)


class RateLimit:
    """What one client may send: `messages` and `size` (bytes) a second.

    And `burst` seconds' worth of it at once.
    """

    __slots__ = ("_bytes", "_messages")

    def __init__(self, messages: float, size: float, now: float, burst: float = BURST) -> None:
        self._messages = _Bucket(messages, messages * burst, now)
        self._bytes = _Bucket(size, size * burst, now)

    def charge(self, messages: int, size: int, now: float) -> float:
        """Note what has come; seconds for which no more should."""
        return max(self._messages.take(messages, now), self._bytes.take(size, now))


class MemoryBudget:
    """Bytes that may be held at the same time: by all together, and by each owner.

    Bytes have several owners: those of `owners_of`. Each has a share.
    """

    def __init__(self, total: int, share: int) -> None:
        self._total = total
        self._share = share
        # Bytes held, by all and by each owner that holds any.
        self.held = 0
        self._by_owner: Counter[str] = Counter()

    def take(self, owners: Owners, size: int) -> bool:
        """Hold `size` more bytes for their owners, if there is room for them."""
        if self.held + size > self._total:
            return False
        if any(self._by_owner[owner] + size > self._share for owner in owners):
            return False
        self.held += size
        for owner in owners:
            self._by_owner[owner] += size
        return True

    def give_back(self, owners: Owners, size: int) -> None:
        """Hold `size` fewer bytes; an owner that holds none is not kept."""
        self.held -= size
        for owner in owners:
            self._by_owner[owner] -= size
            if self._by_owner[owner] <= 0:
                del self._by_owner[owner]


def owners_of(address: str, scope: str) -> Owners:
    """Those who answer for what a sender makes the server hold: its address, and its scope.

    `scope` is that of its idempotency keys: its subject or API key. This machine's own address
    has no share: it may be a proxy with all the clients behind it. Nor have senders without
    a subject and a key, since they have one scope together.
    """
    by_address = () if is_loopback(address) else (rate_limit_address(address),)
    return by_address if scope in (CLIENTS, PUBLISHERS) else (*by_address, scope)
