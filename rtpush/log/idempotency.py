"""Idempotency keys: what was sent lately, so that what is sent again is logged once.

Rules that hold here:

- A key is known for IDEMPOTENCY_FOR seconds, in the order in which keys came. Seconds are
  counted as they pass: a clock that jumps ahead and back keeps no key for longer.
- Keys are bounded, and never a reason to refuse an event. An account that has its share
  gives up its own oldest key for each new one. When all have as many as they may together,
  the account with the most gives: what one account sends never makes the server forget the
  keys of an account that has fewer.
- A key is a digest: it takes as much memory as any other, however long its text is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import Final

from .accounts import Shares, is_client

__all__ = ["IDEMPOTENCY_FOR", "MAX_KEYS", "IdempotencyKeys"]

# Seconds for which a repeated idempotency key gives the answer of the first.
IDEMPOTENCY_FOR: Final = 600.0
# Of all accounts, about 260 bytes each.
MAX_KEYS: Final = 1_000_000

# Keys whose time has passed are let go so many at a time: a minute's worth of them would
# keep the event loop from everything else.
_AT_ONCE: Final = 5_000

# A list is cut when this many places at its front are empty, and they are more than half.
_CUT_FROM: Final = 64


class _Queue:
    """The keys of one account, oldest first, each with the time at which it came.

    A list and not a deque: most accounts have few keys, and an empty deque takes 760 bytes.
    """

    __slots__ = ("_items", "_start")

    def __init__(self) -> None:
        self._items: list[tuple[float, bytes] | None] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self._items) - self._start

    @property
    def oldest(self) -> tuple[float, bytes]:
        found = self._items[self._start]
        assert found is not None
        return found

    def push(self, time: float, key: bytes) -> None:
        self._items.append((time, key))

    def pop(self) -> bytes:
        _, key = self.oldest
        self._items[self._start] = None
        self._start += 1
        if self._start > _CUT_FROM and self._start * 2 > len(self._items):
            del self._items[: self._start]
            self._start = 0
        return key


class _Ranking:
    """Accounts by the number of their keys; each change costs the same, however many there are."""

    def __init__(self) -> None:
        # The number of keys of all these accounts together.
        self.total = 0
        self.most = 0
        self._by_count: dict[int, dict[str, None]] = {}

    def largest(self) -> str:
        """An account that has the most keys."""
        return next(iter(self._by_count[self.most]))

    def move(self, account: str, before: int, after: int) -> None:
        """An account has one key more, or one fewer."""
        self.total += after - before
        same = self._by_count.get(before)
        if same is None or len(same) > 1:
            if same is not None:
                del same[account]
            same = {account: None}
        else:
            # It is alone with its number, as a busy account mostly is: its place moves with it.
            del self._by_count[before]
            if before == self.most:
                self.most = after
        if after:
            self._by_count.setdefault(after, same)[account] = None
            self.most = max(self.most, after)


class IdempotencyKeys:
    """The keys of the last ten minutes, and the numbers that their events got.

    `on_forgotten` is told the number of each key that is let go.
    """

    def __init__(
        self,
        limit: int = MAX_KEYS,
        on_forgotten: Callable[[int], None] = lambda _seq: None,
    ) -> None:
        self._on_forgotten = on_forgotten
        self._shares = Shares.of(limit)
        self._seqs: dict[bytes, int] = {}
        self._queues: dict[str, _Queue] = {}
        self._clients, self._publishers = _Ranking(), _Ranking()
        # An account, and a time before which it has no key; one item for each account.
        self._due: list[tuple[float, str]] = []
        # Seconds that have passed, and the clock when that was last looked at.
        self._time = 0.0
        self._seen_clock: float | None = None

    def __len__(self) -> int:
        return len(self._seqs)

    def get(self, key: bytes) -> int | None:
        """The number that the key's event got, if it was seen lately."""
        return self._seqs.get(key)

    def count(self, account: str) -> int:
        """How many keys an account has."""
        queue = self._queues.get(account)
        return 0 if queue is None else len(queue)

    def advance(self, clock: float) -> None:
        """Let go of keys whose time has passed. `clock` is in seconds since 1970."""
        if self._seen_clock is not None:
            self._time += max(0.0, clock - self._seen_clock)
        self._seen_clock = clock
        before, left = self._time - IDEMPOTENCY_FOR, _AT_ONCE
        while left > 0 and self._due and self._due[0][0] < before:
            _, account = self._due[0]
            queue = self._queues[account]
            while queue and left > 0 and queue.oldest[0] < before:
                self._forget_oldest(account)
                left -= 1
            if queue:
                heapq.heapreplace(self._due, (queue.oldest[0], account))
            else:
                heapq.heappop(self._due)
                del self._queues[account]
                left -= 1

    def add(self, key: bytes, seq: int, account: str, age: float = 0.0) -> None:
        """Remember a new key; at a bound, another is forgotten for it. Ages must not rise."""
        self._make_room(account)
        time = self._time - age
        queue = self._queues.get(account)
        if queue is None:
            queue = self._queues[account] = _Queue()
            heapq.heappush(self._due, (time, account))
        queue.push(time, key)
        self._seqs[key] = seq
        self._ranking(account).move(account, len(queue) - 1, len(queue))

    def _make_room(self, account: str) -> None:
        if is_client(account):
            if self.count(account) >= self._shares.share(account):
                self._forget_oldest(account)
            elif self._clients.total >= self._shares.clients:
                self._forget_oldest(self._clients.largest())
        if len(self._seqs) >= self._shares.total:
            self._forget_oldest(self._largest())

    def _largest(self) -> str:
        clients, publishers = self._clients, self._publishers
        return (clients if clients.most > publishers.most else publishers).largest()

    def _ranking(self, account: str) -> _Ranking:
        return self._clients if is_client(account) else self._publishers

    def _forget_oldest(self, account: str) -> None:
        queue = self._queues[account]
        key = queue.pop()
        self._on_forgotten(self._seqs.pop(key))
        self._ranking(account).move(account, len(queue) + 1, len(queue))
