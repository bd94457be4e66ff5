"""The index by room of a log's newest entries: which numbers each room has.

Rules that hold here:

- An append costs a constant, a read what it returns: each room has its numbers in
  order, and several rooms are merged as far as the reader takes them.
- Of a room whose numbers have all been forgotten, the newest one is kept for a while.
  So a reader of quiet rooms learns that nothing is new without a read of the store.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Collection, Iterator
from heapq import merge
from typing import Final

__all__ = ["MANY_ROOMS", "RoomIndex", "Rooms"]

# The rooms to read; None among them stands for the entries without a room.
Rooms = Collection[str | None]

# A reader of more rooms than this reads a store whole and leaves out what is of others: a look
# for each of them costs more.
MANY_ROOMS: Final = 2000
# Quiet rooms whose newest number is kept, about 200 bytes each.
_MAX_QUIET: Final = 50_000


class RoomIndex:
    """Holds the numbers from `first` to `last`, without a gap."""

    def __init__(self, last: int) -> None:
        self.first = last + 1
        self.last = last
        self._numbers: dict[str | None, list[int]] = {}
        # The room of each number, oldest first.
        self._order: deque[str | None] = deque()
        # The newest number of rooms that have none here, in the order of these numbers.
        self._quiet: dict[str | None, int] = {}
        # A room that is in neither has no newer number than this.
        self._floor = last

    def append(self, room: str | None) -> None:
        """Add the next number."""
        self.last += 1
        self._order.append(room)
        numbers = self._numbers.get(room)
        if numbers is None:
            self._numbers[room] = [self.last]
            self._quiet.pop(room, None)
            return
        numbers.append(self.last)
        # Forgotten numbers are cut when they are half of the list: O(1) on average.
        if numbers[len(numbers) >> 1] < self.first:
            del numbers[: bisect_left(numbers, self.first)]

    def forget_before(self, number: int) -> None:
        """Let go of the numbers before one."""
        while self.first < number:
            room = self._order.popleft()
            if self._numbers[room][-1] == self.first:
                del self._numbers[room]
                self._quiet[room] = self.first
                if len(self._quiet) > _MAX_QUIET:
                    self._floor = self._quiet.pop(next(iter(self._quiet)))
            self.first += 1

    def active(self, rooms: Rooms, after: int) -> list[str | None]:
        """Those of the rooms that may have a number after one; the others have none."""
        return [room for room in rooms if self._newest(room) > after]

    def newest(self, rooms: Rooms) -> int:
        """No number of these rooms is greater than this."""
        return max(map(self._newest, rooms), default=0)

    def _newest(self, room: str | None) -> int:
        numbers = self._numbers.get(room)
        return numbers[-1] if numbers else self._quiet.get(room, self._floor)

    def nth_newest(self, room: str, count: int) -> int | None:
        """The room's `count`-th newest number; None when it has fewer here."""
        numbers = self._numbers.get(room, ())
        known = len(numbers) >= count and numbers[-count] >= self.first
        return numbers[-count] if known else None

    def after(self, rooms: Rooms, number: int) -> Iterator[int]:
        """The numbers of these rooms after one, in order; not behind an `append`."""
        number = max(number, self.first - 1)
        runs = []
        for room in rooms:
            found = self._numbers.get(room)
            if found and found[-1] > number:
                begin = bisect_right(found, number)
                runs.append(map(found.__getitem__, range(begin, len(found))))
        return merge(*runs)

    def before(self, rooms: Rooms, number: int) -> Iterator[int]:
        """The numbers of these rooms before one, newest first; not behind an `append`."""
        runs = []
        for room in rooms:
            found = self._numbers.get(room)
            if found and found[-1] >= self.first:
                begin, end = bisect_left(found, self.first), bisect_left(found, number)
                runs.append(map(found.__getitem__, range(end - 1, begin - 1, -1)))
        return merge(*runs, reverse=True)
