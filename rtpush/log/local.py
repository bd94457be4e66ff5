"""The log of one process: what it stores, it publishes itself.

Rules that hold here:

- A batch is stored as a whole, and only then applied to the board and shown.
- The idempotency keys of the last ten minutes are in memory.
"""

from __future__ import annotations

from abc import abstractmethod

from ..config.settings import Settings
from ..protocol import Position
from .clock import LogClock
from .group_commit import Batch, GroupCommitLog, unavailable
from .idempotency import MAX_KEYS, IdempotencyKeys

__all__ = ["LocalLog"]


class LocalLog(GroupCommitLog):
    """What the memory and the SQLite log share. `max_keys` bounds the idempotency keys."""

    def __init__(
        self,
        settings: Settings,
        clock: LogClock | None = None,
        *,
        max_keys: int = MAX_KEYS,
    ) -> None:
        super().__init__(settings, clock)
        self._seen = IdempotencyKeys(max_keys, self._key_forgotten)

    def _key_forgotten(self, seq: int) -> None:
        """The idempotency key of this entry is let go."""

    def _next(self) -> None:
        self._seen.expire(self.now())
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
            self.board.apply(
                draft.event, draft.data, draft.room, batch.time, draft.account, batch.wall
            )
            if changes := draft.changes:
                self.retained.apply(changes, draft.account, Position(self.epoch, entry.seq))
        for key, seq, account in batch.new_keys():
            self._seen.add(key, seq, account, batch.time)
        self.on_grow()

    def _remembered_number(self, key: bytes) -> int | None:
        return self._seen.get(key)

    def tick(self) -> None:
        """See `Log.tick`."""
        super().tick()
        now = self.now()
        self._seen.expire(now)
        self._tail.drop_older_than(now - self._settings.retention_age)
