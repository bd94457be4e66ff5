"""Idempotency keys: what was sent lately, so that what is sent again is logged once.

Rules that hold here:

- A key is known for IDEMPOTENCY_FOR seconds of the log's clock, in the order in which keys came.
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


class _Ranking:
    """Accounts by the number of their keys; each change costs the same, however many there are."""

    def __init__(self, limit: int) -> None:
        # Keys of all these accounts together, and how many they may have.
        self.total = 0
        self.limit = limit
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


class _Account:
    """The keys of one account, oldest first, each with the time at which it came.

    A list and not a deque: most accounts have few keys, and an empty deque takes 760 bytes.
    """

    __slots__ = ("_start", "items", "name", "ranking", "share")

    def __init__(self, name: str, ranking: _Ranking, share: int) -> None:
        self.name = name
        self.ranking = ranking
        self.share = share
        self.items: list[tuple[float, bytes] | None] = []
        self._start = 0

    def __len__(self) -> int:
        return len(self.items) - self._start

    @property
    def oldest(self) -> tuple[float, bytes]:
        found = self.items[self._start]
        assert found is not None
        return found

    def pop(self) -> bytes:
        _, key = self.oldest
        self.items[self._start] = None
        self._start += 1
        if self._start > _CUT_FROM and self._start * 2 > len(self.items):
            del self.items[: self._start]
            self._start = 0
        return key


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
        self._accounts: dict[str, _Account] = {}
        self._clients = _Ranking(self._shares.clients)
        self._publishers = _Ranking(limit)
        # An account, and a time before which it has no key; one item for each account.
        self._due: list[tuple[float, str]] = []

    def __len__(self) -> int:
        return len(self._seqs)

    def get(self, key: bytes) -> int | None:
        """The number that the key's event got, if it was seen lately."""
        return self._seqs.get(key)

    def count(self, account: str) -> int:
        """How many keys an account has."""
        held = self._accounts.get(account)
        return 0 if held is None else len(held)

    def expire(self, now: float) -> None:
        """Let go of keys whose time has passed."""
        before, left = now - IDEMPOTENCY_FOR, _AT_ONCE
        while left > 0 and self._due and self._due[0][0] < before:
            _, name = self._due[0]
            account = self._accounts[name]
            while left > 0 and len(account) and account.oldest[0] < before:
                self._forget_oldest(account)
                left -= 1
            if len(account):
                heapq.heapreplace(self._due, (account.oldest[0], name))
            else:
                heapq.heappop(self._due)
                del self._accounts[name]
                left -= 1

    def add(self, key: bytes, seq: int, account: str, time: float) -> None:
        """Remember a key that came at a time, which must not fall; at a bound, another goes."""
        held = self._accounts.get(account)
        if held is None:
            held = self._begin(account, time)
        ranking = held.ranking
        if (
            len(held) >= held.share
            or ranking.total >= ranking.limit
            or len(self._seqs) >= self._shares.total
        ):
            self._make_room(held)
        held.items.append((time, key))
        self._seqs[key] = seq
        count = len(held)
        ranking.move(account, count - 1, count)

    def _begin(self, name: str, time: float) -> _Account:
        ranking = self._clients if is_client(name) else self._publishers
        account = self._accounts[name] = _Account(name, ranking, self._shares.share(name))
        heapq.heappush(self._due, (time, name))
        return account

    def _make_room(self, account: _Account) -> None:
        ranking = account.ranking
        if len(account) >= account.share:
            self._forget_oldest(account)
        elif ranking.total >= ranking.limit:
            self._forget_oldest(self._accounts[ranking.largest()])
        elif len(self._seqs) >= self._shares.total:
            clients, publishers = self._clients, self._publishers
            most = clients if clients.most > publishers.most else publishers
            self._forget_oldest(self._accounts[most.largest()])

    def _forget_oldest(self, account: _Account) -> None:
        self._on_forgotten(self._seqs.pop(account.pop()))
        count = len(account)
        account.ranking.move(account.name, count + 1, count)
