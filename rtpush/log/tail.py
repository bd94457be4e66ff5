"""The newest entries of a log, in memory.

Rules that hold here:

- What is held is one unbroken run of entries that ends with the newest.
- It is bounded by count and by bytes, but the newest entry always stays.
- A read is a slice: it costs what it returns, wherever it begins.
"""

from __future__ import annotations

from collections.abc import Sequence

from .entry import Entry

__all__ = ["Tail"]

# The list is cut when this many slots at its front are empty, and they are
# more than half of it: removal then costs O(1) per entry on average.
_CUT_FROM = 1024


class Tail:
    """`first` is the oldest number held; `first == last + 1` when empty."""

    def __init__(self, last: int, max_count: int, max_bytes: int) -> None:
        self.first = last + 1
        self.last = last
        self.bytes = 0
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._entries: list[Entry | None] = []
        self._start = 0
        self._newest: dict[tuple[str | None, str, str], int] = {}

    def __len__(self) -> int:
        return self.last - self.first + 1

    def append(self, entry: Entry) -> None:
        """Add the next entry; the oldest make room."""
        self._entries.append(entry)
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

    def after(self, seq: int, max_bytes: int) -> Sequence[Entry] | None:
        """See `Log.recent`."""
        if seq < self.first - 1:
            return None
        index = begin = self._start + seq - self.first + 1
        entries, size = self._entries, 0
        while index < len(entries):
            entry = entries[index]
            assert entry is not None
            size += len(entry.json)
            if size > max_bytes and index > begin:
                break
            index += 1
        return entries[begin:index]  # type: ignore[return-value]  # slots past _start are filled

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
        key = entry.conflation_key
        if key is not None and self._newest[key] == entry.seq:
            del self._newest[key]
        if self._start > _CUT_FROM and self._start * 2 > len(self._entries):
            del self._entries[: self._start]
            self._start = 0
