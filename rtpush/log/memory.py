"""The log that lives as long as the process.

Rules that hold here:

- Its store is the tail itself: what retention keeps is in memory.
- It begins a new epoch each time, since it starts empty.
"""

from __future__ import annotations

import secrets

from ..config.settings import Settings
from .base import PAGE_BYTES, Page
from .clock import LogClock
from .group_commit import Batch
from .idempotency import MAX_KEYS
from .local import LocalLog
from .room_index import Rooms
from .tail import Tail

__all__ = ["MemoryLog"]


class MemoryLog(LocalLog):
    """Bounded by count, bytes and age; see `Log`."""

    def __init__(
        self, settings: Settings, clock: LogClock | None = None, *, max_keys: int = MAX_KEYS
    ) -> None:
        super().__init__(settings, clock, max_keys=max_keys)
        self.epoch = secrets.token_hex(6)
        self._tail = Tail(0, settings.retention_count, settings.retention_bytes)

    @property
    def first(self) -> int:  # type: ignore[override]  # read-only here
        """The oldest entry's number."""
        return self._tail.first

    async def open(self) -> None:
        """Begin an epoch: a process that was forked from this one has a log of its own."""
        self.epoch = secrets.token_hex(6)

    async def close(self) -> None:
        """See `Log.close`."""
        await self.wait_idle()

    def _write(self, batch: Batch) -> None:
        self._stored(batch, None)

    async def read(
        self,
        after: int,
        limit: int,
        conflate_after: int | None = None,
        rooms: Rooms | None = None,
    ) -> Page:
        """See `Log.read`."""
        page = self._tail.after(max(after, self.first - 1), PAGE_BYTES, rooms, limit)
        assert page is not None, "memory holds all that there is"
        if conflate_after is None:
            return page
        kept = [e for e in page.entries if e.seq <= conflate_after or not self.superseded(e)]
        return Page(kept, page.upto)

    async def read_before(self, before: int, limit: int, rooms: Rooms | None = None) -> Page:
        """See `Log.read_before`."""
        return self._tail.before(before, PAGE_BYTES, rooms, limit)
