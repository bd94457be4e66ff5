"""The log of one process: what it stores, it publishes itself.

Rules that hold here:

- A batch is stored as a whole, and only then applied to the board and shown.
- The idempotency keys of the last ten minutes are in memory, and bounded.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Final

from ..config.settings import Settings
from .base import IDEMPOTENCY_FOR
from .group_commit import Batch, GroupCommitLog, unavailable

__all__ = ["IdempotencyKeys", "LocalLog"]

# About 250 bytes each.
_MAX_SEEN: Final = 1_000_000


class IdempotencyKeys:
    """The idempotency keys of the last ten minutes, and the numbers they got."""

    def __init__(self) -> None:
        self._seqs: dict[str, int] = {}
        self._order: deque[tuple[float, str]] = deque()

    def __len__(self) -> int:
        return len(self._seqs)

    def get(self, key: str) -> int | None:
        """The number that the key's event got, if it was seen lately."""
        return self._seqs.get(key)

    def add(self, key: str, seq: int, time: float) -> None:
        """Remember; times must not fall."""
        self._seqs[key] = seq
        self._order.append((time, key))

    def forget(self, before: float) -> None:
        """Let go of the keys that were added before a time."""
        while self._order and self._order[0][0] < before:
            del self._seqs[self._order.popleft()[1]]


class LocalLog(GroupCommitLog):
    """What the memory and the SQLite log share. `clock` gives seconds since 1970."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        super().__init__(settings, clock)
        self._seen = IdempotencyKeys()

    def _next(self) -> None:
        self._seen.forget(max(self._clock(), self._newest_time()) - IDEMPOTENCY_FOR)
        super()._next()

    def _store(self, batch: Batch) -> None:
        if batch.drafts:
            self._write(batch)
        else:
            self._finish(batch)

    @abstractmethod
    def _write(self, batch: Batch) -> None:
        """Store the batch, then see that `_stored` is called on the loop."""

    def _stored(self, batch: Batch, error: BaseException | None) -> None:
        self._note_health(error)
        if error is None:
            self._publish(batch)
            self._finish(batch)
        else:
            self._fail(batch, unavailable(str(error)))

    def _publish(self, batch: Batch) -> None:
        for entry, draft in zip(batch.entries(self.epoch), batch.drafts, strict=True):
            self._tail.append(entry)
            self.board.apply(draft.event, draft.data, draft.room, entry.time)
        for key, seq in batch.keys.items():
            self._seen.add(key, seq, batch.time)
        self.on_grow()

    def _remembered_number(self, batch: Batch, key: str) -> int | None:
        seen = self._seen.get(key)
        if seen is None and len(self._seen) + len(batch.keys) >= _MAX_SEEN:
            raise unavailable("too many idempotency keys in the last ten minutes")
        return seen

    def tick(self, now: float) -> None:
        """See `Log.tick`."""
        self._seen.forget(now - IDEMPOTENCY_FOR)
        self._tail.drop_older_than(now - self._settings.retention_age)
