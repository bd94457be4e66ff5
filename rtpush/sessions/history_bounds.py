"""Bounds of what a client is given of a room's past, by the room's rule.

Rules that hold here:

- Nothing is deleted. A bound is a number of the log: what the room has up to it is given to
  no client that was away, that rewinds or that asks for history.
- A client that has missed an event which it is no longer given is told so by `resync`; it
  never takes a part for the whole.
- A bound is looked for in the index in memory first. A room that is too quiet for that has
  its bound remembered until it has something newer.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from ..access.room_policy import RoomPolicy
from ..errors import RtpushError
from ..log.base import Log
from ..log.entry import Entry
from ..protocol import Position

__all__ = ["HistoryBounds"]

# Rooms whose bounds are remembered, about 200 bytes each.
_MAX_REMEMBERED: Final = 10_000


class HistoryBounds:
    """Asked when a client looks back. Nothing is read for rooms without a bound."""

    def __init__(self, log: Log, room_policy: RoomPolicy) -> None:
        self._log = log
        self._policy = room_policy
        # The epoch that all numbers here belong to.
        self._epoch = ""
        # Room → the newest number of the log when it was counted, and its bound by count.
        self._by_count: dict[str, tuple[int, int]] = {}
        # Age in seconds → the bound by age, which only rises.
        self._by_age: dict[float, int] = {}

    async def of(self, room: str | None) -> int:
        """The number up to which the room's events are no longer given; 0 without a bound.

        Raises RtpushError (`unavailable`).
        """
        rule, found = self._policy.rule(room), 0
        if room is None or (rule.history_count is None and rule.history_age is None):
            return found
        if self._epoch != self._log.epoch:
            self._epoch = self._log.epoch
            self._by_count.clear()
            self._by_age.clear()
        if rule.history_count is not None:
            found = await self._find_by_count(room, rule.history_count + 1)
        if rule.history_age is not None:
            found = max(found, await self._find_by_age(rule.history_age))
        self._check_epoch()
        return found

    async def passed(self, rooms: Iterable[str], last: Position) -> bool:
        """Have the rooms had events after `last` that are no longer given? Raises as `of`.

        False for a position that the log itself does not cover.
        """
        if self._log.covers(last) is not None:
            return False
        # A list: the session may enter and leave rooms meanwhile.
        for room in self._log.active(list(rooms), last.seq):
            bound = await self.of(room)
            if bound > last.seq:
                page = await self._log.read(last.seq, 1, rooms=(room,))
                self._check_epoch()
                if page.entries and page.entries[0].seq <= bound:
                    return True
        return False

    def _check_epoch(self) -> None:
        if self._epoch != self._log.epoch:
            raise RtpushError("unavailable", "The log has begun anew; try again.")

    async def _find_by_count(self, room: str, count: int) -> int:
        """The number of the room's `count`-th newest entry; 0 when it has fewer."""
        found = self._log.nth_newest(room, count)
        if found is not None:
            return found
        counted, found = self._by_count.get(room, (-1, 0))
        if counted < 0 or self._log.active((room,), counted):
            counted, found = self._log.last, await self._count(room, count)
            if len(self._by_count) >= _MAX_REMEMBERED:
                self._by_count.clear()
            self._by_count[room] = counted, found
        return found

    async def _count(self, room: str, count: int) -> int:
        before, number = self._log.last + 1, 0
        while count and before > self._log.first:
            page = await self._log.read_before(before, count, (room,))
            before, count = page.upto, count - len(page.entries)
            if page.entries:
                number = page.entries[-1].seq
        return 0 if count else number

    async def _find_by_age(self, age: float) -> int:
        """The number of the newest entry, of whatever room, that is older than that."""
        since = self._log.now() - age
        low, high = max(self._by_age.get(age, 0), self._log.first - 1), self._log.last + 1
        # Mostly nothing has become too old since it was asked last.
        middle = low + 1
        while low + 1 < high:
            entry = await self._entry(middle)
            if entry is not None and entry.time >= since:
                high = middle
            else:
                low = middle
            middle = (low + high) // 2
        self._by_age[age] = low
        return low

    async def _entry(self, number: int) -> Entry | None:
        """None when retention has let go of it meanwhile."""
        page = self._log.recent(number - 1, 1) or await self._log.read(number - 1, 1)
        return page.entries[0] if page.entries and page.entries[0].seq == number else None
