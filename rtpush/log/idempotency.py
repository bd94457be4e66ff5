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
from typing import Any, Final

from .accounts import Shares, is_client

__all__ = ["IDEMPOTENCY_FOR", "MAX_KEYS", "IdempotencyKeys"]

# Seconds for which a repeated idempotency key gives the answer of the first.
IDEMPOTENCY_FOR: Final = 600.0
# Of all accounts, about 160 bytes each. An account takes about 260 bytes itself.
MAX_KEYS: Final = 1_000_000

# Keys whose time has passed are let go so many at a time: a minute's worth of them would
# keep the event loop from everything else.
_AT_ONCE: Final = 5_000

# A list is cut when this many places at its front are empty, and they are more than half.
_CUT_FROM: Final = 128


class _Account:
    """The keys of one account, oldest first.

    There may be as many accounts as keys. So an account is its own item in the heap of those
    that are due, and has a list and not a deque, which takes 760 bytes when it is empty.
    """

    __slots__ = ("_items", "_start", "due", "name", "ranking", "share")

    def __init__(self, name: str, ranking: _Ranking, share: int, due: float) -> None:
        self.name = name
        self.ranking = ranking
        self.share = share
        # A time before which it has no key.
        self.due = due
        # The time at which each key came, and the key: a tuple of both would take 72 bytes more.
        self._items: list[Any] = []
        self._start = 0

    def __len__(self) -> int:
        return (len(self._items) - self._start) >> 1

    def __lt__(self, other: _Account) -> bool:
        return self.due < other.due

    @property
    def oldest(self) -> float:
        """When its oldest key came."""
        time: float = self._items[self._start]
        return time

    def add(self, time: float, key: bytes) -> None:
        self._items += (time, key)

    def pop(self) -> bytes:
        """Let go of its oldest key."""
        items, start = self._items, self._start
        key: bytes = items[start + 1]
        items[start] = items[start + 1] = None
        self._start = start = start + 2
        if start > _CUT_FROM and start * 2 > len(items):
            del items[:start]
            self._start = 0
        return key


class _Ranking:
    """Accounts by the number of their keys; each change costs the same, however many there are."""

    def __init__(self, limit: int) -> None:
        # Keys of all these accounts together, and how many they may have.
        self.total = 0
        self.limit = limit
        self.most = 0
        # Those that have keys, and the names of those that have more than one.
        self.accounts: dict[str, _Account] = {}
        self._by_count: dict[int, dict[str, None]] = {}

    def largest(self) -> _Account:
        """An account that has the most keys.

        The last that came to have so many: a dict finds its first in a time that grows with
        what was removed before it.
        """
        if self.most > 1:
            return self.accounts[next(reversed(self._by_count[self.most]))]
        return next(reversed(self.accounts.values()))

    def note_more(self, account: _Account, count: int) -> None:
        """An account has one key more: so many."""
        self.total += 1
        if count == 1:
            self.accounts[account.name] = account
        else:
            self._move(account.name, count - 1, count)
        self.most = max(self.most, count)

    def note_fewer(self, account: _Account, count: int) -> None:
        """An account has one key fewer: so many."""
        self.total -= 1
        if count:
            self._move(account.name, count + 1, count)
        else:
            del self.accounts[account.name]
            if not self.accounts:
                self.most = 0

    def _move(self, name: str, before: int, after: int) -> None:
        same = self._by_count.get(before)
        if same is not None and len(same) > 1:
            del same[name]
            same = None
        elif same is not None:
            # It is alone with its number, as a busy account mostly is: its place moves with it.
            del self._by_count[before]
            if before == self.most:
                self.most = after
        if after > 1:
            there = self._by_count.get(after)
            if there is not None:
                there[name] = None
            else:
                self._by_count[after] = {name: None} if same is None else same


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
        self._clients = _Ranking(self._shares.clients)
        self._publishers = _Ranking(limit)
        # A heap of the accounts, and of those that had keys and have none any more.
        self._due: list[_Account] = []

    def __len__(self) -> int:
        return len(self._seqs)

    def get(self, key: bytes) -> int | None:
        """The number that the key's event got, if it was seen lately."""
        return self._seqs.get(key)

    def count(self, account: str) -> int:
        """How many keys an account has."""
        held = self._ranking_of(account).accounts.get(account)
        return 0 if held is None else len(held)

    def _ranking_of(self, account: str) -> _Ranking:
        return self._clients if is_client(account) else self._publishers

    def expire(self, now: float) -> None:
        """Let go of keys whose time has passed."""
        before, left = now - IDEMPOTENCY_FOR, _AT_ONCE
        while left > 0 and self._due and self._due[0].due < before:
            account = self._due[0]
            while left > 0 and len(account) and account.oldest < before:
                self._forget_oldest(account)
                left -= 1
            if len(account):
                account.due = account.oldest
                heapq.heapreplace(self._due, account)
            else:
                heapq.heappop(self._due)
                left -= 1

    def add(self, key: bytes, seq: int, account: str, time: float) -> None:
        """Remember a key that came at a time, which must not fall; at a bound, another goes."""
        ranking = self._ranking_of(account)
        held = ranking.accounts.get(account)
        if held is None:
            held = _Account(account, ranking, self._shares.share(account), time)
            heapq.heappush(self._due, held)
        if (
            len(held) >= held.share
            or ranking.total >= ranking.limit
            or len(self._seqs) >= self._shares.total
        ):
            self._make_room(held)
        held.add(time, key)
        self._seqs[key] = seq
        ranking.note_more(held, len(held))

    def _make_room(self, account: _Account) -> None:
        ranking = account.ranking
        if len(account) >= account.share:
            self._forget_oldest(account)
        elif ranking.total >= ranking.limit:
            self._forget_oldest(ranking.largest())
        elif len(self._seqs) >= self._shares.total:
            clients, publishers = self._clients, self._publishers
            most = clients if clients.most > publishers.most else publishers
            self._forget_oldest(most.largest())

    def _forget_oldest(self, account: _Account) -> None:
        self._on_forgotten(self._seqs.pop(account.pop()))
        account.ranking.note_fewer(account, len(account))
