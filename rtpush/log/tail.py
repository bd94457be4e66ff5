"""The newest entries of a log, in memory.

Rules that hold here:

- What is held is one unbroken run of entries that ends with the newest.
- It is bounded by count and by bytes, but the newest entry always stays.
- A read is a slice, or a walk along the index by room: it costs what it returns,
  wherever it begins and however much lies between.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .base import Page
from .entry import Entry
from .room_index import RoomIndex, Rooms

__all__ = ["Tail"]

# The list is cut when this many slots at its front are empty, and they are
# more than half of it: removal then costs O(1) per entry on average.
_CUT_FROM = 1024


class Tail:
    """`first` is the oldest number held; `first == last + 1` when empty.

    `index` may begin with older numbers; it keeps those from `index_from` on, also when
    their entries are gone.
    """

    def __init__(
        self, last: int, max_count: int, max_bytes: int, index: RoomIndex | None = None
    ) -> None:
        self.first = last + 1
        self.last = last
        self.bytes = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._entries: list[Entry | None] = []
        self._start = 0
        self._newest: dict[tuple[str | None, str, str, bool], int] = {}
        self.index = index or RoomIndex(last)
        self.index_from = sys.maxsize

    @property
    def newest(self) -> Entry | None:
        """The newest entry."""
        return self._entries[-1] if self._entries else None

    def __len__(self) -> int:
        return self.last - self.first + 1

    def append(self, entry: Entry) -> None:
        """Add the next entry; the oldest make room."""
        self._entries.append(entry)
        self.index.append(entry.room)
        self.last = entry.seq
        self.bytes += entry.size
        if (key := entry.conflation_key) is not None:
            self._newest[key] = entry.seq
        while (len(self) > self._max_count or self.bytes > self._max_bytes) and len(self) > 1:
            self._drop_oldest()

    def drop_older_than(self, time: float) -> None:
        """Let go of entries made before `time`, all but the newest."""
        while len(self) > 1 and self._oldest().time < time:
            self._drop_oldest()

    def after(
        self, seq: int, max_bytes: int, rooms: Rooms | None = None, limit: int = sys.maxsize
    ) -> Page | None:
        """See `Log.recent`; at most `limit` entries."""
        if rooms is not None:
            rooms = self.index.active(rooms, seq)
        if seq < self.first - 1 and rooms != []:
            return None
        if rooms is None:
            numbers: Iterable[int] = range(seq + 1, self.last + 1)
        else:
            numbers = self.index.after(rooms, seq)
        return self._page(numbers, max_bytes, limit, self.last)

    def before(
        self, seq: int, max_bytes: int, rooms: Rooms | None = None, limit: int = sys.maxsize
    ) -> Page:
        """Entries before a number, newest first; at most `limit`, and none that is gone."""
        if rooms is None:
            numbers: Iterable[int] = range(min(seq - 1, self.last), self.first - 1, -1)
        else:
            numbers = self.index.before(rooms, seq)
        return self._page(numbers, max_bytes, limit, self.first)

    def _page(self, numbers: Iterable[int], max_bytes: int, limit: int, upto: int) -> Page:
        found: list[Entry] = []
        offset, entries, size = self._start - self.first, self._entries, 0
        for number in numbers:
            if number < self.first:
                break
            entry = entries[number + offset]
            assert entry is not None
            size += len(entry.json)
            if found and (size > max_bytes or len(found) == limit):
                return Page(found, found[-1].seq)
            found.append(entry)
        return Page(found, upto)

    def superseded(self, entry: Entry) -> bool:
        """Is there a newer entry with the same conflation key?"""
        key = entry.conflation_key
        return key is not None and self._newest.get(key, 0) > entry.seq

    def _oldest(self) -> Entry:
        entry = self._entries[self._start]
        assert entry is not None
        return entry

    def _drop_oldest(self) -> None:
        entry = self._oldest()
        self._entries[self._start] = None
        self._start += 1
        self.first += 1
        self.bytes -= entry.size
        self.index.forget_before(min(self.first, self.index_from))
        key = entry.conflation_key
        if key is not None and self._newest[key] == entry.seq:
            del self._newest[key]
        if self._start > _CUT_FROM and self._start * 2 > len(self._entries):
            del self._entries[: self._start]
            self._start = 0
